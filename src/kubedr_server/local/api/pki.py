"""The CA, the server's certificate, the administrator's token, the kubeconfig: made once in one directory."""

import base64
import ipaddress
import os
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_CA_DAYS = 3650
_SERVER_DAYS = 365
_RENEW_DAYS = 30
_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")


@dataclass(frozen=True)
class Credentials:
    """What the server listens with, and what a client needs."""

    ca_file: Path
    certificate_file: Path
    key_file: Path
    token: str


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read; a reader sees the old or the new one, whole."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    temporary.replace(path)


def prepare(directory: Path, host: str, now: datetime) -> Credentials:
    """Return the credentials in a directory; make those that are missing or end soon."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    ca_file, ca_key_file = directory / "ca.crt", directory / "ca.key"
    if not _lasts(ca_file, now) or not ca_key_file.exists():
        _make_ca(ca_file, ca_key_file, now)
        (directory / "server.crt").unlink(missing_ok=True)
    certificate_file, key_file = directory / "server.crt", directory / "server.key"
    if not _lasts(certificate_file, now) or not key_file.exists():
        _make_server(directory, host, now)
    token_file = directory / "token"
    if not token_file.exists():
        write_private(token_file, secrets.token_urlsafe(32).encode())
    return Credentials(ca_file, certificate_file, key_file, token_file.read_text())


def write_kubeconfig(path: Path, url: str, credentials: Credentials) -> None:
    """Write a kubeconfig with everything inside, readable by its owner only."""
    ca = base64.b64encode(credentials.ca_file.read_bytes()).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "kubedr-local", "cluster": {"server": url, "certificate-authority-data": ca}}],
        "users": [{"name": "kubedr-local-admin", "user": {"token": credentials.token}}],
        "contexts": [
            {
                "name": "kubedr-local",
                "context": {"cluster": "kubedr-local", "user": "kubedr-local-admin", "namespace": "default"},
            }
        ],
        "current-context": "kubedr-local",
    }
    write_private(path, yaml.safe_dump(config, sort_keys=False).encode())


def _lasts(path: Path, now: datetime) -> bool:
    if not path.exists():
        return False
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    return certificate.not_valid_after_utc > now + timedelta(days=_RENEW_DAYS)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _builder(subject: str, issuer: str, days: int, now: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=days))
    )


_CA_NAME = "kubedr-local-ca"


def _make_ca(certificate_file: Path, key_file: Path, now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder(_CA_NAME, _CA_NAME, _CA_DAYS, now)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False,
                key_encipherment=False, data_encipherment=False, key_agreement=False,
                encipher_only=False, decipher_only=False,
            ),
            critical=True,
        )
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    write_private(key_file, _pem(key))
    write_private(certificate_file, certificate.public_bytes(serialization.Encoding.PEM))


def _make_server(directory: Path, host: str, now: datetime) -> None:
    ca = x509.load_pem_x509_certificate((directory / "ca.crt").read_bytes())
    ca_key = serialization.load_pem_private_key((directory / "ca.key").read_bytes(), None)
    if not isinstance(ca_key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{directory / 'ca.key'} is not an elliptic-curve key: remove it and ca.crt")
    key = ec.generate_private_key(ec.SECP256R1())
    addresses = dict.fromkeys(("127.0.0.1", "::1", host))
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in _NAMES]
    for address in addresses:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(address)))
        except ValueError:
            names.append(x509.DNSName(address))
    certificate = (
        _builder("kubedr-local", _CA_NAME, _SERVER_DAYS, now)
        .public_key(key.public_key())
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.public_key()),  # type: ignore[arg-type] # is an EC key
            critical=False,
        )
        .sign(ca_key, hashes.SHA256())
    )
    write_private(directory / "server.key", _pem(key))
    write_private(directory / "server.crt", certificate.public_bytes(serialization.Encoding.PEM))
