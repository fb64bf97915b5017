"""What restic's `--json` output says, as far as the runner reads it.

restic adds fields with every release: what is not named here is ignored, what is named here must be there.
"""

import json
from datetime import datetime
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


_M = TypeVar("_M", bound=_Message)


class BackupStatus(_Message):
    """Progress of a backup or a restore. `percent_done` is between 0 and 1."""

    percent_done: float = 0.0
    total_bytes: int = 0
    bytes_done: int = 0
    bytes_restored: int = 0


class BackupSummary(_Message):
    """What a backup did; `data_added_packed` is after compression."""

    files_new: int
    files_changed: int
    data_blobs: int
    data_added: int
    data_added_packed: int = 0
    total_files_processed: int
    total_bytes_processed: int
    snapshot_id: str = ""

    @property
    def new_files(self) -> int:
        """How many files are new to the repository.

        Where restic compared with no other snapshot each file is new to it. Then the number of new contents
        tells it; that of a file from half a MiB on can count more than once.
        """
        return min(self.files_new, self.data_blobs)


class RestoreSummary(_Message):
    """What a restore wrote."""

    files_restored: int = 0
    bytes_restored: int = 0


class Snapshot(_Message):
    """A snapshot, as the repository lists it. `summary` is None for those of old versions."""

    id: str
    time: datetime
    tags: list[str] = Field(default_factory=list)
    hostname: str = ""
    summary: BackupSummary | None = None

    def tag(self, name: str) -> str | None:
        """Return the value of the tag `name=value`."""
        prefix = f"{name}="
        return next((tag.removeprefix(prefix) for tag in self.tags if tag.startswith(prefix)), None)


class Node(_Message):
    """A file, directory or link in a snapshot. `path` begins with a slash."""

    path: str
    type: str
    size: int = 0


def parse(line: str) -> dict[str, Any]:
    """Return a line's JSON object; an empty one for a line that is none."""
    if not line.startswith("{"):
        return {}
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def summary_of(model: type[_M], message: dict[str, Any]) -> _M | None:
    """Return the message as `model` if it is a summary that is complete."""
    if message.get("message_type") != "summary":
        return None
    try:
        return model.model_validate(message)
    except ValidationError:
        return None


def exit_error(stderr: str) -> str:
    """Return restic's own last word: its `exit_error` message, or else the end of its standard error."""
    for line in reversed(stderr.splitlines()):
        message = parse(line)
        if message.get("message_type") == "exit_error":
            return str(message.get("message", "")).removeprefix("Fatal: ")
    lines = [line for line in stderr.splitlines() if line.strip()]
    return "\n".join(lines[-3:])
