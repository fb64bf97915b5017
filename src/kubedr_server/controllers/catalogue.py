"""What a repository's list of snapshots means for the records: which to make, what to say on others. Pure.

The repository is the truth. A whole backup without a record gets one: its result was lost, or this cluster
is new. A record whose snapshot is gone says so, and is kept: nothing is deleted here. Doing it again changes
nothing, and a backup whose own result is still to be told is left to that.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from kubedr_server.api.conditions import ConditionType, EventReason, Reason
from kubedr_server.api.metadata_backup_record import MetadataBackupRecord
from kubedr_server.api.names import label_value
from kubedr_server.catalogue import CatalogueEntry
from kubedr_server.controllers import conditions
from kubedr_server.controllers.decision import Announcement, Create, Merge, Object
from kubedr_server.controllers.policy.record import ID_LENGTHS, Slot, new_record
from kubedr_server.controllers.proof import AVAILABLE, Origin, record_status
from kubedr_server.controllers.settings import FOREIGN_LABEL, SNAPSHOT_ANNOTATION
from kubedr_server.kube.resources import METADATA_BACKUP_RECORDS

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


@dataclass(frozen=True)
class Known:
    """What the cluster knows of a location's backups, beside the repository's own list."""

    location: str
    namespace: str
    cluster_id: str
    listed: datetime
    """When the Job that made the list was created: what is younger may be missing from it."""

    records: tuple[Object, ...] = ()
    """All records of the namespace, whichever location they are of."""

    policies: frozenset[str] = frozenset()
    """The policies that have this location as their destination."""

    pending_runs: frozenset[str] = frozenset()
    """The uids of Jobs whose own results are still to be told."""

    let_go: frozenset[str] = frozenset()
    """Snapshots, by the beginnings of their ids, that are not to have a record."""


@dataclass(frozen=True)
class Change:
    """One write to a record, and the Event that tells of it; `record` is what the Event is about."""

    write: Create | Merge
    event: Announcement | None = None
    record: Object | None = None
    """The record as it was; None if the write makes it."""

    entry: CatalogueEntry | None = None
    """The backup that got its record by this change."""


@dataclass(frozen=True)
class Plan:
    """All that follows from a list."""

    changes: tuple[Change, ...] = ()
    incomplete: tuple[CatalogueEntry, ...] = ()
    """Snapshots that are no whole backup, and have no record."""

    elsewhere: Mapping[str, int] = field(default_factory=dict)
    """By namespace: whole backups of this cluster for policies there. The locations there see to them: two
    records of one snapshot would each delete it, by the rules of two policies."""

    @property
    def remark(self) -> str:
        """What a person should know of it, in sentences; empty if nothing."""
        sentences = []
        if self.incomplete:
            named = ", ".join(f"{entry.snapshot_id[:8]} ({entry.why})" for entry in self.incomplete[:3])
            more = f" and {len(self.incomplete) - 3} more" if len(self.incomplete) > 3 else ""
            sentences.append(f"No whole backups, and so without records: {named}{more}")
        if self.elsewhere:
            named = ", ".join(f"{namespace} ({count})" for namespace, count in sorted(self.elsewhere.items()))
            sentences.append(
                "It holds backups of policies in other namespaces of this cluster; a BackupLocation there "
                f"brings their records back: {named}"
            )
        return ". ".join(sentences)


@dataclass
class _Names:
    """Which record names are taken."""

    taken: set[str] = field(default_factory=set)

    def take(self, snapshot_id: str) -> Slot | None:
        """Return the shortest free name for a snapshot's record; None if someone has taken them all."""
        for length in ID_LENGTHS:
            slot = Slot(snapshot_id[:length])
            if slot.name not in self.taken:
                self.taken.add(slot.name)
                return slot
        return None


def compare(entries: Sequence[CatalogueEntry], known: Known, now: datetime) -> Plan:
    """Return what follows from the list of a repository's snapshots."""
    by_id = {entry.snapshot_id: entry for entry in entries}
    full_ids = _full_ids(by_id, known.records)
    names = _Names({str(record["metadata"]["name"]) for record in known.records})
    changes: list[Change] = []
    have_record: set[str] = set()
    for record in known.records:
        listed = [by_id[full_id] for full_id in full_ids[id(record)]]
        have_record.update(entry.snapshot_id for entry in listed)
        if _is_of(record, known) and not record["metadata"].get("deletionTimestamp"):
            changes += _said(record, listed, known, now)
    incomplete: list[CatalogueEntry] = []
    elsewhere: Counter[str] = Counter()
    for entry in by_id.values():
        if entry.snapshot_id in have_record or not _is_free(entry, known):
            continue
        if not entry.complete or entry.backup is None:
            incomplete.append(entry)
        elif not _NAME.fullmatch(_policy(entry)[1]):
            incomplete.append(entry.model_copy(update={"why": "its tags name no policy"}))
        elif not _belongs(entry, known):
            elsewhere[_policy(entry)[0]] += 1
        elif (slot := names.take(entry.snapshot_id)) is not None:
            changes.append(_adopted(entry, slot, known, now))
    return Plan(tuple(changes), tuple(incomplete), elsewhere)


def snapshot_of(record: Object) -> str:
    """Return the snapshot's id, as far as a record knows it."""
    return str(
        (record.get("status") or {}).get("fullSnapshotId")
        or (record["metadata"].get("annotations") or {}).get(SNAPSHOT_ANNOTATION)
        or (record.get("spec") or {}).get("snapshotId", "")
    )


def _full_ids(by_id: Mapping[str, CatalogueEntry], records: Iterable[Object]) -> dict[int, tuple[str, ...]]:
    """Return for each record, by its `id`, the snapshots in the list that its own id is the beginning of."""
    wanted = {id(record): snapshot_of(record) for record in records}
    index: dict[str, list[str]] = {short: [] for short in wanted.values()}
    lengths = {len(short) for short in index if short}
    for full_id in by_id:
        for length in lengths:
            if (found := index.get(full_id[:length])) is not None:
                found.append(full_id)
    return {record: tuple(index[short]) for record, short in wanted.items()}


def _is_of(record: Object, known: Known) -> bool:
    """Whether it is this location that holds a record's snapshot."""
    spec = record.get("spec") or {}
    location = spec.get("backuploc")
    return location == known.location or (location is None and spec.get("policy") in known.policies)


def _is_free(entry: CatalogueEntry, known: Known) -> bool:
    """Whether a snapshot without a record may get one: nobody is about to make it, and nobody let it go."""
    if entry.run_id and entry.run_id in known.pending_runs:
        return False
    return not any(entry.snapshot_id[:length] in known.let_go for length in set(map(len, known.let_go)))


def is_foreign(entry: CatalogueEntry, cluster_id: str) -> bool:
    """Whether a snapshot is of another cluster, or of one that cannot be told."""
    return entry.cluster_id != cluster_id


def _policy(entry: CatalogueEntry) -> tuple[str, str]:
    """Return the namespace and the name of the policy that a backup was made for."""
    namespace, _, name = entry.policy.rpartition("/")
    return namespace, name


def _belongs(entry: CatalogueEntry, known: Known) -> bool:
    """Whether a backup's record belongs into this namespace.

    Another cluster's namespaces are not this one's: its backups come to the location that found them.
    """
    return is_foreign(entry, known.cluster_id) or _policy(entry)[0] in {"", known.namespace}


def _adopted(entry: CatalogueEntry, slot: Slot, known: Known, now: datetime) -> Change:
    """Return what makes a record of a whole backup that has none."""
    if entry.backup is None:
        raise ValueError(f"snapshot {entry.snapshot_id} has no proof")
    foreign = is_foreign(entry, known.cluster_id)
    whose = entry.cluster_id or "unknown"
    labels = {FOREIGN_LABEL: label_value(whose)} if foreign else {}
    record = new_record(known.namespace, _policy(entry)[1], known.location, entry.snapshot_id, slot, labels)
    origin = Origin(entry.run_id, entry.time, entry.cluster_id or None, is_adopted=True)
    status = record_status(entry.backup, origin, 1, now)
    why = f"cluster {whose} made the backup" if foreign else "its result had not arrived"
    text = f"made from what BackupLocation {known.location} holds, snapshot {entry.snapshot_id[:8]}: {why}"
    return Change(
        Create(METADATA_BACKUP_RECORDS, record, status.to_wire()),
        Announcement("Normal", EventReason.RECORD_ADOPTED, text),
        entry=entry,
    )


def _said(record: Object, listed: Sequence[CatalogueEntry], known: Known, now: datetime) -> Iterable[Change]:
    """Return what the list says on a record that exists."""
    model = MetadataBackupRecord.model_validate(record)
    proven = conditions.find(model.status.conditions, ConditionType.VERIFIED) is not None
    if not listed:
        created = model.metadata.creation_timestamp
        is_old = created is not None and created < known.listed
        # Only this project's snapshots are listed. A record that another program made may stand for another.
        is_ours = proven or SNAPSHOT_ANNOTATION in model.metadata.annotations
        is_news = _availability(model) != "False"
        return [_gone(record, model, known, now)] if is_old and is_ours and is_news else []
    entry = listed[0]
    # Another cluster's counts as proven only with the mark that keeps retention off it.
    is_marked = FOREIGN_LABEL in model.metadata.labels or not is_foreign(entry, known.cluster_id)
    is_pending = bool(entry.run_id) and entry.run_id in known.pending_runs
    if len(listed) == 1 and entry.complete and not proven and is_marked and not is_pending:
        return [_completed(record, model, entry, now)]
    # That it is there takes no doubt away (see `doubt`).
    if _availability(model) in {None, "False"}:
        return [_available(record, model, now)]
    return []


def _availability(model: MetadataBackupRecord) -> str | None:
    known = conditions.find(model.status.conditions, ConditionType.SNAPSHOT_AVAILABLE)
    return None if known is None else known.status


def _gone(record: Object, model: MetadataBackupRecord, known: Known, now: datetime) -> Change:
    text = (
        f"BackupLocation {known.location} no longer holds snapshot {snapshot_of(record)[:8]}: nothing can be "
        "restored from this record. If it was removed on purpose, delete the record"
    )
    condition = conditions.condition(
        ConditionType.SNAPSHOT_AVAILABLE,
        "False",
        Reason.SNAPSHOT_GONE,
        text,
        generation=model.metadata.generation,
        now=now,
    )
    status = model.status.model_copy(
        update={"conditions": conditions.merge(model.status.conditions, [condition])}
    )
    event = Announcement("Warning", EventReason.SNAPSHOT_GONE, text)
    return Change(_patch(model, {"conditions": status.to_wire()["conditions"]}), event, record)


def _available(record: Object, model: MetadataBackupRecord, now: datetime) -> Change:
    condition = conditions.condition(
        ConditionType.SNAPSHOT_AVAILABLE,
        "True",
        Reason.SUCCEEDED,
        AVAILABLE,
        generation=model.metadata.generation,
        now=now,
    )
    merged = conditions.merge(model.status.conditions, [condition])
    return Change(_patch(model, {"conditions": [each.to_wire() for each in merged]}), record=record)


def _completed(record: Object, model: MetadataBackupRecord, entry: CatalogueEntry, now: datetime) -> Change:
    """Return what fills in a record without a proof: whoever made it ended before, or was a person."""
    if entry.backup is None:
        return _available(record, model, now)
    origin = Origin(entry.run_id, entry.time, entry.cluster_id or None, is_adopted=True)
    status = record_status(entry.backup, origin, model.metadata.generation, now)
    merged = conditions.merge(model.status.conditions, status.conditions)
    wire = status.model_copy(update={"conditions": merged}).to_wire()
    return Change(_patch(model, wire), record=record, entry=entry)


def _patch(model: MetadataBackupRecord, status: Object) -> Merge:
    metadata = model.metadata
    body = {"metadata": {"resourceVersion": metadata.resource_version}, "status": status}
    return Merge(METADATA_BACKUP_RECORDS, metadata.namespace, metadata.name, body, "status")
