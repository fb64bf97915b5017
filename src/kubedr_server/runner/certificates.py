"""When the certificates in a backup expire, and which of them are none.

A control plane that comes back with expired certificates does not come up: that is best known while there
is time. Only the files that were copied are looked at, so that what is told is true of the backup.
"""

import base64
import binascii
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import yaml
from cryptography import x509
from cryptography.utils import CryptographyDeprecationWarning

from kubedr_server.runner.log import one_line

_SUFFIXES: Final = frozenset({".crt", ".cer", ".pem"})
_MARK: Final = b"-----BEGIN CERTIFICATE-----"
_MAX_SIZE: Final = 1024 * 1024
"""No certificate, nor a bundle of all authorities of a system, is larger."""

_WARNING: Final = timedelta(days=30)
_MAX_NAMED: Final = 5
_KUBECONFIG_KEYS: Final = ("client-certificate-data", "certificate-authority-data")


@dataclass(frozen=True)
class Expiry:
    """When a certificate ends; `name` is its file, as a path in the backup."""

    name: str
    end: datetime


def inspect(root: Path, names: Iterable[str], now: datetime, warn: Callable[[str], None]) -> datetime | None:
    """Return when the first certificate among the files `names` below `root` expires; None without any.

    Warns of what is expired or will be in less than 30 days, and of files that are named like a
    certificate and cannot be read as one.
    """
    found: list[Expiry] = []
    unreadable: list[str] = []
    for name in sorted(names):
        try:
            found += [Expiry(name, end) for end in _ends(root / name)]
        except ValueError:
            unreadable.append(name)
    if unreadable:
        warn(f"No certificate, though named like one: {_list(unreadable)}. Backed up as it is.")
    expired = sorted({each.name for each in found if each.end <= now})
    if expired:
        warn(
            f"Expired certificates are in the backup: {_list(expired)}. Renew them (kubeadm certs renew) "
            "before they are needed."
        )
    soon = sorted({each.name for each in found if now < each.end < now + _WARNING})
    if soon:
        first = min(each.end for each in found if each.end > now)
        warn(
            f"Certificates expire in less than {_WARNING.days} days, the first on {first:%Y-%m-%d}: "
            f"{_list(soon)}. Renew them (kubeadm certs renew)."
        )
    return min((each.end for each in found), default=None)


def _ends(path: Path) -> Iterator[datetime]:
    """Yield the ends of a file's certificates; ValueError if it has to have some and has not."""
    if path.stat().st_size > _MAX_SIZE:
        return
    content = path.read_bytes()
    if _MARK in content:
        yield from (each.not_valid_after_utc for each in _pem(content))
    elif path.suffix == ".conf" or b"certificate-authority-data" in content:
        for embedded in _of_kubeconfig(content):
            yield from (each.not_valid_after_utc for each in _pem(embedded))
    elif path.suffix in _SUFFIXES and b"-----BEGIN " not in content:
        yield _der(content).not_valid_after_utc


def _pem(content: bytes) -> list[x509.Certificate]:
    with warnings.catch_warnings():
        # What is told of a certificate here is its end; that its serial number is odd is not our matter.
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        return x509.load_pem_x509_certificates(content)


def _der(content: bytes) -> x509.Certificate:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        return x509.load_der_x509_certificate(content)


def _of_kubeconfig(content: bytes) -> Iterator[bytes]:
    """Yield the certificates that a kubeconfig holds in itself, in PEM."""
    try:
        document = yaml.safe_load(content)
    except yaml.YAMLError:
        return
    for part in _parts(document):
        for key in _KUBECONFIG_KEYS:
            value = part.get(key)
            if isinstance(value, str):
                try:
                    yield base64.b64decode(value, validate=True)
                except binascii.Error as error:
                    raise ValueError("not base64") from error


def _parts(document: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(document, dict):
        return
    for plural, singular in (("clusters", "cluster"), ("users", "user")):
        for item in document.get(plural) or []:
            part = item.get(singular) if isinstance(item, dict) else None
            if isinstance(part, dict):
                yield part


def _list(names: list[str]) -> str:
    shown = ", ".join(one_line(name) for name in names[:_MAX_NAMED])
    return shown if len(names) <= _MAX_NAMED else f"{shown} and {len(names) - _MAX_NAMED} more"
