"""Certificates that change under load, and files that are wrong for a while."""

import asyncio
import shutil
import ssl
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import aiohttp
import pytest
import trustme
from prometheus_client import CollectorRegistry

from kubedr_server.ops import certificate_files
from kubedr_server.ops.health import call_self
from kubedr_server.ops.tls import CertificateError, CertificateMetrics, ServingCertificate
from support.admission import policy, review_of
from support.eventually import eventually
from support.webhooks import Served, client_context, issue, serve


async def peer_certificate(served: Served, *trusted: trustme.CA) -> bytes:
    context = client_context(served.authority, *trusted)
    _, writer = await asyncio.open_connection("127.0.0.1", served.port, ssl=context)
    der: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    return der


async def test_a_rotation_under_load_fails_no_request(tmp_path: Path) -> None:
    async with serve(tmp_path) as served:
        other = trustme.CA()
        done = asyncio.Event()
        answered = 0

        async def load(keep_alive: bool) -> None:
            nonlocal answered
            connector = aiohttp.TCPConnector(
                ssl=client_context(served.authority, other), force_close=not keep_alive
            )
            async with aiohttp.ClientSession(connector=connector) as session:
                while not done.is_set():
                    assert (await served.review(session, review_of(policy())))["allowed"]
                    answered += 1

        def has_answered(count: int) -> bool:
            return answered >= count

        async with asyncio.TaskGroup() as clients:
            for number in range(6):
                clients.create_task(load(keep_alive=number % 2 == 0))
            seen = set()
            for turn in range(8):
                authority = other if turn % 2 == 0 else served.authority
                await asyncio.to_thread(certificate_files.write, tmp_path, *issue(authority))
                await served.certificate.refresh()
                seen.add(await peer_certificate(served, other))
                goal = answered + 12
                await eventually(partial(has_answered, goal), 60)
            done.set()
        assert len(seen) == 8, "each new certificate is served"
        assert served.certificate.current is not None
        expiry = served.sample("kubedr_webhook_certificate_expiry_timestamp_seconds")
        assert expiry == served.certificate.current.not_after.timestamp()
        assert served.sample("kubedr_webhook_certificate_reloads_total", outcome="succeeded") == 8


async def test_an_open_connection_outlives_the_certificate_it_began_with(tmp_path: Path) -> None:
    async with serve(tmp_path) as served, served.session() as session:
        await served.review(session, review_of(policy()))
        await asyncio.to_thread(certificate_files.write, tmp_path, *issue(trustme.CA()))
        await served.certificate.refresh()
        # A new connection would fail: this session does not trust the new authority.
        assert (await served.review(session, review_of(policy())))["allowed"]


async def test_a_pair_that_does_not_match_is_not_used_until_it_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(tmp_path) as served:
        before = await peer_certificate(served)
        certificate, key = issue(served.authority)
        _, wrong_key = issue(served.authority)
        await asyncio.to_thread(certificate_files.write, tmp_path, certificate, wrong_key)
        await served.certificate.refresh()
        await served.certificate.refresh()
        assert await peer_certificate(served) == before
        assert served.sample("kubedr_webhook_certificate_reloads_total", outcome="failed") == 2
        told = [record for record in caplog.records if "not used" in record.message]
        assert len(told) == 1, "the same problem is told once"
        assert "is not the key of tls.crt" in vars(told[0])["problem"]
        await asyncio.to_thread(certificate_files.write, tmp_path, certificate, key)
        await served.certificate.refresh()
        assert await peer_certificate(served) != before


@pytest.mark.parametrize("damage", ["empty", "cut", "missing"])
async def test_a_half_written_file_is_not_used(tmp_path: Path, damage: str) -> None:
    async with serve(tmp_path) as served:
        before = await peer_certificate(served)
        file = tmp_path / "tls.crt"
        if damage == "missing":
            file.unlink()
        else:
            content = file.read_bytes()
            await asyncio.to_thread(file.write_bytes, b"" if damage == "empty" else content[:300])
        await served.certificate.refresh()
        assert await peer_certificate(served) == before
        assert served.sample("kubedr_webhook_certificate_reloads_total", outcome="failed") == 1


async def test_an_expired_certificate_does_not_replace_a_valid_one(tmp_path: Path) -> None:
    async with serve(tmp_path) as served:
        before = await peer_certificate(served)
        old = served.authority.issue_cert("127.0.0.1", not_after=datetime(2020, 1, 1, tzinfo=UTC))
        chain = b"".join(pem.bytes() for pem in old.cert_chain_pems)
        await asyncio.to_thread(certificate_files.write, tmp_path, chain, old.private_key_pem.bytes())
        await served.certificate.refresh()
        assert await peer_certificate(served) == before


async def test_the_kubelets_swap_of_a_mounted_secret_is_followed(tmp_path: Path) -> None:
    authority = trustme.CA()
    mount = tmp_path / "mount"
    await asyncio.to_thread(certificate_files.write, mount, *issue(authority))
    assert (mount / "tls.crt").is_symlink()
    assert (mount / "..data").is_symlink()
    certificate = ServingCertificate(mount, CertificateMetrics(CollectorRegistry()))
    await certificate.load()
    assert certificate.current is not None
    before = certificate.current.der
    await asyncio.to_thread(certificate_files.write, mount, *issue(authority))
    await certificate.refresh()
    assert certificate.current.der != before
    versions = [path for path in mount.iterdir() if path.is_dir() and not path.is_symlink()]
    assert len(versions) == 1, "old versions are removed"
    assert (versions[0] / "tls.key").stat().st_mode & 0o077 == 0


async def test_no_certificate_at_all_is_told_with_its_path(tmp_path: Path) -> None:
    certificate = ServingCertificate(tmp_path / "none", CertificateMetrics(CollectorRegistry()))
    with pytest.raises(CertificateError, match=r"none/tls.crt: No such file or directory"):
        await certificate.load()


async def test_old_tls_is_refused(tmp_path: Path) -> None:
    async with serve(tmp_path) as served:
        context = client_context(served.authority)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("AES128-SHA:ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", served.port, ssl=context)


async def test_calling_ourselves_tells_what_is_wrong(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    async with serve(tmp_path) as served:
        current = served.certificate.current
        assert current is not None
        assert await call_self("0.0.0.0", served.port, current, now) is None  # noqa: S104 - told, not bound
        late = await call_self("127.0.0.1", served.port, current, current.not_after + timedelta(seconds=1))
        assert late is not None
        assert "expired" in late
        assert "no certificate" in (await call_self("127.0.0.1", served.port, None, now) or "")
        port = served.port
    assert "ConnectionRefusedError" in (await call_self("127.0.0.1", port, current, now) or "")
    await asyncio.to_thread(shutil.rmtree, tmp_path)
