"""The command line, `kubedr`: which part to run is its first word."""

import importlib

import click

_PARTS = {
    "serve": (
        "kubedr_server.cli.serve",
        "serve",
        "server",
        "Serve the admission webhooks and run the controllers.",
    ),
    "backup": ("kubedr_server.cli.backup", "backup", "client", "Back up a policy's etcd now."),
    "recover": (
        "kubedr_server.cli.recover",
        "recover",
        "runner",
        "Bring a backup back without a cluster.",
    ),
    "runner": ("kubedr_server.runner.command", "runner", "runner", "The steps of a backup pod."),
    "local": ("kubedr_server.cli.local", "local", "local", "KubeDR on one machine, without a cluster."),
    "generate": ("kubedr_server.cli.generate", "generate", None, "Write the CRDs and the API reference."),
}


class _NotInstalledError(click.ClickException):
    """A part's dependencies are missing. It is no outcome of a command, which 1 can be."""

    exit_code = 2


class _Parts(click.Group):
    """Imports a part only when it is called: each has dependencies that the others do without."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_PARTS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _PARTS:
            return None
        module, attribute, extra, _ = _PARTS[cmd_name]
        try:
            found = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if extra is None or package == "kubedr_server":
                raise
            raise _NotInstalledError(
                f"'kubedr {cmd_name}' needs the Python package '{package}', which is not installed.\n"
                f"Install it with: pip install 'kubedr-server[{extra}]'"
            ) from error
        if not isinstance(found, click.Command):
            raise TypeError(f"{module}.{attribute} is not a command")
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, part[3]) for name, part in _PARTS.items()])


@click.command(cls=_Parts)
@click.version_option(package_name="kubedr-server", prog_name="kubedr")
def main() -> None:
    """Back up a Kubernetes cluster's etcd and certificates, and bring them back."""
