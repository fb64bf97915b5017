"""What a rule may know of other objects: looked up before it judges, so that it stays pure.

A kind says what it wants to know (`Wanted`); the server looks that up (`references`); the rules get
`Facts`. Whatever could not be found out in time is simply not in them, and then nothing is
refused or warned of for it: a slow API server must never be why a change is impossible.
"""

from dataclasses import dataclass, field
from typing import Literal

ReferencedKind = Literal[
    "BackupLocation", "MetadataBackupPolicy", "MetadataBackupRecord", "PersistentVolumeClaim"
]


@dataclass(frozen=True)
class Wanted:
    """The questions that a review raises, all about one namespace."""

    secrets: frozenset[str] = frozenset()
    """Which keys do these Secrets have?"""

    objects: frozenset[tuple[ReferencedKind, str]] = frozenset()
    """Do these objects exist?"""

    users_of_location: str | None = None
    """Which policies and records refer to this BackupLocation?"""

    restores_of_record: str | None = None
    """Which restores that have not ended use this MetadataBackupRecord?"""

    def __bool__(self) -> bool:
        return bool(self.secrets or self.objects or self.users_of_location or self.restores_of_record)


@dataclass(frozen=True)
class Facts:
    """The answers. What is missing here is not known."""

    secret_keys: dict[str, frozenset[str] | None] = field(default_factory=dict)
    """The keys that have a value, by Secret; None for a Secret that does not exist."""

    exists: dict[tuple[ReferencedKind, str], bool] = field(default_factory=dict)
    policies_of_location: tuple[str, ...] = ()
    records_of_location: tuple[str, ...] = ()
    restores_of_record: tuple[str, ...] = ()


@dataclass(frozen=True)
class Context:
    """All that a rule needs beside the object: the name that the API server gave, and the facts."""

    name: str = ""
    facts: Facts = field(default_factory=Facts)


NOTHING: Wanted = Wanted()


def missing_object(
    facts: Facts, kind: ReferencedKind, name: str, field_path: str, consequence: str
) -> list[str]:
    """Return a warning if the object is known not to exist."""
    if facts.exists.get((kind, name)) is not False:
        return []
    return [f'{field_path}: {kind} "{name}" does not exist yet: {consequence}']


def missing_keys(
    facts: Facts, secret: str, keys: tuple[str, ...], field_path: str, consequence: str
) -> list[str]:
    """Return a warning if the Secret, or a key of it, is known not to exist. Never a value."""
    if secret not in facts.secret_keys:
        return []
    present = facts.secret_keys[secret]
    if present is None:
        return [f'{field_path}: Secret "{secret}" does not exist yet: {consequence}']
    missing = [f'"{key}"' for key in keys if key not in present]
    if not missing:
        return []
    word = "key" if len(missing) == 1 else "keys"
    return [f'{field_path}: Secret "{secret}" has no {word} {", ".join(missing)}: {consequence}']


def listed(names: tuple[str, ...], limit: int = 5) -> str:
    """List names in a sentence, the first few of many."""
    shown = ", ".join(f'"{name}"' for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
