"""`kubedr local`: KubeDR on one machine, without a cluster."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import click

from kubedr_server.cli.local_state import AlreadyRunningError, Running, StateDirectory
from kubedr_server.ops import logging as ops_logging

# What only `start` and `executor` need is imported there: the others answer at once.

_STOP_SECONDS = 45.0


def _default_directory() -> Path:
    state_home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state_home) / "kubedr" / "local"


_PATH = click.Path(path_type=Path)
_state_dir = click.option(
    "--state-dir",
    "--dir",
    "state_dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=_default_directory,
    show_default="$XDG_STATE_HOME/kubedr/local, or ~/.local/state/kubedr/local",
    help="The directory in which everything is kept.",
)
_tools_dir = click.option(
    "--tools-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    envvar="KUBEDR_TOOLS_DIR",
    help="A directory with restic, etcdctl and etcdutl, looked at before $PATH.",
)
_log_level = click.option("--log-level", type=click.Choice(ops_logging.LEVELS), default="info")


@click.group()
def local() -> None:
    """KubeDR on one machine, without a cluster: an API that kubectl talks to, and backups as processes."""


@local.command()
@_state_dir
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The API's port on 127.0.0.1.")
@click.option("--namespace", default="kubedr-system", show_default=True, help="The server's own namespace.")
@click.option("--no-server", is_flag=True, help="Only the API and the executor, for a server of your own.")
@click.option("--kubeconfig-out", type=_PATH, help="Write the kubeconfig to this file, too.")
@_tools_dir
@_log_level
def start(
    state_dir: Path,
    port: int,
    namespace: str,
    no_server: bool,
    kubeconfig_out: Path | None,
    tools_dir: Path | None,
    log_level: str,
) -> None:
    """Run local mode in the foreground until Ctrl-C, SIGTERM or `kubedr local stop`."""
    from kubedr_server.cli import local_run

    os.umask(0o077)  # keys, secrets and snapshots are the owner's alone
    state = StateDirectory(state_dir.absolute())
    options = local_run.Options(state, port, namespace, not no_server, kubeconfig_out, tools_dir)
    ops_logging.set_up("text", log_level)

    def ready(running: Running) -> None:
        click.echo(_welcome(state, running, log=not no_server))

    try:
        state.create()
        with state.claimed():
            asyncio.run(_until_signal(lambda stop: local_run.run(options, stop, ready)))
    except (AlreadyRunningError, *local_run.FAILURES) as error:
        raise click.ClickException(str(error)) from error
    click.echo("Local mode has stopped. Its state is kept; the next start goes on with it.")


@local.command()
@_state_dir
def status(state_dir: Path) -> None:
    """Tell whether local mode runs, and where. The exit code is 0 if it does, 3 if not."""
    state = StateDirectory(state_dir.absolute())
    running = state.running()
    if running is None:
        click.echo(f"Local mode does not run on {state.path}.")
        raise SystemExit(3)
    click.echo(f"{'Local mode runs' if running.ready else 'Local mode is starting'} on {state.path}.")
    click.echo(f"  process      {running.process.pid}")
    click.echo(_places(state, running))


@local.command()
@_state_dir
@click.option("--timeout", type=float, default=_STOP_SECONDS, show_default=True, help="Seconds to wait.")
def stop(state_dir: Path, timeout: float) -> None:
    """End local mode, and the pods that run in it, in order."""
    state = StateDirectory(state_dir.absolute())
    running = state.running()
    if running is None:
        click.echo(f"Local mode does not run on {state.path}.")
        return
    os.kill(running.process.pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout
    while running.process.alive():
        if time.monotonic() > deadline:
            raise click.ClickException(
                f"process {running.process.pid} has not ended in {timeout:g} s; it may be waiting for a "
                f"pod to end: try again, or end it with 'kill -9 {running.process.pid}' (no state is lost)"
            )
        time.sleep(0.1)
    click.echo("Local mode has stopped.")


@local.command()
@_state_dir
def kubeconfig(state_dir: Path) -> None:
    """Print the kubeconfig's path: export KUBECONFIG=$(kubedr local kubeconfig)."""
    state = StateDirectory(state_dir.absolute())
    if not state.kubeconfig.exists():
        raise click.ClickException(
            f"there is no {state.kubeconfig}: start local mode with 'kubedr local start'"
        )
    click.echo(state.kubeconfig)


@local.command()
@click.option(
    "--kubeconfig", "kubeconfig_path", type=_PATH, required=True, help="How to reach the API server."
)
@click.option("--image", required=True, help="The image whose containers run as local processes.")
@_state_dir
@_tools_dir
@_log_level
def executor(
    kubeconfig_path: Path, image: str, state_dir: Path, tools_dir: Path | None, log_level: str
) -> None:
    """Run only the executor: CronJobs, Jobs and pods of any API server that has no controllers of its own."""
    from kubedr_server.cli import local_run

    os.umask(0o077)
    state = StateDirectory(state_dir.absolute())
    ops_logging.set_up("text", log_level)
    settings = local_run.executor_settings(state.path, image, tools_dir)

    def ready() -> None:
        click.echo(f"The executor runs pods of image {image}; its state is in {state.path}.")

    try:
        state.create()
        with state.claimed():
            asyncio.run(
                _until_signal(lambda stop: local_run.run_executor(kubeconfig_path, settings, stop, ready))
            )
    except (AlreadyRunningError, *local_run.FAILURES) as error:
        raise click.ClickException(str(error)) from error


async def _until_signal(work: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await work(stop)


def _welcome(state: StateDirectory, running: Running, *, log: bool) -> str:
    server_line = "" if log else "KubeDR's server does not run (--no-server).\n"
    return (
        f"KubeDR's local mode is ready.\n{server_line}\n{_places(state, running)}\n\n"
        f"Talk to it from another terminal:\n"
        f"  export KUBECONFIG={state.kubeconfig}\n"
        f"  kubectl get kubedr --all-namespaces\n\n"
        f"Stop it with Ctrl-C, or with: kubedr local stop --state-dir {state.path}"
    )


def _places(state: StateDirectory, running: Running) -> str:
    places = {
        "API": running.api_url,
        "metrics": running.metrics_url,
        "kubeconfig": str(state.kubeconfig),
        "state": str(state.path),
        "pod logs": str(state.logs),
        "claims": str(state.volumes),
        "pod image": running.image,
    }
    return "\n".join(f"  {name:<12} {place}" for name, place in places.items() if place)
