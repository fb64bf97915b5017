"""`python -m kubedr_server.local.tools install --dir .tools [name…]`."""

import argparse
import sys
from pathlib import Path

from kubedr_server.local.tools.install import install
from kubedr_server.local.tools.programs import PROGRAMS, USUAL, ToolError


def main() -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m kubedr_server.local.tools", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("install", help="bring the programs that are missing into a directory")
    command.add_argument("--dir", type=Path, default=Path(".tools"), help="where to; .tools if not given")
    command.add_argument(
        "names", nargs="*", metavar="NAME", help=f"{', '.join(PROGRAMS)}; if none: {', '.join(USUAL)}"
    )
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in PROGRAMS]:
        parser.error(f"no such program: {', '.join(unknown)} (there are {', '.join(PROGRAMS)})")
    try:
        install(arguments.names or USUAL, arguments.dir, lambda line: _say(f"tools: {line}"))
    except ToolError as error:
        sys.stderr.write(f"tools: {error}\n")
        return 1
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
