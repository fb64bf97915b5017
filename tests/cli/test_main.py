"""The first word of the command line: which parts there are, and what they need."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from kubedr_server.cli import main


def test_every_part_is_listed() -> None:
    shown = CliRunner().invoke(main, ["--help"]).stdout
    listed = {line.split()[0] for line in shown.partition("Commands:")[2].splitlines() if line.strip()}
    assert listed == {"serve", "backup", "recover", "runner", "local", "generate"}


@pytest.mark.parametrize("arguments", [["backup"], ["recover"], ["recover", "list"], ["recover", "fetch"]])
def test_a_part_has_a_help(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, [*arguments, "--help"])
    assert result.exit_code == 0
    assert f"Usage: main {' '.join(arguments)}" in result.stdout


def test_a_part_whose_packages_are_missing_says_what_to_install() -> None:
    # In a process of its own: modules that were imported without the package must not stay.
    script = "import sys; sys.modules['botocore'] = None; from kubedr_server.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "recover"], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "needs the Python package 'botocore'" in done.stderr
    assert "pip install 'kubedr-server[runner]'" in done.stderr
