"""A pod's volumes as directories on this machine.

Secrets are files that only the user of local mode can read, and they are removed when the pod
ends. An emptyDir goes with the pod. A hostPath is the path itself, and a claim is the directory
that it was bound to: neither is ever removed here.
"""

import contextlib
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from kubedr_server.local.executor.environment import ConfigError, Sources, data_of, field_value
from kubedr_server.local.executor.objects import Object
from kubedr_server.local.executor.pvcs import ClaimLookup

_OWNER_ONLY = 0o700


class MountError(Exception):
    """A volume cannot be set up yet; the message names it and says why, as a kubelet does."""


@dataclass(frozen=True)
class Files:
    """The contents of a volume that is made of objects: relative path to bytes and mode."""

    contents: dict[str, tuple[bytes, int]]
    private: bool = False


@dataclass(frozen=True)
class VolumeSources:
    """What volumes are made of: the pod's namespace's objects, and the directories of bound claims."""

    objects: Sources
    claim: ClaimLookup


async def resolve(pod: Object, volume: Object, sources: VolumeSources) -> Files | Path | None:
    """Read what a volume is made of: files to write, an existing directory, or None for an empty one.

    Raises MountError. Nothing is written, so that a pod that has to wait leaves no secret behind.
    """
    name = volume["name"]
    try:
        if "emptyDir" in volume:
            return None
        if (host := volume.get("hostPath")) is not None:
            return _host_path(host)
        if (claim := volume.get("persistentVolumeClaim")) is not None:
            return await sources.claim(pod["metadata"]["namespace"], claim["claimName"])
        if (secret := volume.get("secret")) is not None:
            return Files(await _secret(secret, sources.objects), private=True)
        if (config_map := volume.get("configMap")) is not None:
            return Files(await _config_map(config_map, sources.objects, 0o644))
        if (downward := volume.get("downwardAPI")) is not None:
            return Files(_downward(pod, downward, 0o644))
        if (projected := volume.get("projected")) is not None:
            return Files(await _projected(pod, projected, sources.objects), private=True)
    except (LookupError, ValueError, ConfigError) as error:
        reason = error.args[0] if error.args else error
        raise MountError(f'MountVolume.SetUp failed for volume "{name}" : {reason}') from error
    kind = next((key for key in volume if key != "name"), "nothing")
    raise MountError(f'MountVolume.SetUp failed for volume "{name}" : local mode has no {kind} volumes')


def prepare(directory: Path, content: Files | None) -> Path:
    """Make a volume's own directory and fill it. Blocks: call it in a thread."""
    directory.mkdir(parents=True, mode=_OWNER_ONLY)
    for relative, (data, mode) in (content.contents if content else {}).items():
        path = directory / relative
        path.parent.mkdir(parents=True, exist_ok=True, mode=_OWNER_ONLY)
        allowed = (mode & _OWNER_ONLY) | stat.S_IRUSR if content and content.private else mode
        # Never readable by others, not even for the moment between open and chmod.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), allowed)
    return directory


def remove(directory: Path) -> None:
    """Remove a pod's own volumes, whatever modes the process gave to its files. Blocks."""
    if not directory.is_dir() or directory.is_symlink():
        return
    for folder, folders, _ in os.walk(directory):
        for name in folders:
            path = Path(folder, name)
            if not path.is_symlink():
                with contextlib.suppress(OSError):
                    path.chmod(_OWNER_ONLY)
    shutil.rmtree(directory)


def within(directory: Path, sub_path: str) -> Path:
    """Return `subPath` of a volume. Raises MountError if it leads out of the volume."""
    path = (directory / sub_path).resolve()
    if Path(sub_path).is_absolute() or not path.is_relative_to(directory.resolve()):
        raise MountError(f'subPath "{sub_path}" leads out of its volume')
    return path


def _host_path(host: Object) -> Path:
    path, kind = Path(host["path"]), host.get("type") or ""
    if not path.is_absolute():
        raise ValueError(f"hostPath {path} is not an absolute path")
    if kind == "DirectoryOrCreate":
        path.mkdir(parents=True, exist_ok=True, mode=0o755)
    elif kind == "FileOrCreate":
        path.touch(mode=0o644)
    elif kind == "Directory" and not path.is_dir():
        raise ValueError(f"hostPath type check failed: {path} is not a directory")
    elif kind == "File" and not path.is_file():
        raise ValueError(f"hostPath type check failed: {path} is not a file")
    elif kind in {"Socket", "CharDevice", "BlockDevice"}:
        raise ValueError(f"hostPath type check failed: local mode does not know type {kind}")
    return path


async def _secret(source: Object, objects: Sources) -> dict[str, tuple[bytes, int]]:
    name = source.get("secretName") or source.get("name") or ""
    return _keys(source, "secret", name, await objects.secret(name), source.get("defaultMode", 0o644))


async def _config_map(source: Object, objects: Sources, mode: int) -> dict[str, tuple[bytes, int]]:
    name = source["name"]
    return _keys(source, "configmap", name, await objects.config_map(name), source.get("defaultMode", mode))


def _keys(
    source: Object, kind: str, name: str, obj: Object | None, mode: int
) -> dict[str, tuple[bytes, int]]:
    optional = bool(source.get("optional"))
    if obj is None:
        if optional:
            return {}
        raise LookupError(f'{kind} "{name}" not found')
    data = data_of(obj)
    if not source.get("items"):
        return {key: (value, mode) for key, value in data.items()}
    found: dict[str, tuple[bytes, int]] = {}
    for item in source["items"]:
        if item["key"] in data:
            found[_relative(item["path"])] = (data[item["key"]], item.get("mode", mode))
        elif not optional:
            raise LookupError(f"references non-existent {kind} key: {item['key']}")
    return found


def _downward(pod: Object, source: Object, mode: int) -> dict[str, tuple[bytes, int]]:
    mode = source.get("defaultMode", mode)
    found: dict[str, tuple[bytes, int]] = {}
    for item in source.get("items") or []:
        if "fieldRef" not in item:
            raise ValueError("local mode knows fieldRef only in downwardAPI volumes")
        value = field_value(pod, item["fieldRef"]["fieldPath"])
        found[_relative(item["path"])] = (value.encode(), item.get("mode", mode))
    return found


async def _projected(pod: Object, source: Object, objects: Sources) -> dict[str, tuple[bytes, int]]:
    mode = source.get("defaultMode", 0o644)
    found: dict[str, tuple[bytes, int]] = {}
    for part in source.get("sources") or []:
        if "secret" in part:
            found |= await _secret({"defaultMode": mode, **part["secret"]}, objects)
        elif "configMap" in part:
            found |= await _config_map(part["configMap"], objects, mode)
        elif "downwardAPI" in part:
            found |= _downward(pod, part["downwardAPI"], mode)
        elif "serviceAccountToken" not in part:  # there are no tokens in local mode
            raise ValueError(f"local mode does not know the projection {next(iter(part), 'nothing')}")
    return found


def _relative(path: str) -> str:
    if not path or Path(path).is_absolute() or ".." in Path(path).parts:
        raise ValueError(f'path "{path}" leads out of its volume')
    return path
