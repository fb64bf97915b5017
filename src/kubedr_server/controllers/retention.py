"""Which records a policy no longer keeps. Pure, because a mistake here deletes backups."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from kubedr_server.api.conditions import ConditionType
from kubedr_server.api.metadata_backup_record import MetadataBackupRecord
from kubedr_server.controllers.conditions import is_true

_EPOCH = datetime.fromtimestamp(0, UTC)


def expired(records: Iterable[MetadataBackupRecord], keep: int) -> Sequence[MetadataBackupRecord]:
    """Return the records beyond the newest `keep` verified ones, oldest first.

    Only verified records count and only they expire: one that was not proven must not push out one that
    was, and someone has to look at it. Records that are being deleted count no more. The
    newest good one never expires, whatever `keep` is.
    """
    good = [record for record in records if _counts(record)]
    good.sort(key=_age_order)
    return good[: -max(keep, 1)]


def _counts(record: MetadataBackupRecord) -> bool:
    return record.metadata.deletion_timestamp is None and is_true(
        record.status.conditions, ConditionType.VERIFIED
    )


def _age_order(record: MetadataBackupRecord) -> tuple[datetime, datetime, str]:
    created = record.metadata.creation_timestamp or _EPOCH
    return (record.status.backup_time or created, created, record.metadata.name)
