"""The store: what is answered is on disk, in one order, and told to every watcher once."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kubedr_server.local.api.database import Database, Key
from kubedr_server.local.api.storage import (
    LOG_LENGTH,
    CompactedError,
    ExistsError,
    StaleError,
    StorageError,
    Store,
)


def key(name: str, resource: str = "things") -> Key:
    return Key(resource, "ns", name)


def thing(value: int = 0) -> dict[str, Any]:
    return {"metadata": {"name": "x"}, "value": value}


async def opened(path: Path) -> Store:
    store = Store(Database(path / "api.db"))
    await store.open()
    return store


async def test_what_was_stored_is_there_after_a_restart(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    first = await store.create(key("a"), thing(1))
    await store.update(first, thing(2))
    gone = await store.create(key("b"), thing())
    await store.delete(gone, thing())
    revision = store.revision
    await store.close()
    assert (tmp_path / "api.db").stat().st_mode & 0o777 == 0o600

    again = await opened(tmp_path)
    assert again.revision == revision
    assert [entry.object["value"] for entry in again.list("things")] == [2]
    async with again.subscribe("things", since=first.revision) as changes:
        assert [(await changes.next()).type for _ in range(3)] == ["MODIFIED", "ADDED", "DELETED"]  # type: ignore[union-attr] # it has not ended
    await again.close()


async def test_a_name_is_taken_once_even_at_the_same_moment(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    results = await asyncio.gather(
        *(store.create(key("a"), thing(i)) for i in range(20)), return_exceptions=True
    )
    assert sum(isinstance(result, ExistsError) for result in results) == 19
    await store.close()


async def test_of_two_updates_of_one_state_one_is_stale(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    seen = await store.create(key("a"), thing())
    results = await asyncio.gather(*(store.update(seen, thing(i)) for i in range(5)), return_exceptions=True)
    assert sum(isinstance(result, StaleError) for result in results) == 4
    with pytest.raises(StaleError):
        await store.delete(seen, thing())
    await store.close()


async def test_every_watcher_is_told_everything_in_order(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    async with (
        store.subscribe("things") as one,
        store.subscribe(None) as other,
        store.subscribe("else") as deaf,
    ):
        await asyncio.gather(*(store.create(key(f"n{i}"), thing()) for i in range(50)))
        for changes in (one, other):
            revisions = [(await changes.next()).revision for _ in range(50)]  # type: ignore[union-attr] # it has not ended
            assert revisions == sorted(revisions)
            assert len(set(revisions)) == 50
        store.end_subscriptions()
        assert await deaf.next() is None
    await store.close()


async def test_the_log_is_kept_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert LOG_LENGTH >= 10_000
    store = await opened(tmp_path)
    entry = await store.create(key("a"), thing())
    store.compact()
    with pytest.raises(CompactedError):
        async with store.subscribe("things", since=entry.revision - 1):
            pass
    async with store.subscribe("things", since=entry.revision):
        pass
    await store.close()


async def test_a_commit_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(tmp_path / "api.db")
    store = Store(database)
    await store.open()
    entry = await store.create(key("a"), thing(1))

    async def full(*_arguments: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(database, "commit", full)
        with pytest.raises(StorageError, match="No space left"):
            await store.update(entry, thing(2))
    assert store.list("things")[0].object["value"] == 1
    assert (await store.update(entry, thing(3))).object["value"] == 3
    await store.close()


_WRITER = """
import asyncio, sys
from pathlib import Path
from kubedr_server.local.api.database import Database, Key
from kubedr_server.local.api.storage import Store

async def main():
    store = Store(Database(Path(sys.argv[1]) / "api.db"))
    await store.open()
    async def write(i):
        await store.create(Key("things", "ns", f"n{i}"), {"metadata": {"name": f"n{i}"}})
        print(i, flush=True)
    i = 0
    while True:
        await asyncio.gather(*(write(i + j) for j in range(8)))
        i += 8
asyncio.run(main())
"""


@pytest.mark.fault
async def test_a_killed_process_loses_nothing_that_it_had_answered(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _WRITER, str(tmp_path), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    answered = [await process.stdout.readline() for _ in range(100)]
    process.kill()
    rest, _ = await process.communicate()
    names = {f"n{int(line)}" for line in [*answered, *rest.splitlines()] if line.strip().isdigit()}
    assert len(names) >= 100
    store = await opened(tmp_path)
    assert names <= {entry.key.name for entry in store.list("things")}
    await store.close()


async def test_another_format_is_refused_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await opened(tmp_path)
    await store.close()
    monkeypatch.setattr("kubedr_server.local.api.database.FORMAT", "2")
    database = Database(tmp_path / "api.db")
    with pytest.raises(RuntimeError, match="is in format 1, this version reads 2: start with another"):
        await database.open()
    await database.close()
