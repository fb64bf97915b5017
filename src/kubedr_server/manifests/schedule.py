"""The schedule of a policy's CronJob: the policy's own, moved by its share of `spreadMinutes`."""

import hashlib

from kubedr_server.api.cron import DESCRIPTORS, CronError, Every, parse
from kubedr_server.api.metadata_backup_policy import MetadataBackupPolicySpec


def effective_schedule(spec: MetadataBackupPolicySpec, identity: str) -> str:
    """Return when backups start, in a CronJob's format.

    Each minute of the schedule is moved later by the same number of minutes, which follows from `identity`
    alone and is at most `spreadMinutes`. It never leaves the hour: `0 2 * * *` can become any minute after
    two, `*/10` moves by at most 9, and a schedule that names minute 59 does not move. `@every` has no minute
    to move.
    """
    try:
        parsed = parse(spec.schedule)
    except CronError:
        return (
            spec.schedule
        )  # stored while no webhook was up: the API server refuses the CronJob and says why
    if isinstance(parsed, Every):
        return spec.schedule
    most = min(spec.spread_minutes or 0, 59 - max(parsed.minutes))
    number = int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8])
    offset = number % (most + 1)
    if offset == 0:
        return spec.schedule
    moved = ",".join(str(minute + offset) for minute in sorted(parsed.minutes))
    _minutes, *others = DESCRIPTORS.get(spec.schedule, spec.schedule).split()
    return " ".join((moved, *others))
