"""The list of a repository's snapshots, on its way from a runner's log to the controllers.

A termination message has room for 4096 bytes; a repository has thousands of snapshots. So the list goes
through the pod's log, which others write to as well, which a node can cut, and which no one signs. It is
compressed, because a node keeps 10 MiB of a log: enough for about 40,000 backups. It is cut into lines that
can be told from all others, with a checksum, numbered, and the last line says how many there were: a list is
read as a whole, or not at all. Half a list would look like a repository that has lost its backups.

    kubedr-catalogue 2 <number>/<total> <CRC-32> <base64>
    kubedr-catalogue 2 end <total> <SHA-256 of all that the base64 stands for>

What the base64 of all lines stands for is compressed by zlib, and holds one JSON object a line.
"""

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from typing import Annotated, Final

from pydantic import Field, ValidationError

from kubedr_server.api.base import Model, Timestamp
from kubedr_server.contract import BackupResult

MAX_LINE_BYTES: Final = 8000
"""A container runtime splits lines of 16 KiB; a line of this length is whole with any prefix it adds."""

_MAX_ENTRY_BYTES: Final = 8000
_MAX_LIST_BYTES: Final = 256 * 1024 * 1024
"""What a list may become in memory: about 280,000 backups."""

_FRAME_BYTES: Final = 60
"""What a line has before its part of the list, at most."""

_VERSION: Final = 2
_MARK: Final = "kubedr-catalogue"
_SHORT: Final = 64

_FRAME = re.compile(
    # What `kubectl logs --timestamps`, or a runtime's file, has before the line itself.
    r"(?:\d{4}-\d\d-\d\dT\S+ (?:std(?:out|err) [FP] )?)?" + _MARK + r" (?P<version>\S+) (?P<rest>.*)"
)
_LINE = re.compile(
    r"(?P<number>[0-9]{1,9})/(?P<total>[0-9]{1,9}) (?P<checksum>[0-9a-f]{8}) (?P<text>[A-Za-z0-9+/=]+)"
)
_END = re.compile(r"end (?P<total>[0-9]{1,9}) (?P<checksum>[0-9a-f]{64})")


class CatalogueError(Exception):
    """A log holds no whole catalogue. The message is one sentence for people."""


class CatalogueEntry(Model):
    """A snapshot of this project's in the repository, of whichever cluster and policy."""

    snapshot_id: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    time: Timestamp
    """The snapshot's own time. Whoever writes to the repository can forge it."""

    host: str = ""
    cluster_id: str = ""
    policy: str = ""
    """`<namespace>/<name>`."""

    run_id: str = ""
    complete: bool
    """Whether it is a whole backup, with the proof of it in its tags."""

    why: str | None = None
    """What an incomplete one lacks."""

    backup: BackupResult | None = None
    """What the backup told when it was made, as far as the repository knows; only of a complete one."""


def encode(entries: Sequence[CatalogueEntry], line_bytes: int = MAX_LINE_BYTES) -> Iterator[str]:
    """Return the lines, without newlines and of at most `line_bytes`: the entries, and the end."""
    packed = zlib.compress("".join(f"{_fitting(entry)}\n" for entry in entries).encode(), level=9)
    text = base64.b64encode(packed).decode()
    width = line_bytes - _FRAME_BYTES
    parts = [text[at : at + width] for at in range(0, len(text), width)]
    for number, part in enumerate(parts, start=1):
        yield f"{_MARK} {_VERSION} {number}/{len(parts)} {_crc(part)} {part}"
    yield f"{_MARK} {_VERSION} end {len(parts)} {hashlib.sha256(packed).hexdigest()}"


def decode(log: str) -> list[CatalogueEntry]:
    """Return the entries in a log, in their order. Other lines of the log do not matter.

    Raises CatalogueError if a line is missing, damaged, doubled or out of order, or if there is no end.
    """
    parts: list[str] = []
    total: int | None = None
    told: str | None = None
    for frame in _frames(log):
        if told is not None:
            raise CatalogueError(
                "The pod's log goes on after the end of its list of snapshots: it is doubled."
            )
        number = len(parts) + 1
        if (end := _END.fullmatch(frame)) is not None:
            total, told = _same_total(total, int(end["total"])), end["checksum"]
            if len(parts) != total:
                raise _lost(number, total)
            continue
        line = _LINE.fullmatch(frame)
        if line is None or _crc(line["text"]) != line["checksum"]:
            raise CatalogueError(f"Line {number} of the list of snapshots in the pod's log is damaged.")
        total = _same_total(total, int(line["total"]))
        if int(line["number"]) != number:
            raise _out_of_order(int(line["number"]), number, total)
        parts.append(line["text"])
    if told is None:
        raise CatalogueError(
            "The pod's log holds no list of snapshots."
            if total is None
            else f"The list of snapshots in the pod's log breaks off after {len(parts)} of {total} lines."
        )
    return [_entry(line, number) for number, line in enumerate(_unpacked("".join(parts), told), start=1)]


def _unpacked(text: str, checksum: str) -> list[str]:
    """Return the JSON lines; CatalogueError if they are not what the list ends with."""
    try:
        packed = base64.b64decode(text, validate=True)
        if hashlib.sha256(packed).hexdigest() != checksum:
            raise CatalogueError("The list of snapshots in the pod's log does not have the sum it ends with.")
        unpacking = zlib.decompressobj()
        data = unpacking.decompress(packed, _MAX_LIST_BYTES)
        if not unpacking.eof:
            raise CatalogueError(
                f"The list of snapshots in the pod's log is cut, or longer than {_MAX_LIST_BYTES} bytes."
            )
        return data.decode("ascii").splitlines()
    except (ValueError, zlib.error) as error:
        raise CatalogueError("The list of snapshots in the pod's log cannot be unpacked.") from error


def _frames(log: str) -> Iterator[str]:
    for line in log.split("\n"):
        match = _FRAME.fullmatch(line.removesuffix("\r"))
        if match is None:
            continue
        if match["version"] != str(_VERSION):
            raise CatalogueError(
                f"The list of snapshots in the pod's log has the format {match['version'][:20]}, and this "
                f"server reads format {_VERSION}: run the server and the backup image in the same version."
            )
        yield match["rest"]


def _same_total(known: int | None, told: int) -> int:
    if known is not None and known != told:
        raise CatalogueError(
            f"The list of snapshots in the pod's log says {known} and {told} lines: two lists are mixed."
        )
    return told


def _out_of_order(number: int, wanted: int, total: int) -> CatalogueError:
    if number < wanted:
        return CatalogueError(f"Line {number} of the list of snapshots in the pod's log is doubled.")
    return _lost(wanted, total)


def _lost(number: int, total: int) -> CatalogueError:
    return CatalogueError(f"Line {number} of {total} of the list of snapshots is missing in the pod's log.")


def _entry(text: str, number: int) -> CatalogueEntry:
    try:
        return CatalogueEntry.model_validate_json(text)
    except ValidationError as error:
        raise CatalogueError(
            f"Entry {number} of the list of snapshots in the pod's log lacks what this server needs: run the "
            "server and the backup image in the same version."
        ) from error


def _fitting(entry: CatalogueEntry) -> str:
    text = _json(entry)
    return text if len(text) <= _MAX_ENTRY_BYTES else _json(_shortened(entry))


def _shortened(entry: CatalogueEntry) -> CatalogueEntry:
    """Return an entry that fits for a snapshot whose tags, which anyone can write, are too long."""
    return CatalogueEntry(
        snapshot_id=entry.snapshot_id,
        time=entry.time,
        host=entry.host[:_SHORT],
        cluster_id=entry.cluster_id[:_SHORT],
        policy=entry.policy[:_SHORT],
        run_id=entry.run_id[:_SHORT],
        complete=False,
        why="its tags are longer than any that a backup writes",
    )


def _json(entry: CatalogueEntry) -> str:
    """Return an entry in ASCII alone: nothing in it can end a line or confuse a log's encoding."""
    return json.dumps(entry.to_wire(), ensure_ascii=True, separators=(",", ":"))


def _crc(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"
