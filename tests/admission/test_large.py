"""The process that reads large reviews: what it leaves out, and what happens when it fails."""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from typing import Any

import pytest

from kubedr_server.admission import large
from kubedr_server.admission.large import _give_way  # before it is replaced for all other tests
from support.admission import policy, review_of


@pytest.fixture
async def reader() -> AsyncIterator[large.Reader]:
    async with large.Reader() as running:
        yield running


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list["subprocess.Popen[bytes]"]:
    """Return the processes that are started, as they are."""
    processes: list[subprocess.Popen[bytes]] = []

    class Noted(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            processes.append(self)

    monkeypatch.setattr(subprocess, "Popen", Noted)
    return processes


def grown(schedule: str = "*/10 * * * *") -> tuple[list[bytes], dict[str, Any]]:
    """Return a review of some hundred KB in parts, and what rules read of it."""
    document = review_of(policy(schedule=schedule))
    wanted = json.loads(json.dumps(document))
    metadata = document["request"]["object"]["metadata"]
    metadata["managedFields"] = [{"fieldsV1": {f"f:label-{number}": {} for number in range(20_000)}}]
    metadata["annotations"] = {"short": "kept", "long": "x" * 300}
    wanted["request"]["object"]["metadata"]["annotations"] = {"short": "kept"}
    for unread in ("options", "userInfo"):
        wanted["request"].pop(unread, None)
    body = json.dumps(document).encode()
    return [body[:100_000], body[100_000:]], wanted


async def test_what_no_rule_reads_is_left_out_by_one_process_for_all_reviews(
    reader: large.Reader, started: list["subprocess.Popen[bytes]"]
) -> None:
    for schedule in ("@hourly", "@daily"):
        parts, wanted = grown(schedule)
        assert json.loads(await reader.trimmed(parts)) == wanted
    assert len(started) == 1


async def test_reviews_at_the_same_time_take_turns(reader: large.Reader) -> None:
    each = [grown(f"{minute} * * * *") for minute in range(4)]
    answers = await asyncio.gather(*(reader.trimmed(parts) for parts, _ in each))
    assert [json.loads(answer) for answer in answers] == [wanted for _, wanted in each]


@pytest.mark.parametrize(
    "body",
    [b"x" * 100_000, b'{"a": NaN}', b"[" * 100_000, b'"\xff"', b"", b"\n\n", b'{"a": 1'],
    ids=["text", "NaN", "too deep", "no UTF-8", "nothing", "empty lines", "half"],
)
async def test_what_cannot_be_read_comes_back_as_it_is(reader: large.Reader, body: bytes) -> None:
    assert await reader.trimmed([body[:2], body[2:]]) == body
    parts, wanted = grown()
    assert json.loads(await reader.trimmed(parts)) == wanted, "and the next is read"


async def test_a_process_that_was_killed_is_replaced(
    reader: large.Reader, started: list["subprocess.Popen[bytes]"]
) -> None:
    parts, wanted = grown()
    await reader.trimmed(parts)
    started[0].kill()
    await asyncio.to_thread(started[0].wait)
    assert json.loads(await reader.trimmed(parts)) == wanted
    assert len(started) == 2


async def test_a_review_whose_time_is_over_is_given_up_with_its_process(
    reader: large.Reader, started: list["subprocess.Popen[bytes]"]
) -> None:
    parts, wanted = grown()
    await reader.trimmed(parts)
    os.kill(started[0].pid, signal.SIGSTOP)  # for ever
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await reader.trimmed(parts)
    assert started[0].returncode == -signal.SIGKILL
    assert json.loads(await reader.trimmed(parts)) == wanted


async def test_a_process_that_dies_over_a_review_leaves_the_review_to_the_server(
    reader: large.Reader, started: list["subprocess.Popen[bytes]"]
) -> None:
    parts, _ = grown()
    await reader.trimmed(parts)
    os.kill(started[0].pid, signal.SIGSTOP)
    reading = asyncio.create_task(reader.trimmed(parts))
    await asyncio.sleep(0.05)
    started[0].kill()
    assert await reading == b"".join(parts)


async def test_without_a_process_the_review_is_left_to_the_server(
    reader: large.Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large, "_COMMAND", ("/does/not/exist",))
    parts, _ = grown()
    assert await reader.trimmed(parts) == b"".join(parts)


def test_the_process_gives_way_to_everything_else() -> None:
    with subprocess.Popen(["sleep", "600"]) as process:
        try:
            _give_way(process.pid)
            assert os.getpriority(os.PRIO_PROCESS, process.pid) == 19
        finally:
            process.kill()


async def test_the_process_ends_with_its_user(started: list["subprocess.Popen[bytes]"]) -> None:
    async with large.Reader() as reader:
        await reader.trimmed(grown()[0])
        assert started[0].poll() is None
    assert started[0].returncode is not None
