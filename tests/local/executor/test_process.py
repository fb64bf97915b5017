"""Programs that run as pods, and their logs."""

import asyncio
import os
import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kubedr_server.local.executor import process
from kubedr_server.local.executor.logs import MAX_LINE, LogWriter, PodLogs
from kubedr_server.local.executor.process import ProcessId
from support.eventually import eventually

POD = {"metadata": {"name": "p", "namespace": "ns", "uid": "u"}}
ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


def clock() -> datetime:
    return datetime(2026, 3, 1, 12, 0, 0, 5, tzinfo=UTC)


async def run(tmp_path: Path, *arguments: str) -> tuple[int, dict[str, bytes]]:
    output: dict[str, bytes] = {"stdout": b"", "stderr": b""}

    def take(stream: str, data: bytes) -> None:
        output[stream] += data

    started = await process.start(arguments, ENVIRONMENT, tmp_path, tmp_path / process.RECORD, take)
    return await started.wait(), output


async def test_a_program_runs_with_its_output_apart_and_its_exit_code(tmp_path: Path) -> None:
    code, output = await run(tmp_path, "sh", "-c", "echo out; echo err >&2; pwd; exit 7")
    assert code == 7
    assert output == {"stdout": f"out\n{tmp_path}\n".encode(), "stderr": b"err\n"}


async def test_arguments_are_never_read_by_a_shell(tmp_path: Path) -> None:
    hostile = "$(touch hacked); `touch hacked` '\" \\ *\n--"
    _, output = await run(tmp_path, "printf", "%s", hostile)
    assert output["stdout"].decode() == hostile
    assert not (tmp_path / "hacked").exists()


async def test_a_signal_becomes_an_exit_code_as_in_a_container(tmp_path: Path) -> None:
    assert (await run(tmp_path, "sh", "-c", "kill -9 $$"))[0] == 137


async def test_what_a_program_left_running_ends_with_it(tmp_path: Path) -> None:
    code, output = await run(tmp_path, "sh", "-c", "sleep 600 & echo $!")
    assert code == 0
    child = int(output["stdout"])
    await eventually(lambda: ProcessId.of(child) is None)


async def test_a_program_ends_even_if_what_it_left_keeps_its_output(tmp_path: Path) -> None:
    async with asyncio.timeout(60):
        code, output = await run(tmp_path, "sh", "-c", "setsid sleep 600 & echo $!")
    os.kill(int(output["stdout"]), signal.SIGKILL)
    assert code == 0


async def test_a_program_runs_only_once_it_is_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, identity: ProcessId) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(process, "write_record", full)
    with pytest.raises(OSError, match="No space left"):
        await run(tmp_path, "touch", "ran")
    await asyncio.sleep(0.2)
    assert not (tmp_path / "ran").exists()


async def test_a_process_of_an_earlier_incarnation_is_found_and_ended(tmp_path: Path) -> None:
    left = await asyncio.create_subprocess_exec("sleep", "600", start_new_session=True)
    identity = ProcessId.of(left.pid)
    assert identity is not None
    record = tmp_path / process.RECORD
    process.write_record(record, identity)
    assert process.read_record(record) == identity
    reaping = asyncio.create_task(left.wait())
    assert await process.end_recorded(identity, 60.0) is True
    assert await reaping == -signal.SIGTERM
    assert await process.end_recorded(identity, 60.0) is False


async def test_a_reused_pid_is_not_taken_for_the_old_process() -> None:
    mine = ProcessId.of(os.getpid())
    assert mine is not None
    assert mine.alive()
    stranger = ProcessId(mine.pid, mine.started - 1, mine.boot)
    assert not stranger.alive()
    assert await process.end_recorded(stranger, 1.0) is False
    assert not ProcessId(mine.pid, mine.started, "another boot").alive()


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_lines_are_written_whole_however_they_come(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = LogWriter(path.open("ab", buffering=0), clock)
    writer("stdout", b"one\ntw")
    writer("stderr", b"else\n")
    writer("stdout", b"o\nrest")
    writer("stdout", b"")
    writer.close()
    assert [line.split(" ", 1)[1] for line in lines(path)] == [
        "stdout F one",
        "stderr F else",
        "stdout F two",
        "stdout P rest",
    ]
    assert lines(path)[0].startswith("2026-03-01T12:00:00.000005Z ")


def test_a_full_disk_loses_lines_and_not_the_program() -> None:
    with open("/dev/full", "ab", buffering=0) as full:  # noqa: PTH123 - a device, not a path to handle
        writer = LogWriter(full, clock)
        writer("stdout", b"one\n")
        writer("stdout", b"two\n")


async def test_a_long_line_comes_back_as_it_was(tmp_path: Path) -> None:
    logs = PodLogs(tmp_path, clock)
    writer = logs.create(POD, "main")
    text = b"x" * (3 * MAX_LINE + 17) + b"\nend\n"
    for start in range(0, len(text), 1000):
        writer("stdout", text[start : start + 1000])
    writer.close()
    logs.end(POD, "main")
    assert b"".join([piece async for piece in logs.read("ns", "p", "main", follow=True)]) == text
    assert b"".join([piece async for piece in logs.read("ns", "p", "main", tail_lines=1)]) == b"end\n"
    assert b"".join([piece async for piece in logs.read("ns", "p", "main", tail_lines=0)]) == b""


async def test_old_lines_can_be_left_out(tmp_path: Path) -> None:
    times = [datetime(2026, 3, 1, 11, tzinfo=UTC), datetime(2026, 3, 1, 12, tzinfo=UTC)]
    logs = PodLogs(tmp_path, lambda: times[-1])
    writer = LogWriter(logs.create(POD, "main")._file, lambda: times.pop(0))
    writer("stdout", b"old\n")
    times.append(datetime(2026, 3, 1, 12, 0, 10, tzinfo=UTC))
    writer("stdout", b"new\n")
    writer.close()
    assert [piece async for piece in logs.read("ns", "p", "main", since_seconds=60)] == [b"new\n"]


async def test_a_log_that_is_not_there_yet_is_told(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="is waiting to start"):
        await anext(PodLogs(tmp_path, clock).read("ns", "p", "main"))


def test_logs_go_with_their_pods(tmp_path: Path) -> None:
    logs = PodLogs(tmp_path, clock)
    logs.create(POD, "main").close()
    logs.keep_only({"u"})
    assert logs.path(POD, "main").exists()
    logs.keep_only(set())
    assert not logs.path(POD, "main").exists()
    logs.create(POD, "main").close()
    logs.forget("ns", "p")
    assert not logs.path(POD, "main").exists()
