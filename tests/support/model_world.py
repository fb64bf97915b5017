"""What a cluster has to look like when all has come to rest: a model small enough to be seen to be right.

It knows nothing of reconciling. It keeps what people and kubelets have done, and says which
CronJobs, records, snapshots and counts follow from it once the server has had time.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from kubedr_server.api.backup_location import BackupLocation
from kubedr_server.api.metadata_backup_policy import MetadataBackupPolicy
from kubedr_server.api.names import backup_cronjob_name
from kubedr_server.controllers.policy.cronjob import difference
from kubedr_server.controllers.settings import TOLD_ANNOTATION
from kubedr_server.kube.resources import (
    BACKUP_LOCATIONS,
    CRONJOBS,
    EVENTS,
    JOBS,
    METADATA_BACKUP_POLICIES,
    METADATA_BACKUP_RECORDS,
    Resource,
)
from kubedr_server.manifests.cronjob import backup_cronjob
from kubedr_server.manifests.labels import Label
from support.kubedr_objects import RUNNER
from support.simulated_world import SimulatedWorld

Object = dict[str, Any]


@dataclass
class Policy:
    """A live policy."""

    destination: str
    schedule: str
    suspend: bool
    retain: int
    failures: int = 0
    """Failed backups in a row, as far as they have been told."""

    last_record: str | None = None
    has_cronjob: bool = False
    """Its CronJob exists: its location did, at a time when the server looked."""


@dataclass
class Run:
    """A backup's Job."""

    policy: str
    destination: str
    """The location of the time when the Job was made."""

    ended: datetime | None = None
    snapshot: str | None = None
    """What it stored, if it succeeded."""

    told: bool = False
    restarts: int = 0
    """How often the server has died since the Job ended: an Event may be lost with it."""


@dataclass
class Record:
    """A record that exists. Its snapshot does, too, as long as it is not being deleted."""

    policy: str
    location: str
    snapshot: str
    taken: datetime
    deleting: bool = False


@dataclass
class Model:
    """The whole cluster."""

    locations: set[str] = field(default_factory=set)
    policies: dict[str, Policy] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)
    snapshots: set[str] = field(default_factory=set)
    released: set[str] = field(default_factory=set)
    """Snapshots of records that were let go without their location: they may be there, or gone already."""

    storage_works: bool = True

    def begun(self) -> list[str]:
        """Return the Jobs that have not ended."""
        return sorted(name for name, run in self.runs.items() if run.ended is None)

    def told(self) -> list[str]:
        """Return the Jobs whose outcome is known to everyone."""
        return sorted(name for name, run in self.runs.items() if run.told)

    def kept(self) -> list[str]:
        """Return the records that nobody deletes."""
        return sorted(name for name, record in self.records.items() if not record.deleting)

    def drop_policy(self, name: str) -> None:
        """Delete a policy: what it owns goes with it, its records stay."""
        del self.policies[name]
        self.runs = {job: run for job, run in self.runs.items() if run.policy != name}

    def drop_cronjob(self, name: str) -> None:
        """Delete a policy's CronJob: its Jobs go with it."""
        self.policies[name].has_cronjob = False
        self.runs = {job: run for job, run in self.runs.items() if run.policy != name}

    def come_to_rest(self) -> None:
        """Let the server do all that it has to do."""
        for name, policy in self.policies.items():
            policy.has_cronjob = policy.has_cronjob or policy.destination in self.locations
            self._tell(name, policy)
            self._expire(name, policy)
        for name, record in list(self.records.items()):
            if record.deleting:
                self._delete(name, record)

    def _tell(self, name: str, policy: Policy) -> None:
        ended = [
            (run.ended, job, run)
            for job, run in self.runs.items()
            if run.policy == name and run.ended is not None
        ]
        for ended_at, _, run in sorted(ended, key=lambda entry: entry[:2]):
            if run.told:
                continue
            run.told = True
            if run.snapshot is None:
                policy.failures += 1
            else:
                policy.failures = 0
                policy.last_record = record_name(run.snapshot)
                self.records[policy.last_record] = Record(name, run.destination, run.snapshot, ended_at)

    def _expire(self, name: str, policy: Policy) -> None:
        mine = [record for record in self.records.values() if record.policy == name and not record.deleting]
        mine.sort(key=lambda record: record.taken)
        for record in mine[: -policy.retain]:
            record.deleting = True

    def _delete(self, name: str, record: Record) -> None:
        if record.location not in self.locations:
            del self.records[name]
            self.released.add(record.snapshot)
        elif self.storage_works:
            del self.records[name]
            self.snapshots.discard(record.snapshot)


def record_name(snapshot: str) -> str:
    """Return the name of a snapshot's record."""
    return f"mbr-{snapshot[:8]}"


async def differences(world: SimulatedWorld, model: Model) -> list[str]:
    """Return in which ways the cluster is not what the model says, as sentences."""
    seen: dict[Resource, dict[str, Object]] = {}
    for resource in (BACKUP_LOCATIONS, CRONJOBS, JOBS, METADATA_BACKUP_POLICIES, METADATA_BACKUP_RECORDS):
        seen[resource] = {obj["metadata"]["name"]: obj for obj in await world.all(resource)}
    found = [
        *_cronjobs(model, seen),
        *_policies(model, seen[METADATA_BACKUP_POLICIES]),
        *_runs(model, seen, await world.all(EVENTS)),
        *_records(model, seen[METADATA_BACKUP_RECORDS]),
    ]
    if world.snapshots - model.released != model.snapshots - model.released:
        found.append(f"the repository holds {world.snapshots}, not {model.snapshots}")
    return found


def _cronjobs(model: Model, seen: dict[Resource, dict[str, Object]]) -> Iterable[str]:
    wanted = {
        backup_cronjob_name(name): name for name, policy in model.policies.items() if policy.has_cronjob
    }
    yield from _names("CronJobs", seen[CRONJOBS], wanted)
    for name, cronjob in seen[CRONJOBS].items():
        if name not in wanted:
            continue
        policy = seen[METADATA_BACKUP_POLICIES][wanted[name]]
        if [owner["uid"] for owner in cronjob["metadata"]["ownerReferences"]] != [policy["metadata"]["uid"]]:
            yield f"CronJob {name} does not belong to the policy that there is now"
        location = seen[BACKUP_LOCATIONS].get(policy["spec"]["destination"])
        if location is None:
            if not cronjob["spec"]["suspend"]:
                yield f"CronJob {name} runs without a location"
            continue
        right = backup_cronjob(
            MetadataBackupPolicy.model_validate(policy), BackupLocation.model_validate(location), RUNNER
        )
        path = difference(cronjob, right)
        if path is not None:
            yield f"CronJob {name} is wrong at {path}"


def _policies(model: Model, seen: dict[str, Object]) -> Iterable[str]:
    yield from _names("policies", seen, model.policies)
    for name, policy in model.policies.items():
        status = seen[name].get("status") or {}
        spec = seen[name]["spec"]
        told = {
            "destination": spec["destination"],
            "schedule": spec["schedule"],
            "suspend": spec["suspend"],
            "generation": status.get("observedGeneration"),
            "failures": status.get("consecutiveFailures") or 0,
            "record": status.get("mbrName"),
        }
        wanted = {
            "destination": policy.destination,
            "schedule": policy.schedule,
            "suspend": policy.suspend,
            "generation": seen[name]["metadata"]["generation"],
            "failures": policy.failures,
            "record": policy.last_record,
        }
        if told != wanted:
            yield f"policy {name} says {told}, not {wanted}"


def _runs(model: Model, seen: dict[Resource, dict[str, Object]], events: list[Object]) -> Iterable[str]:
    backups = {
        name: job
        for name, job in seen[JOBS].items()
        if job["metadata"]["labels"][Label.OPERATION.value] == "backup"
    }
    yield from _names("backup Jobs", backups, model.runs)
    owners = {obj["metadata"]["uid"] for objects in seen.values() for obj in objects.values()}
    for name, job in seen[JOBS].items():
        if not {owner["uid"] for owner in job["metadata"]["ownerReferences"]} <= owners:
            yield f"Job {name} has lost its owner"
    told: Counter[str] = Counter()
    for event in events:
        told[event["message"]] += event["count"]
    for name, run in model.runs.items():
        if name not in backups:
            continue
        if (TOLD_ANNOTATION in (backups[name]["metadata"].get("annotations") or {})) != run.told:
            yield f"Job {name} is not marked as the model says: {run}"
        count = told[f"{name} {'succeeded' if run.snapshot else 'failed'}"]
        # An Event is sent beside everything else: a process may end before. None is sent twice.
        if run.told and not (count == 1 or (count == 0 and run.restarts)):
            yield f"Job {name} was told {count} times: {run}"


def _records(model: Model, seen: dict[str, Object]) -> Iterable[str]:
    yield from _names("records", seen, model.records)
    for name, wanted in model.records.items():
        if name not in seen:
            continue
        record = seen[name]
        spec, deleting = record["spec"], "deletionTimestamp" in record["metadata"]
        found = (spec["policy"], spec.get("backuploc"), spec["snapshotId"], deleting)
        if found != (wanted.policy, wanted.location, wanted.snapshot[:8], wanted.deleting):
            yield f"record {name} is {found}, not {wanted}"
        if (record.get("status") or {}).get("fullSnapshotId") != wanted.snapshot:
            yield f"record {name} has lost the snapshot's id"


def _names(what: str, seen: Iterable[str], wanted: Iterable[str]) -> Iterable[str]:
    if set(seen) != set(wanted):
        yield f"the {what} are {sorted(seen)}, not {sorted(wanted)}"
