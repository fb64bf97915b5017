"""What a decision about a policy depends on."""

from dataclasses import dataclass, field

from kubedr_server.api.backup_location import BackupLocation
from kubedr_server.api.metadata_backup_policy import MetadataBackupPolicy
from kubedr_server.api.metadata_backup_record import MetadataBackupRecord
from kubedr_server.controllers.decision import Object
from kubedr_server.controllers.jobs import Report
from kubedr_server.controllers.policy.cronjob import Settled
from kubedr_server.controllers.policy.drill import DrillState
from kubedr_server.controllers.policy.missed import Seen
from kubedr_server.controllers.policy.record import Slot
from kubedr_server.controllers.run import Run


@dataclass(frozen=True)
class Untold:
    """An ended Job whose outcome has not been told, or not wholly."""

    run: Run
    report: Report
    slot: Slot | None = None
    """Where its record belongs, if it made a snapshot."""


@dataclass(frozen=True)
class PolicyState:
    """All that a decision about a policy depends on."""

    policy: MetadataBackupPolicy
    location: BackupLocation | None
    cronjob: Object | None
    """The CronJob of the policy's name, whoever made it."""

    settled: Settled | None = None
    """What this process last applied of it."""

    untold: Untold | None = None
    """The first to have ended of the Jobs that are not told."""

    more_untold: bool = False
    active: tuple[Run, ...] = ()
    """Jobs that have not ended, the newest last."""

    drills: DrillState = field(default_factory=DrillState)
    seen: Seen | None = None
    """What is known of the runs, by which missed ones are found."""

    records: tuple[MetadataBackupRecord, ...] = ()
    """All records of the policy's name, if any of them may have to go."""
