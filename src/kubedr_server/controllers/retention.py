"""Which records a policy no longer keeps. Pure, because a mistake here deletes backups."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from kubedr_server.api.conditions import ConditionType
from kubedr_server.api.metadata_backup_policy import MetadataBackupPolicySpec
from kubedr_server.api.metadata_backup_record import MetadataBackupRecord
from kubedr_server.controllers import conditions
from kubedr_server.controllers.conditions import is_true
from kubedr_server.controllers.settings import FOREIGN_LABEL

_EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class Keep:
    """What a policy keeps: a record stays if any of the rules keeps it."""

    newest: int
    """So many of the newest, whatever their age."""

    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    """The newest of each of the last so many hours, days, ISO weeks and months, in UTC, that have one."""

    @classmethod
    def of(cls, spec: MetadataBackupPolicySpec) -> "Keep":
        """Return what a policy's spec says."""
        return cls(
            spec.retain_num_backups,
            spec.retain_hourly or 0,
            spec.retain_daily or 0,
            spec.retain_weekly or 0,
            spec.retain_monthly or 0,
        )


def expired(
    records: Iterable[MetadataBackupRecord], keep: Keep, last_told: str | None = None
) -> Sequence[MetadataBackupRecord]:
    """Return the records that no rule keeps, oldest first.

    `last_told` names the record of the policy's last good backup. It is the newest one, whatever the times
    say: they may be those of a control plane whose clock was set back.

    Only verified records count and only they expire: one that was not proven must not push out one that
    was, and someone has to look at it. Records that are being deleted count no more. The
    newest good one never expires, whatever the rules are.
    """
    good = [record for record in records if _counts(record)]
    good.sort(key=_age_order)
    kept = {id(record) for record in good[-max(keep.newest, 1) :]}
    kept |= {id(record) for record in good if record.metadata.name == last_told}
    for period, count in _PERIODS:
        kept |= _newest_of_each(good, period, count(keep))
    return [record for record in good if id(record) not in kept]


def _newest_of_each(
    good: Sequence[MetadataBackupRecord], period: Callable[[datetime], tuple[int, ...]], count: int
) -> set[int]:
    """Return the newest record of each of the last `count` periods that have one, by `id`."""
    newest: dict[tuple[int, ...], int] = {}
    for record in reversed(good):
        number = period(_taken(record))
        if number not in newest and len(newest) >= count:
            break
        newest.setdefault(number, id(record))
    return set(newest.values())


_PERIODS: Final[tuple[tuple[Callable[[datetime], tuple[int, ...]], Callable[[Keep], int]], ...]] = (
    (lambda time: (time.year, time.month, time.day, time.hour), lambda keep: keep.hourly),
    (lambda time: (time.year, time.month, time.day), lambda keep: keep.daily),
    (lambda time: time.isocalendar()[:2], lambda keep: keep.weekly),
    (lambda time: (time.year, time.month), lambda keep: keep.monthly),
)


def _counts(record: MetadataBackupRecord) -> bool:
    """Whether a record is one of this cluster's good backups.

    What another cluster has made is not this policy's to delete, and a snapshot that is gone, or may be
    damaged, must not push out one that is there.
    """
    known = record.status.conditions
    available = conditions.find(known, ConditionType.SNAPSHOT_AVAILABLE)
    return (
        record.metadata.deletion_timestamp is None
        and FOREIGN_LABEL not in record.metadata.labels
        and is_true(known, ConditionType.VERIFIED)
        and (available is None or available.status == "True")
    )


def _taken(record: MetadataBackupRecord) -> datetime:
    """Return when the backup was made, in UTC.

    Its own time comes from the node's clock. It cannot be later than the record, which has the API server's
    time: a clock that runs ahead must not make one backup the newest for ever.
    """
    created = record.metadata.creation_timestamp or _EPOCH
    return min(record.status.backup_time or created, created).astimezone(UTC)


def _age_order(record: MetadataBackupRecord) -> tuple[datetime, datetime, str]:
    return (_taken(record), record.metadata.creation_timestamp or _EPOCH, record.metadata.name)
