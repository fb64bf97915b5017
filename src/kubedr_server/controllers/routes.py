"""Which objects have to be looked at again when another one changes."""

from collections.abc import Callable, Iterable, Mapping

from kubedr_server.api.names import CRONJOB_SUFFIX
from kubedr_server.contract import Operation
from kubedr_server.controllers.cluster import (
    DELETING,
    DESTINATION,
    RECORD,
    SECRET,
    UNFINISHED,
    Cluster,
    is_gone,
    scoped,
)
from kubedr_server.controllers.decision import Object
from kubedr_server.controllers.doubt import is_damaged
from kubedr_server.kube.cache import Cached, Key
from kubedr_server.kube.informer import Change
from kubedr_server.kube.resources import (
    BACKUP_LOCATIONS,
    CRONJOBS,
    JOBS,
    METADATA_BACKUP_POLICIES,
    METADATA_BACKUP_RECORDS,
    METADATA_RESTORES,
    PODS,
    SECRETS,
    Resource,
)
from kubedr_server.manifests.labels import Label, subject_name

Add = Callable[[Key], None]
Targets = Iterable[tuple[Resource, Key]]

_SUBJECTS = {
    Operation.INIT: (BACKUP_LOCATIONS, Label.LOCATION),
    Operation.HEALTH: (BACKUP_LOCATIONS, Label.LOCATION),
    Operation.CHECK: (BACKUP_LOCATIONS, Label.LOCATION),
    Operation.PRUNE: (BACKUP_LOCATIONS, Label.LOCATION),
    Operation.BACKUP: (METADATA_BACKUP_POLICIES, Label.POLICY),
    Operation.DRILL: (METADATA_BACKUP_POLICIES, Label.POLICY),
    Operation.RESTORE: (METADATA_RESTORES, Label.RESTORE),
    Operation.FORGET: (METADATA_BACKUP_RECORDS, Label.RECORD),
}


def connect(cluster: Cluster, queues: Mapping[Resource, Add]) -> None:
    """Have every change in the informers add to the queues what it concerns."""
    routes: dict[Resource, Callable[[Cluster, Cached], Targets]] = {
        BACKUP_LOCATIONS: of_location,
        METADATA_BACKUP_POLICIES: of_policy,
        METADATA_BACKUP_RECORDS: of_record,
        METADATA_RESTORES: of_restore,
        CRONJOBS: of_cronjob,
        JOBS: of_run,
        PODS: of_run,
        SECRETS: of_secret,
    }
    for resource, route in routes.items():
        cluster.on_changes(resource, _handler(cluster, route, queues))


def _handler(
    cluster: Cluster, route: Callable[[Cluster, Cached], Targets], queues: Mapping[Resource, Add]
) -> Callable[[Change, Cached | None, Cached | None], None]:
    def handle(_change: Change, old: Cached | None, new: Cached | None) -> None:
        # What the object said before may be what others still rely on.
        for cached in (old, new):
            if cached is not None:
                for resource, key in route(cluster, cached):
                    queues[resource](key)

    return handle


def of_location(cluster: Cluster, cached: Cached) -> Targets:
    """Name the location itself, its policies, and the records and restores that wait for it.

    And of one that is damaged, or was, all records of the namespace: theirs are in doubt.
    """
    yield BACKUP_LOCATIONS, cached.key
    if is_damaged(cached.decode()):
        for record in cluster.informers[METADATA_BACKUP_RECORDS].cache:
            if record.namespace == cached.namespace:
                yield METADATA_BACKUP_RECORDS, record.key
    for key in cluster.keys_by(METADATA_BACKUP_POLICIES, DESTINATION, scoped(*cached.key)):
        yield METADATA_BACKUP_POLICIES, key
    yield from _waiting(cluster, cached.namespace)


def of_policy(_cluster: Cluster, cached: Cached) -> Targets:
    """Name the policy itself."""
    yield METADATA_BACKUP_POLICIES, cached.key


def of_record(cluster: Cluster, cached: Cached) -> Targets:
    """Name the record itself, the policy that keeps so many of them, the restores from it."""
    record = cached.decode()
    yield METADATA_BACKUP_RECORDS, cached.key
    yield METADATA_BACKUP_POLICIES, Key(cached.namespace, record["spec"]["policy"])
    for key in cluster.keys_by(METADATA_RESTORES, RECORD, scoped(*cached.key)):
        yield METADATA_RESTORES, key
    if is_gone(record) and (location := record["spec"].get("backuploc")):
        # It counts them.
        yield BACKUP_LOCATIONS, Key(cached.namespace, location)


def of_restore(cluster: Cluster, cached: Cached) -> Targets:
    """Name the restore itself, and the policy whose record may have waited for its end to be deleted."""
    yield METADATA_RESTORES, cached.key
    restore = cached.decode()
    if (restore.get("status") or {}).get("restoreStatus"):
        name = (restore.get("spec") or {}).get("mbrName", "")
        record = cluster.cached(METADATA_BACKUP_RECORDS, Key(cached.namespace, name))
        if record is not None:
            yield METADATA_BACKUP_POLICIES, Key(cached.namespace, record["spec"]["policy"])


def of_cronjob(_cluster: Cluster, cached: Cached) -> Targets:
    """Name the policy that has the CronJob by its name, whatever became of its labels."""
    if cached.name.endswith(CRONJOB_SUFFIX):
        yield METADATA_BACKUP_POLICIES, Key(cached.namespace, cached.name.removesuffix(CRONJOB_SUFFIX))


def of_run(cluster: Cluster, cached: Cached) -> Targets:
    """Name what a Job or a pod works for, and whoever waits for its turn at the repository."""
    found = subject(cached.decode())
    if found is not None:
        yield found
        if found[0] is METADATA_BACKUP_RECORDS:
            for key in cluster.keys_by(METADATA_BACKUP_RECORDS, DELETING, cached.namespace):
                yield METADATA_BACKUP_RECORDS, key


def of_secret(cluster: Cluster, cached: Cached) -> Targets:
    """Name the locations that use the Secret, and what waits for them."""
    locations = cluster.keys_by(BACKUP_LOCATIONS, SECRET, scoped(*cached.key))
    for key in locations:
        yield BACKUP_LOCATIONS, key
    if locations:
        yield from _waiting(cluster, cached.namespace)


def subject(obj: Object) -> tuple[Resource, Key] | None:
    """Return what a Job or pod of ours works for, or None."""
    metadata = obj["metadata"]
    try:
        resource, label = _SUBJECTS[Operation((metadata.get("labels") or {}).get(Label.OPERATION.value, ""))]
    except ValueError:
        return None
    name = subject_name(metadata, label)
    return (resource, Key(metadata.get("namespace", ""), name)) if name else None


def _waiting(cluster: Cluster, namespace: str) -> Targets:
    for key in cluster.keys_by(METADATA_BACKUP_RECORDS, DELETING, namespace):
        yield METADATA_BACKUP_RECORDS, key
    for key in cluster.keys_by(METADATA_RESTORES, UNFINISHED, namespace):
        yield METADATA_RESTORES, key
