"""Whether what kube-apiserver encrypted can be decrypted with the keys that are in the backup.

The objects name the provider and the key that they are encrypted with; the encryption configuration holds
the keys. An object whose key is not in the backup comes back as bytes that nobody can read, and the time to
say so is while the key still exists.
"""

import base64
import binascii
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from kubedr_server.api.conditions import Reason
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.log import one_line
from kubedr_server.snapshot.objects import EncryptionKey

_KMS: Final = "kms"
_KEY_SIZES: Final = {"aescbc": (16, 24, 32), "aesgcm": (16, 24, 32), "secretbox": (32,)}
"""The providers that hold their keys in the configuration itself, and how many bytes a key has."""

_MAX_NAMED: Final = 5


@dataclass(frozen=True)
class Keys:
    """What an encryption configuration can decrypt: by keys of its own, or by asking a KMS plugin."""

    own: frozenset[EncryptionKey] = frozenset()
    external: frozenset[EncryptionKey] = frozenset()


@dataclass(frozen=True)
class Judged:
    """Objects that are encrypted, and those of them whose key the backup does not hold."""

    encrypted: int
    unrestorable: int


def read_keys(path: Path) -> Keys:
    """Read an encryption configuration; RunFailureError (NodeFilesUnreadable) if it is none.

    No word of the file gets into the message: it holds keys.
    """
    try:
        document = yaml.safe_load(path.read_bytes())
        resources = document["resources"]
        providers = [provider for each in resources for provider in each["providers"]]
    except (yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError):
        raise RunFailureError(
            Reason.NODE_FILES_UNREADABLE,
            f"{one_line(path.name)} is no encryption configuration of kube-apiserver (YAML with resources "
            "and their providers): spec.encryptionConfig of the policy has to name the file that "
            "--encryption-provider-config names.",
        ) from None
    own: set[EncryptionKey] = set()
    external: set[EncryptionKey] = set()
    for provider in providers:
        for kind, settings in provider.items() if isinstance(provider, dict) else ():
            if not isinstance(settings, dict):
                continue
            if kind == _KMS:
                external.add(EncryptionKey(_KMS, str(settings.get("name", ""))))
            elif kind in _KEY_SIZES:
                own |= {EncryptionKey(kind, name) for name in _usable(settings, _KEY_SIZES[kind])}
    return Keys(frozenset(own), frozenset(external))


def judge(encrypted: Counter[EncryptionKey], keys: Keys | None, warn: Callable[[str], None]) -> Judged:
    """Compare what a snapshot's objects are encrypted with with the keys in the backup, and warn.

    `keys` is None if the policy names no encryption configuration.
    """
    known = keys or Keys()
    lost = {key: count for key, count in encrypted.items() if key not in known.own | known.external}
    unrestorable = sum(lost.values())
    if unrestorable:
        named = _names(list(lost))
        if keys is None:
            remedy = "Name kube-apiserver's encryption configuration in spec.encryptionConfig of the policy."
        else:
            remedy = "Look whether spec.encryptionConfig names the file that kube-apiserver now uses."
        warn(
            f"{unrestorable} objects are encrypted at rest with a key that is not in the backup ({named}): "
            f"they could not be read after a restore. {remedy}"
        )
    plugins = {key: count for key, count in encrypted.items() if key in known.external}
    if plugins:
        warn(
            f"{sum(plugins.values())} objects are encrypted through a KMS plugin ({_names(list(plugins))}), "
            "whose key is in no backup of this cluster: after a restore they can be read only while that "
            "KMS and its key exist."
        )
    return Judged(encrypted.total(), unrestorable)


def _usable(settings: dict[str, Any], sizes: tuple[int, ...]) -> set[str]:
    """Return the names of the keys that have a secret which kube-apiserver would take."""
    names: set[str] = set()
    for key in settings.get("keys") or []:
        if not isinstance(key, dict):
            continue
        try:
            secret = base64.b64decode(str(key.get("secret", "")), validate=True)
        except binascii.Error:
            continue
        if len(secret) in sizes:
            names.add(str(key.get("name", "")))
    return names


def _names(keys: list[EncryptionKey]) -> str:
    named = sorted(one_line(f"{key.provider} {key.name}".strip()) for key in keys)
    shown = ", ".join(named[:_MAX_NAMED])
    return shown if len(named) <= _MAX_NAMED else f"{shown} and {len(named) - _MAX_NAMED} more"
