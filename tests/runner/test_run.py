"""Every way out of a run writes one result."""

import asyncio
import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from kubedr_server.api.conditions import Reason
from kubedr_server.contract import EXIT_CODES, Env, Operation, RunResult
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.room import Room
from kubedr_server.runner.run import Outcome, Run, execute, scratch_directory
from kubedr_server.runner.settings import InitSettings, init_settings


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    for name in ("access_key", "secret_key", "restic_repo_password"):
        (credentials / name).write_text(f"canary-{name}\n")
    return {
        Env.RUN_ID: "run-1",
        Env.RESULT_PATH: str(tmp_path / "result"),
        Env.SCRATCH_DIR: str(tmp_path),
        Env.DEADLINE_SECONDS: "60",
        Env.REPOSITORY: "s3:http://127.0.0.1/bucket",
        Env.REPOSITORY_CREDENTIALS_DIR: str(credentials),
    }


def result_of(environment: dict[str, str]) -> RunResult:
    return RunResult.from_termination_message(Path(environment[Env.RESULT_PATH]).read_text())


async def succeed(settings: InitSettings, context: Run) -> Outcome:
    context.repository_id = "abc"
    context.warn("look at this")
    return Outcome("Done.")


async def fail(settings: InitSettings, context: Run) -> Outcome:
    raise RunFailureError(Reason.REPOSITORY_LOCKED, "It is locked.")


async def break_down(settings: InitSettings, context: Run) -> Outcome:
    raise KeyError(settings.repository.keys.secret_key)


async def fill_the_disk(settings: InitSettings, context: Run) -> Outcome:
    context.require_room(settings.run.scratch, 1, "A byte")
    raise OSError(errno.ENOSPC, "No space left on device", "/scratch/file")


async def break_the_disk(settings: InitSettings, context: Run) -> Outcome:
    raise OSError(errno.EIO, "Input/output error", "/scratch/file")


async def sleep(settings: InitSettings, context: Run) -> Outcome:
    await asyncio.sleep(60)
    return Outcome("never")


def test_a_success_writes_its_result(environment: dict[str, str]) -> None:
    assert execute(Operation.INIT, init_settings, succeed, environment) == 0
    result = result_of(environment)
    assert (result.outcome, result.reason, result.message) == ("Succeeded", Reason.SUCCEEDED, "Done.")
    assert (result.repository_id, result.warnings, result.run_id) == ("abc", ["look at this"], "run-1")
    assert [path.name for path in Path(environment[Env.RESULT_PATH]).parent.glob(".kubedr-result*")] == []


@pytest.mark.parametrize(
    ("sequence", "reason", "message"),
    [
        (fail, Reason.REPOSITORY_LOCKED, "It is locked."),
        (fill_the_disk, Reason.DISK_FULL, "No room was left on the disk (/scratch/file)"),
        (break_the_disk, Reason.DISK_FAILED, "The disk fails (/scratch/file): Input/output error. Look at"),
        (sleep, Reason.DEADLINE_EXCEEDED, "The run was not done within its 0.2 seconds and was stopped"),
        (break_down, Reason.INTERNAL_ERROR, "The runner failed by a fault of its own (KeyError)"),
    ],
)
def test_a_failure_writes_its_result(
    environment: dict[str, str],
    sequence: "object",
    reason: Reason,
    message: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert callable(sequence)
    if reason is Reason.DEADLINE_EXCEEDED:
        environment[Env.DEADLINE_SECONDS] = "0.2"
    assert execute(Operation.INIT, init_settings, sequence, environment) == EXIT_CODES[reason]
    result = result_of(environment)
    assert (result.outcome, result.reason) == ("Failed", reason)
    assert result.message.startswith(message)
    assert "canary" not in capfd.readouterr().err
    assert "canary" not in Path(environment[Env.RESULT_PATH]).read_text()


def test_a_result_file_that_cannot_be_replaced_is_written_in_place(environment: dict[str, str]) -> None:
    # As /dev/termination-log in a pod: a mount cannot be renamed over.
    path = Path(environment[Env.RESULT_PATH])
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert execute(Operation.INIT, init_settings, succeed, environment) == 0
        assert json.loads(os.read(reader, 4096))["outcome"] == "Succeeded"
    finally:
        os.close(reader)


def test_the_result_goes_to_the_log_if_its_file_cannot_be_written(
    environment: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    environment[Env.RESULT_PATH] = "/nonexistent/result"
    assert execute(Operation.INIT, init_settings, succeed, environment) == 0
    assert 'cannot be written to /nonexistent/result: No such file or directory. It is: {"version":1' in (
        capfd.readouterr().err
    )


@pytest.mark.parametrize("seconds", ["", "soon", "-1", "0", "inf", "nan"])
def test_a_deadline_has_to_be_a_number_of_seconds(environment: dict[str, str], seconds: str) -> None:
    environment[Env.DEADLINE_SECONDS] = seconds
    assert execute(Operation.INIT, init_settings, succeed, environment) == EXIT_CODES[Reason.SETTING_MISSING]
    assert Env.DEADLINE_SECONDS in result_of(environment).message


@pytest.mark.parametrize("run_id", ["a,b", "a b", "a\nb", "ü"])
def test_what_cannot_be_a_tag_is_refused(environment: dict[str, str], run_id: str) -> None:
    environment[Env.RUN_ID] = run_id
    assert execute(Operation.INIT, init_settings, succeed, environment) == EXIT_CODES[Reason.SETTING_MISSING]


async def test_scratch_space_is_new_for_each_run_and_removed_after_it(environment: dict[str, str]) -> None:
    settings = init_settings(environment).run
    async with scratch_directory(settings) as first:
        await asyncio.to_thread((first / "left-over").write_text, "x")
        async with scratch_directory(settings) as second:
            assert first == second
            assert await asyncio.to_thread(lambda: list(second.iterdir())) == []
    assert not await asyncio.to_thread(first.exists)


def test_too_little_space_is_told_with_both_numbers(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    Room(tmp_path, 1).require("A byte")
    with pytest.raises(RunFailureError, match=r"needs \d+\.\d \w+ in .*, and \d+\.\d \w+ are free") as caught:
        Room(tmp_path, free * 2).require("A large snapshot")
    assert caught.value.reason is Reason.DISK_FULL
