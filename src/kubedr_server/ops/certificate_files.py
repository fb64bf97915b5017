"""Writes a certificate and its key as the kubelet mounts a Secret: both change in one step."""

import hashlib
import shutil
from pathlib import Path
from typing import Final

from kubedr_server.ops.tls import CERTIFICATE_FILE, KEY_FILE

_CURRENT: Final = "..data"


def write(directory: Path, certificate: bytes, key: bytes) -> None:
    """Put the pair into the directory, readable by this user only. Writes files: call it in a thread."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    version = directory / f"..{hashlib.sha256(certificate + key).hexdigest()[:16]}"
    current = directory / _CURRENT
    if current.is_symlink() and current.readlink() == Path(version.name):
        return
    version.mkdir(mode=0o700, exist_ok=True)
    for name, content in ((CERTIFICATE_FILE, certificate), (KEY_FILE, key)):
        file = version / name
        file.touch(mode=0o600)
        file.write_bytes(content)
    _link(current, version.name)
    for name in (CERTIFICATE_FILE, KEY_FILE):
        if not (directory / name).is_symlink():
            _link(directory / name, f"{_CURRENT}/{name}")
    for old in directory.glob("..[0-9a-f]*"):
        if old.is_dir() and not old.is_symlink() and old != version:
            shutil.rmtree(old)


def _link(link: Path, target: str) -> None:
    """Make or replace a symbolic link in one step."""
    new = link.with_name(f"{link.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.rename(link)
