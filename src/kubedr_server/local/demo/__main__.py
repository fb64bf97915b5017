"""`python -m kubedr_server.local.demo`, which `make demo` runs."""

import argparse
import contextlib
import fcntl
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from kubedr_server.local.demo import kept
from kubedr_server.local.demo.console import DemoError
from kubedr_server.local.demo.process import StartFailedError
from kubedr_server.local.demo.stage import Stage
from kubedr_server.local.demo.story import Story
from kubedr_server.local.tools.programs import ToolError

_OBJECTS = 4000


def main() -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m kubedr_server.local.demo")
    parser.add_argument("command", nargs="?", choices=("show", "stop"), default="show")
    parser.add_argument("--dir", type=Path, default=Path(".demo"), help="what is made lies here (.demo)")
    parser.add_argument("--tools", type=Path, default=Path(".tools"), help="where the programs are (.tools)")
    parser.add_argument("--objects", type=int, default=_OBJECTS, help=f"how many keys etcd has ({_OBJECTS})")
    parser.add_argument("--keep", action="store_true", help="leave it running, to play with")
    arguments = parser.parse_args()
    directory: Path = arguments.dir.absolute()
    try:
        with _alone(directory):
            if arguments.command == "stop":
                return _stop(directory)
            return _show(directory, arguments.tools, arguments.objects, keep=arguments.keep)
    except (DemoError, StartFailedError, ToolError) as error:
        sys.stderr.write(f"\n✗ {error}\n  Logs: {directory}/run/*/log. Nothing is left running.\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped. Nothing is left running.\n")
        return 130


def _show(directory: Path, tools: Path, count: int, *, keep: bool) -> int:
    state, run = directory / "processes.json", directory / "run"
    if kept.running(state):
        raise DemoError("an earlier demo is still running: end it with `make demo-stop`")
    shutil.rmtree(run, ignore_errors=True)
    with _termination_as_interrupt(), Stage(run, tools) as stage:
        console = stage.console
        console.say(console.style("KubeDR: back up an etcd, lose it, bring it back", "1"))
        console.say(f"With real parts: {stage.versions()}")
        console.say(f"Everything lies in {run}. In a shell, the commands below work after:")
        console.say(f"  cd {run} && export KUBECONFIG=$PWD/local/kubeconfig PATH={_path(stage)}")
        Story(stage, count=count).tell()
        console.table("What was proven")
        if keep:
            kept.remember(state, stage.keep())
            _say_how_to_play(stage)
            return 0
    stage.remove()
    console.say()
    console.say(
        "Nothing is left running, and nothing was changed outside this directory. Where to look next:"
    )
    console.say("  make demo KEEP=1             the same, left running to play with")
    console.say("  docs/user-guide.md           the resources and their fields")
    console.say("  docs/disaster-recovery.md    the restore of a real control plane, step by step")
    return 0


def _say_how_to_play(stage: Stage) -> None:
    say = stage.console.say
    say()
    say("It is left running: local mode, the S3 server and the restored etcd. To play with it:")
    say(f"  cd {stage.directory} && export KUBECONFIG=$PWD/local/kubeconfig PATH={_path(stage)}")
    say("  kubectl get kubedr")
    say("  kubectl create job --from=cronjob/demo-backup-cronjob another")
    say("  kubectl logs job/another")
    say("  kubectl describe metadatabackuppolicy demo")
    say("  kubectl explain metadatabackuppolicy.spec")
    say("  kubectl get events --sort-by=.lastTimestamp")
    say("To end it:")
    say("  make demo-stop")


def _path(stage: Stage) -> str:
    folders = dict.fromkeys(str(path.parent) for path in (*stage.programs.values(), Path(sys.executable)))
    return ":".join([*(folder for folder in folders if folder not in {"/usr/bin", "/bin"}), "$PATH"])


def _stop(directory: Path) -> int:
    ended = kept.end(directory / "processes.json")
    shutil.rmtree(directory / "run", ignore_errors=True)
    (directory / "processes.json").unlink(missing_ok=True)
    sys.stdout.write("The demo was ended.\n" if ended else "No demo is running.\n")
    return 0


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Let only one demo at a time use the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DemoError("another demo is being shown from this checkout") from error
        yield


@contextlib.contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """Let a SIGTERM or a closed terminal end the demo as Ctrl-C does: with its servers.

    SIGINT is among them because a shell starts background jobs with it ignored, and Python leaves that so.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
