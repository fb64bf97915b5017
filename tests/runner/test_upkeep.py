"""A repository is looked at, checked and pruned; what is wrong is told with what to do."""

import asyncio
import os
import threading
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kubedr_server.api.conditions import Reason
from kubedr_server.catalogue import decode
from kubedr_server.contract import EXIT_CODES, Operation
from kubedr_server.runner import restic_upkeep
from kubedr_server.runner.check import restics_part
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.leftovers import (
    is_dead_elsewhere,
    keep_the_key_that_fits,
    remove_dead_locks,
    remove_dead_locks_elsewhere,
)
from support import rest_server
from support.etcd import EtcdServer
from support.http_proxy import HttpProxy, Request
from support.repository import planted
from support.rest_server import RestServer
from support.runner import PASSWORD, RunnerPod
from support.s3 import S3Server
from support.upkeep import Upkeep, running, until

pytestmark = [pytest.mark.storage]

OLD = timedelta(seconds=-5)
"""A lifetime at which every lock is dead: the storage counts whole seconds."""


def a_repository(directory: Path, s3: S3Server) -> Upkeep:
    keys = {"access_key": s3.access_key, "secret_key": s3.secret_key}
    return Upkeep.at(directory, f"s3:{s3.url}/bucket-{uuid.uuid4().hex[:12]}/one", keys)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, s3_server: S3Server) -> Upkeep:
    """Return a repository with one snapshot that a module's tests share: leave it as it was."""
    upkeep = a_repository(tmp_path_factory.mktemp("shared-upkeep"), s3_server)

    async def fill() -> None:
        await upkeep.plant()
        await upkeep.store("file", os.urandom(300_000))

    asyncio.run(fill())
    return upkeep


async def test_a_look_a_check_and_a_prune_of_a_repository_with_backups(
    pod: RunnerPod, etcd_server: EtcdServer, tmp_path: Path
) -> None:
    etcd_server.put("upkeep", "value")
    upkeep = Upkeep(tmp_path, pod.settings)
    await upkeep.plant()
    made = (await upkeep.backup(pod.settings)).backup
    assert made is not None
    await upkeep.store("forged", b"by someone with the password")

    async def stored(folder: str = "") -> int:
        return sum([item.size async for item in upkeep.bucket().walk(folder)])

    looked = pod.done(Operation.HEALTH)
    found = looked.result.health
    assert found is not None
    assert (found.snapshots, found.locks, found.locks_removed) == (1, 0, 0)
    assert found.repository_size == await stored()
    assert "not a whole backup: 1 snapshot, such as" in looked.result.warnings[0]

    whole, forged = sorted(decode(looked.log), key=lambda entry: not entry.complete)
    assert whole.policy == "backup-system/every-hour"
    assert whole.backup is not None
    unlike = {"total_duration_secs"}
    assert whole.backup.model_dump(exclude=unlike) == made.model_dump(exclude=unlike)
    assert forged.backup is None
    assert "these tags of it are missing" in str(forged.why)

    checked = (await upkeep.check()).check
    assert checked is not None
    assert checked.bytes_read == await stored("data/")

    async with upkeep.restic() as restic:
        await restic.forget(forged.snapshot_id)
    before = await stored()
    pruned = (await upkeep.prune()).prune
    assert pruned is not None
    assert pruned.repository_size == await stored()
    assert pruned.bytes_freed == before - pruned.repository_size > 0
    assert pod.locks() == []
    assert list(pod.scratch.iterdir()) == []


@pytest.mark.fault
async def test_a_damaged_pack_is_found_in_one_rotation_and_told_with_its_remedy(shared: Upkeep) -> None:
    bucket, name = shared.bucket(), (await shared.packs())[0]
    whole = await bucket.get(name)
    await bucket.put(name, whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:])
    failures: list[RunFailureError] = []
    try:
        for part in (1, 2):
            try:
                await shared.check(part, 2)
            except RunFailureError as caught:
                failures.append(caught)
                assert "Checking once more, with the repository locked" in shared.log
    finally:
        await bucket.put(name, whole)

    (failure,) = failures
    assert failure.reason is Reason.REPOSITORY_DAMAGED
    assert failure.reason in EXIT_CODES
    assert "ciphertext verification failed" in failure.message
    assert f"'restic repair packs {name.rpartition('/')[2]}'" in failure.message


@pytest.mark.fault
async def test_a_pack_that_is_gone_is_found_by_any_check_and_stops_a_prune(shared: Upkeep) -> None:
    bucket, name = shared.bucket(), (await shared.packs())[0]
    whole = await bucket.get(name)
    await bucket.delete(name)
    try:
        with pytest.raises(RunFailureError, match="does not exist") as checked:
            await shared.check(1, 256)
        with pytest.raises(RunFailureError, match="Nothing was freed") as pruned:
            await shared.prune()
    finally:
        await bucket.put(name, whole)
    assert checked.value.reason is pruned.value.reason is Reason.REPOSITORY_DAMAGED


@pytest.mark.fault
async def test_a_prune_frees_nothing_while_another_run_holds_the_lock(shared: Upkeep, tmp_path: Path) -> None:
    async with shared.restic() as restic, running(restic, "backup", "--stdin", cwd=tmp_path):
        await until(shared.locks)
        before = await shared.packs()
        with pytest.raises(RunFailureError, match="is locked") as caught:
            await restic_upkeep.prune(restic, patience="1s")
        assert caught.value.reason is Reason.REPOSITORY_LOCKED
        # Young by the storage's clock, which is the only one that is asked.
        assert await remove_dead_locks(shared.bucket(), restic.log) == 0
        assert len(await shared.locks()) == 1
        assert await shared.packs() == before
    await remove_dead_locks(shared.bucket(), restic.log, lifetime=OLD)


@pytest.mark.fault
async def test_a_prune_and_a_backup_that_are_both_killed_leave_a_clean_repository(
    tmp_path: Path, s3_server: S3Server
) -> None:
    upkeep = a_repository(tmp_path, s3_server)
    await upkeep.plant()
    gone = await upkeep.store("gone", os.urandom(300_000))
    await upkeep.store("kept", os.urandom(300_000))
    pruning, killed = threading.Event(), threading.Event()

    def hold(request: Request) -> None:
        if request.kind.startswith("DELETE ") and request.kind != "DELETE locks":
            pruning.set()
            killed.wait(100)

    with HttpProxy(s3_server.url, hold) as proxy:
        location = upkeep.bucket().location
        slow = upkeep.through(REPOSITORY=f"s3:{proxy.url}/{location.bucket}/{location.prefix}")
        async with upkeep.restic() as direct, slow.restic() as restic:
            await direct.forget(gone)
            async with running(restic, "prune", cwd=tmp_path):
                await asyncio.to_thread(pruning.wait, 100)
                async with running(
                    direct, "backup", "--retry-lock=1m", str(tmp_path), cwd=tmp_path
                ) as backup:
                    assert pruning.is_set(), "the prune came to no deletion"
                    assert backup.returncode is None
        killed.set()
    assert await upkeep.locks(), "a prune that is killed leaves its lock"

    await remove_dead_locks(upkeep.bucket(), restic.log, lifetime=OLD)
    await upkeep.store("later", b"stored after both were killed")
    await upkeep.check()


@pytest.mark.fault
async def test_of_two_initialisations_at_once_one_key_stays_and_it_fits(
    tmp_path: Path, s3_server: S3Server
) -> None:
    first, second = a_repository(tmp_path / "1", s3_server), a_repository(tmp_path / "2", s3_server)
    await first.plant()
    await second.plant()
    # As if the second had written its key, and the first then its config last.
    (stray,) = [item.name async for item in second.bucket().walk("keys/")]
    await first.bucket().put(stray, await second.bucket().get(stray))

    async with first.restic() as restic:
        made = await keep_the_key_that_fits(first.bucket(), restic, restic.log, timedelta(0))
        assert made == await restic.repository_id()
        assert stray not in [item.name async for item in first.bucket().walk("keys/")]
        assert await keep_the_key_that_fits(first.bucket(), restic, restic.log, timedelta(0)) is None


async def test_a_rest_server_is_reached_with_the_secrets_own_variables_and_no_s3_keys(tmp_path: Path) -> None:
    secret = {"RESTIC_REST_USERNAME": rest_server.USER, "RESTIC_REST_PASSWORD": rest_server.PASSWORD}
    with RestServer(tmp_path / "stored") as server:

        def stored(folder: str) -> list[Path]:
            return list(tmp_path.glob(f"stored/cluster/{folder}/*"))

        upkeep = Upkeep.at(tmp_path / "pod", f"rest:{server.url}/cluster/", secret)
        assert (await upkeep.init(timedelta(0))).created is True
        # From here on with a key that is quick to open.
        for key in stored("keys"):
            key.unlink()
        for name, content in planted(PASSWORD).items():
            (tmp_path / "stored/cluster" / name).write_bytes(content)
        async with upkeep.restic() as restic:
            async with running(restic, "backup", "--stdin", cwd=tmp_path):
                await until(lambda: asyncio.to_thread(stored, "locks"))
            # The lock's owner is dead now. Only time can tell.
            looked = (await upkeep.health(unlock=True)).health
            assert looked is not None
            assert (looked.snapshots, looked.locks, looked.locks_removed) == (0, 1, 0)
            assert decode(upkeep.log) == []
            later = datetime.now(UTC) + timedelta(hours=2)
            assert await remove_dead_locks_elsewhere(restic, later, unlock=False) == (1, 0)
            assert await remove_dead_locks_elsewhere(restic, later, unlock=True) == (0, 1)

        (tmp_path / "stored/cluster/config").unlink()
        with pytest.raises(RunFailureError, match="two initialisations have met there") as met:
            await upkeep.init(timedelta(0))
        assert met.value.reason is Reason.REPOSITORY_FAILED
        (tmp_path / "pod/credentials/RESTIC_REST_PASSWORD").write_text("wrong")
        with pytest.raises(RunFailureError, match="RESTIC_REST_USERNAME, RESTIC_REST_PASSWORD") as caught:
            await upkeep.health()
    assert caught.value.reason is Reason.WRONG_S3_CREDENTIALS


@pytest.mark.parametrize("ahead", [-60, 0, 60])
def test_a_live_lock_is_never_old_enough_though_a_clock_is_wrong_by_an_hour(ahead: int) -> None:
    now = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
    renewed = now - timedelta(minutes=5) + timedelta(minutes=ahead)
    assert not is_dead_elsewhere(renewed, now)
    assert is_dead_elsewhere(renewed - timedelta(hours=3), now)


@pytest.mark.parametrize("parts", [1, 7, 256, 300, 1000])
def test_all_parts_together_read_all_that_restic_can_tell_apart(parts: int) -> None:
    told = [restics_part(part, parts) for part in range(1, parts + 1)]
    assert {part for part, _ in told} == set(range(1, min(parts, 256) + 1))
    assert {total for _, total in told} == {min(parts, 256)}


@pytest.mark.parametrize("part", [0, 8, -1])
async def test_a_part_that_there_is_not_is_refused(shared: Upkeep, part: int) -> None:
    with pytest.raises(RunFailureError, match="KUBEDR_CHECK_PART") as caught:
        await shared.check(part, 7)
    assert caught.value.reason is Reason.SETTING_MISSING
