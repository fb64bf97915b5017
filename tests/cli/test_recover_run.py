"""Running a part of the runner at a terminal: how its log looks, and how it ends."""

import asyncio
import io
import os
import signal
import tempfile
from dataclasses import replace
from pathlib import Path

import click
import pytest

from kubedr_server.api.conditions import Reason
from kubedr_server.cli.recover_access import Access
from kubedr_server.cli.recover_run import REMEDIES, TerminalLog, run
from kubedr_server.contract import EXIT_CODES
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.run import Run
from kubedr_server.runner.settings import RepositorySettings, RunSettings


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def access(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Access:
    """Return the access to a repository in a directory; temporary files go to `tmp`."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "password").write_text("canary\n")
    return Access(
        "repository", None, None, tmp_path / "password", None, None, None, insecure=False, tools_dir=None
    )


def test_on_a_terminal_progress_is_one_line_that_changes() -> None:
    stream = Terminal()
    log = TerminalLog(stream)
    log.tell("Restoring")
    log.tell("restored 10% (1 MiB of 10 MiB)")
    log.tell("restored 50% (5 MiB of 10 MiB)")
    log.tell("Proven")
    clear = "\r\x1b[K"
    assert stream.getvalue() == (
        f"Restoring\nrestored 10% (1 MiB of 10 MiB){clear}restored 50% (5 MiB of 10 MiB){clear}Proven\n"
    )


def test_in_a_file_every_line_stays_and_none_can_be_forged() -> None:
    stream = io.StringIO()
    log = TerminalLog(stream)
    log.tell("restored 10% (1 MiB of 10 MiB)")
    log.caution("a file named\n\x1b[2J")
    log.fail("no")
    assert stream.getvalue() == "restored 10% (1 MiB of 10 MiB)\nWarning: a file named  [2J\nError: no\n"


def test_the_scratch_directory_is_gone_afterwards_and_paths_are_absolute(access: Access) -> None:
    async def work(repository: RepositorySettings, settings: RunSettings, _: Run) -> Path:
        assert settings.scratch.is_dir()
        assert Path(repository.url).is_absolute()
        return settings.scratch

    assert not run(access, io.StringIO(), work).exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_stops_it_gets_130_and_nothing_is_left(
    access: Access, tmp_path: Path, number: signal.Signals
) -> None:
    async def work(_: RepositorySettings, settings: RunSettings, __: Run) -> None:
        (settings.scratch / "half").touch()
        os.kill(os.getpid(), number)
        await asyncio.Event().wait()

    stream = io.StringIO()
    with pytest.raises(click.exceptions.Exit) as raised:
        run(access, stream, work)
    assert raised.value.exit_code == 130
    assert "Nothing half is left behind" in stream.getvalue()
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("reason", [*REMEDIES, Reason.ETCD_UNREACHABLE])
def test_a_failure_is_told_with_what_to_do_and_the_runners_exit_code(access: Access, reason: Reason) -> None:
    async def work(*_: object) -> None:
        raise RunFailureError(reason, "It went wrong.")

    stream = io.StringIO()
    with pytest.raises(click.exceptions.Exit) as raised:
        run(access, stream, work)
    assert raised.value.exit_code == EXIT_CODES[reason]
    assert stream.getvalue().splitlines() == ["Error: It went wrong.", *filter(None, [REMEDIES.get(reason)])]


def test_what_the_system_refuses_is_told_with_the_file(access: Access) -> None:
    async def work(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "/restored")

    stream = io.StringIO()
    with pytest.raises(click.exceptions.Exit):
        run(access, stream, work)
    assert stream.getvalue() == "Error: The system refused an operation: Permission denied (/restored).\n"


def test_storage_that_is_not_s3_takes_restics_own_variables_and_no_others(
    access: Access, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESTIC_REST_USERNAME", "me")
    monkeypatch.setenv("AZURE_ACCOUNT_KEY", "canary")
    monkeypatch.setenv("RESTIC_PASSWORD_COMMAND", "canary")
    rest = replace(access, repository="rest:https://backup.example.com/cluster")
    found = rest.settings(tmp_path)
    assert found.variables == {"RESTIC_REST_USERNAME": "me"}
    assert found.url == "rest:https://backup.example.com/cluster"
    gs = replace(access, repository="gs:bucket:/cluster")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "key.json")
    assert gs.settings(tmp_path).variables == {
        "GOOGLE_APPLICATION_CREDENTIALS": str(Path("key.json").absolute())
    }


def test_the_access_shows_no_secret(access: Access) -> None:
    assert "canary" not in repr(access)
