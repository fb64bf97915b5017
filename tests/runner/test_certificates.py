"""When the certificates in a backup expire is known before the day it matters."""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from kubedr_server.local.demo.pki import Authority
from kubedr_server.runner import certificates

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), days=3650)


def end_of(pem: bytes) -> datetime:
    return x509.load_pem_x509_certificate(pem).not_valid_after_utc


def client(authority: Authority, days: int) -> bytes:
    return authority.client(f"for-{days}-days", days=days).certificate.read_bytes()


def test_the_first_to_expire_is_reported(authority: Authority, tmp_path: Path) -> None:
    soonest = client(authority, 100)
    (tmp_path / "ca.crt").write_bytes(authority.certificate.read_bytes())
    (tmp_path / "bundle.pem").write_bytes(client(authority, 300) + soonest)
    (tmp_path / "ca.key").write_text("-----BEGIN PRIVATE KEY-----\n")
    names = [path.name for path in tmp_path.iterdir()]
    assert certificates.inspect(tmp_path, names, NOW, pytest.fail) == end_of(soonest)


def test_binary_certificates_and_kubeconfigs_count(authority: Authority, tmp_path: Path) -> None:
    near, far = client(authority, 100), client(authority, 200)
    (tmp_path / "far.cer").write_bytes(x509.load_pem_x509_certificate(far).public_bytes(Encoding.DER))
    user = {"client-certificate-data": base64.b64encode(near).decode()}
    (tmp_path / "admin.conf").write_text(json.dumps({"users": [{"name": "admin", "user": user}]}))
    assert certificates.inspect(tmp_path, ["far.cer"], NOW, pytest.fail) == end_of(far)
    assert certificates.inspect(tmp_path, ["far.cer", "admin.conf"], NOW, pytest.fail) == end_of(near)


def test_what_is_expired_or_will_be_soon_is_told_with_its_name(authority: Authority, tmp_path: Path) -> None:
    for name, days in (("old.crt", -1), ("soon.crt", 29), ("good.crt", 31)):
        (tmp_path / name).write_bytes(client(authority, days))
    warnings: list[str] = []
    first = certificates.inspect(tmp_path, ["old.crt", "soon.crt", "good.crt"], NOW, warnings.append)
    assert first is not None
    assert first < NOW
    assert [name in warnings[0] for name in ("old.crt", "soon.crt", "good.crt")] == [True, False, False]
    soon = end_of((tmp_path / "soon.crt").read_bytes())
    assert f"the first on {soon:%Y-%m-%d}: soon.crt." in warnings[1]
    assert len(warnings) == 2


def test_what_is_named_like_a_certificate_and_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("no certificate")
    (tmp_path / "cut.crt").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n")
    (tmp_path / "notes.txt").write_text("no certificate")
    warnings: list[str] = []
    names = [path.name for path in tmp_path.iterdir()]
    assert certificates.inspect(tmp_path, names, NOW, warnings.append) is None
    assert warnings == ["No certificate, though named like one: ca.crt, cut.crt. Backed up as it is."]


def test_without_certificates_there_is_no_time(tmp_path: Path) -> None:
    assert certificates.inspect(tmp_path, [], NOW, pytest.fail) is None
