"""Storage that fails, refuses, lies or stands behind a proxy: told, and never taken for a success."""

import asyncio
import itertools
import os
import uuid

import pytest

from kubedr_server.api.conditions import Reason
from kubedr_server.runner.failure import RunFailureError
from support.etcd import EtcdServer
from support.http_proxy import SLOW_DOWN, Fault, HttpProxy, Refusal, Request
from support.runner import RunnerPod
from support.s3 import S3Server
from support.upkeep import Upkeep

pytestmark = [pytest.mark.storage, pytest.mark.fault]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, s3_server: S3Server) -> Upkeep:
    """Return a repository with one snapshot that a module's tests share."""
    keys = {"access_key": s3_server.access_key, "secret_key": s3_server.secret_key}
    repository = f"s3:{s3_server.url}/bucket-{uuid.uuid4().hex[:12]}/one"
    upkeep = Upkeep.at(tmp_path_factory.mktemp("storage-faults"), repository, keys)

    async def fill() -> None:
        await upkeep.plant()
        await upkeep.store("file", os.urandom(100_000))

    asyncio.run(fill())
    return upkeep


def by(upkeep: Upkeep, address: str) -> Upkeep:
    """Return the same repository at another address of its storage."""
    location = upkeep.bucket().location
    return upkeep.through(REPOSITORY=f"s3:{address}/{location.bucket}/{location.prefix}")


async def test_a_backup_outlives_a_fault_at_each_of_its_requests_and_is_stored_once(
    shared: Upkeep, pod: RunnerPod, etcd_server: EtcdServer
) -> None:
    etcd_server.put("faulty", "value")
    kinds: tuple[Fault | Refusal, ...] = (SLOW_DOWN, Fault.RESET, Fault.LOST)
    faults = itertools.cycle(kinds)
    met: dict[Request, Fault | Refusal] = {}

    def once(request: Request) -> Fault | Refusal | None:
        if request in met:
            return None
        # What is stored and not confirmed is the hardest: a second snapshot must not come of it.
        met[request] = Fault.LOST if request.kind == "PUT snapshots" else next(faults)
        return met[request]

    known = await named(shared, "snapshots/")
    with HttpProxy(pod.s3.url, once) as proxy:
        result = (await by(shared, proxy.url).backup(pod.settings)).backup
    assert result is not None
    assert {request.kind for request in met} >= {"GET config", "PUT locks", "PUT data", "PUT snapshots"}
    assert set(await named(shared, "snapshots/")) - set(known) == {f"snapshots/{result.snapshot_id}"}
    assert await shared.locks() == []
    await shared.check()


@pytest.mark.parametrize(
    ("refusal", "reason", "words"),
    [
        (
            Refusal(507, "XMinioStorageFull", "minimum free drive threshold"),
            Reason.REPOSITORY_FAILED,
            "is full",
        ),
        (Refusal(403, "QuotaExceeded", ""), Reason.REPOSITORY_FAILED, "quota is used up"),
        (Refusal(403, "AccessDenied", "Access Denied."), Reason.S3_ACCESS_DENIED, "s3:PutObject"),
    ],
)
async def test_a_storage_that_takes_no_data_ends_the_backup_at_once_with_its_reason(
    shared: Upkeep, s3_server: S3Server, refusal: Refusal, reason: Reason, words: str
) -> None:
    def refuse(request: Request) -> Refusal | None:
        return refusal if request.kind == "PUT data" else None

    known = await named(shared, "snapshots/")
    with HttpProxy(s3_server.url, refuse) as proxy, pytest.raises(RunFailureError, match=words) as caught:
        await by(shared, proxy.url).store("new", os.urandom(50_000))
    assert caught.value.reason is reason
    assert await named(shared, "snapshots/") == known


async def test_what_a_proxy_damages_on_the_way_up_is_refused_and_sent_again(
    shared: Upkeep, s3_server: S3Server
) -> None:
    damaged: list[Request] = []

    def once(request: Request) -> Fault | None:
        if request.kind != "PUT data" or damaged:
            return None
        damaged.append(request)
        return Fault.DAMAGED_REQUEST

    with HttpProxy(s3_server.url, once) as proxy:
        upkeep = by(shared, proxy.url)
        snapshot = await upkeep.store("file", os.urandom(100_000))
        async with shared.restic() as restic:
            await restic.forget(snapshot)
    assert damaged
    await shared.check()


async def test_what_a_proxy_damages_on_the_way_down_is_never_taken_for_good(
    shared: Upkeep, s3_server: S3Server
) -> None:
    def always(request: Request) -> Fault | None:
        return Fault.DAMAGED_ANSWER if request.kind == "GET data" else None

    with HttpProxy(s3_server.url, always) as proxy, pytest.raises(RunFailureError) as caught:
        await by(shared, proxy.url).check()
    assert caught.value.reason is Reason.REPOSITORY_DAMAGED


async def test_a_certificate_authority_that_was_not_given_is_told(
    shared: Upkeep, s3_tls_server: S3Server
) -> None:
    with pytest.raises(RunFailureError, match=r"spec\.caSecret") as caught:
        await by(shared, s3_tls_server.url).health()
    assert caught.value.reason is Reason.STORAGE_TLS_FAILED


async def test_all_requests_go_through_the_proxy_that_is_named(shared: Upkeep, s3_server: S3Server) -> None:
    with HttpProxy(s3_server.url) as proxy:
        # Only the proxy knows this host. (Go never takes a proxy for 127.0.0.1.)
        upkeep = by(shared, "http://storage.invalid").through(REPOSITORY_PROXY=proxy.url)
        looked = (await upkeep.health()).health
    assert looked is not None
    assert proxy.hosts == {"storage.invalid"}
    assert {"GET bucket", "GET config", "GET snapshots"} <= {request.kind for request in proxy.requests}


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
async def test_https_goes_through_the_proxy_as_a_tunnel(shared: Upkeep, s3_tls_server: S3Server) -> None:
    with HttpProxy(s3_tls_server.url) as proxy:
        upkeep = by(shared, "https://storage.invalid").through(
            REPOSITORY_PROXY=proxy.url, REPOSITORY_INSECURE="true"
        )
        with pytest.raises(RunFailureError) as asked:
            await upkeep.health()
        async with upkeep.restic() as restic:
            with pytest.raises(RunFailureError) as opened:
                await restic.repository_id()
    # The other server does not know the key: its answers came through.
    assert asked.value.reason is Reason.WRONG_S3_CREDENTIALS
    assert opened.value.reason in (Reason.WRONG_S3_CREDENTIALS, Reason.S3_ACCESS_DENIED)
    assert set(proxy.tunnels) == {"storage.invalid:443"}


async def test_a_proxy_that_is_away_is_told_as_that(shared: Upkeep) -> None:
    with pytest.raises(RunFailureError, match=r"spec\.proxy") as caught:
        await shared.through(REPOSITORY_PROXY="http://127.0.0.1:1").health()
    assert caught.value.reason is Reason.STORAGE_UNREACHABLE


async def test_the_pods_own_proxy_variables_do_not_count(
    shared: Upkeep, monkeypatch: pytest.MonkeyPatch
) -> None:
    for word in ("HTTP", "HTTPS", "ALL"):
        monkeypatch.setenv(f"{word}_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv(f"{word.lower()}_proxy", "http://127.0.0.1:1")
    await shared.bucket().list(limit=1)
    # Not asked of 127.0.0.1, which Go would never reach by a proxy: only what restic is given counts.
    async with shared.restic() as restic:
        given = {name for name in restic._environment() if name.lower().endswith("_proxy")}
    assert given == set()


async def named(upkeep: Upkeep, folder: str) -> list[str]:
    return [item.name async for item in upkeep.bucket().walk(folder)]
