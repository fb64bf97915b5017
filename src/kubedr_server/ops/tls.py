"""The serving certificate: read from files, and read again when they change.

cert-manager's Secret is mounted as files behind a symbolic link that the kubelet swaps. A new
connection gets the newest certificate that is whole, matches its key and is valid now; until
there is one, the last good one stays. Open connections are not touched.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from prometheus_client import CollectorRegistry, Counter, Gauge

logger = logging.getLogger(__name__)

CERTIFICATE_FILE: Final = "tls.crt"
KEY_FILE: Final = "tls.key"
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2: forward secrecy and AEAD only. TLS 1.3 has nothing else."""

Clock = Callable[[], datetime]


class CertificateError(Exception):
    """The certificate's files cannot be used; the message says which and why."""


class CertificateMetrics:
    """What is measured of the serving certificate."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.expiry = Gauge(
            "kubedr_webhook_certificate_expiry_timestamp_seconds",
            "When the serving certificate of the webhooks expires.",
            registry=registry,
        )
        self.reloads = Counter(
            "kubedr_webhook_certificate_reloads",
            "Changes of the certificate's files, by whether they could be used.",
            ("outcome",),
            registry=registry,
        )


@dataclass(frozen=True)
class Certificate:
    """A loaded certificate with its key."""

    context: ssl.SSLContext
    der: bytes
    not_before: datetime
    not_after: datetime

    def is_valid(self, now: datetime) -> bool:
        """Whether a client accepts it now, as far as time goes."""
        return self.not_before <= now < self.not_after


def server_context() -> ssl.SSLContext:
    """Return a context for TLS 1.2 and newer with forward secrecy and AEAD ciphers, without a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    return context


def load(directory: Path) -> Certificate:
    """Read `tls.crt` and `tls.key`; raises CertificateError. Reads files: call it in a thread."""
    certificate_file, key_file = _real_files(directory)
    context = server_context()
    try:
        pem = certificate_file.read_bytes()
        leaf = x509.load_pem_x509_certificate(pem)
        context.load_cert_chain(certificate_file, key_file, password=_no_password)
    except ssl.SSLError as error:
        reason = error.reason or "unreadable"
        raise CertificateError(
            f"{KEY_FILE} in {directory} is not the key of {CERTIFICATE_FILE}, or one is damaged ({reason})"
        ) from error
    except ValueError as error:
        raise CertificateError(f"{certificate_file} holds no certificate in PEM: {error}") from error
    except OSError as error:
        raise CertificateError(f"{error.filename or directory}: {error.strerror}") from error
    return Certificate(
        context, leaf.public_bytes(Encoding.DER), leaf.not_valid_before_utc, leaf.not_valid_after_utc
    )


def _no_password() -> bytes:
    # Without this OpenSSL would ask for the password of an encrypted key on the terminal, and wait.
    return b""


def _real_files(directory: Path) -> tuple[Path, Path]:
    """Return both files behind the links, so that a swap between two reads cannot mix two versions."""
    try:
        certificate = (directory / CERTIFICATE_FILE).resolve(strict=True)
    except OSError as error:
        raise CertificateError(f"{directory / CERTIFICATE_FILE}: {error.strerror}") from error
    beside = certificate.with_name(KEY_FILE)
    return certificate, beside if beside.exists() else directory / KEY_FILE


def _fingerprint(directory: Path) -> Any:
    """Return something that changes when a file does. Cheap: it is asked every few seconds."""
    found: list[tuple[str, int, int, int] | None] = []
    for name in (CERTIFICATE_FILE, KEY_FILE):
        try:
            path = (directory / name).resolve()
            stat = path.stat()
        except OSError:
            found.append(None)
        else:
            found.append((str(path), stat.st_ino, stat.st_mtime_ns, stat.st_size))
    return tuple(found)


def _now() -> datetime:
    return datetime.now(UTC)


class ServingCertificate:
    """Keeps the newest usable certificate of a directory, and hands it to each new connection."""

    def __init__(self, directory: Path, metrics: CertificateMetrics, now: Clock = _now) -> None:
        self._directory = directory
        self._metrics = metrics
        self._now = now
        self._seen: Any = None
        self._complained_of: str = ""
        self._current: Certificate | None = None
        self._front: ssl.SSLContext | None = None

    @property
    def current(self) -> Certificate | None:
        """The certificate that new connections get."""
        return self._current

    @property
    def context(self) -> ssl.SSLContext:
        """The context to listen with, for good: it passes each handshake on to the newest certificate's."""
        if self._front is None:
            raise CertificateError(f"no certificate was loaded from {self._directory} yet")
        return self._front

    async def load(self) -> None:
        """Load the certificate for the first time; raises CertificateError."""
        self._seen, loaded = await asyncio.to_thread(self._read)
        self._use(loaded)
        # A context of its own, so that the one listened with is never changed half-way.
        self._front = (await asyncio.to_thread(load, self._directory)).context
        self._front.sni_callback = self._choose

    async def refresh(self) -> None:
        """Look whether the files have changed, and use them if they are right. Never raises for the files."""
        fingerprint = await asyncio.to_thread(_fingerprint, self._directory)
        if fingerprint == self._seen:
            return
        try:
            fingerprint, loaded = await asyncio.to_thread(self._read)
            self._check_validity(loaded)
        except CertificateError as error:
            # Not marked as seen: a file that is still being written is looked at again.
            self._metrics.reloads.labels("failed").inc()
            if str(error) != self._complained_of:
                self._complained_of = str(error)
                logger.warning("new certificate not used; the old one stays", extra={"problem": str(error)})
            return
        self._seen, self._complained_of = fingerprint, ""
        self._use(loaded)
        self._metrics.reloads.labels("succeeded").inc()
        logger.info("new certificate in use", extra={"not_after": loaded.not_after.isoformat()})

    async def watch(self, seconds: float) -> None:
        """Refresh for ever."""
        while True:
            await asyncio.sleep(seconds)
            await self.refresh()

    def _read(self) -> tuple[Any, Certificate]:
        before = _fingerprint(self._directory)
        return before, load(self._directory)

    def _check_validity(self, certificate: Certificate) -> None:
        if not certificate.is_valid(self._now()):
            span = (
                f"from {certificate.not_before:%Y-%m-%d %H:%M} to {certificate.not_after:%Y-%m-%d %H:%M} UTC"
            )
            raise CertificateError(f"the certificate in {self._directory} is valid {span}, not now")

    def _use(self, certificate: Certificate) -> None:
        self._current = certificate
        self._metrics.expiry.set(certificate.not_after.timestamp())

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        # Called for every handshake, also without SNI.
        if self._current is not None:
            connection.context = self._current.context
