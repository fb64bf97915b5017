"""A cluster as etcd sees it: first all that is there, then ten minutes of ordinary life at a time.

Ten minutes are: each node renews its lease every ten seconds and reports its status every five minutes; three
of a hundred pods are replaced, half of them by rolling out whole Deployments and half one by one; what the
controllers and kubelets write on the way; about 1,500 events with a lease of an hour; a few Secrets and
custom resources rewritten; and a compaction every five minutes, which keeps five to ten minutes of history.
Time is the load's own, so ten minutes take seconds.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final

from benchmarks.etcd_load import Compact, Delete, Grant, Operation, Put, Revoke
from benchmarks.kubernetes_apps import REVISIONS, App, Apps, Pod
from benchmarks.kubernetes_objects import Node, Objects
from benchmarks.kubernetes_parts import words
from benchmarks.protobuf import Object

_TICK: Final = timedelta(seconds=10)
_TICKS: Final = 60
_TICKS_OF_A_STATUS: Final = 30
_COMPACTIONS: Final = (15, 45)
"""Ticks: a backup at the end of ten minutes is 2.5 minutes after a compaction, and has 7.5 of history."""
_LEASES_AN_HOUR: Final = 60
_REPLACED: Final = 0.03
_OLDEST: Final = 90 * 86400


@dataclass(frozen=True)
class Size:
    """How large a cluster is."""

    nodes: int
    namespaces: int
    apps: int

    @classmethod
    def full(cls) -> "Size":
        """Return a cluster that fills 200 MB of etcd."""
        return cls(nodes=300, namespaces=120, apps=1500)

    @classmethod
    def small(cls) -> "Size":
        """Return a cluster of a few megabytes."""
        return cls(nodes=6, namespaces=4, apps=40)


class KubernetesLoad:
    """Makes the operations of one cluster; the same seed makes the same operations."""

    def __init__(self, seed: int, size: Size) -> None:
        self._random = Random(seed)
        self._size = size
        self._now = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
        self._objects = Objects(self._random)
        self._apps = Apps(self._random)
        self._all: list[App] = []
        self._nodes: list[Node] = []
        self._leaders: list[Object] = []
        self._generation = 1
        self._lease = 0
        self._living: deque[int] = deque()

    def initial(self) -> Iterator[Operation]:
        """Fill an empty etcd with a cluster that has been there for a while."""
        random, objects, now = self._random, self._objects, self._now
        namespaces = [f"team-{words(random, 2)}-{number}" for number in range(self._size.namespaces)]
        for namespace in ("default", "kube-system", "kube-node-lease", *namespaces):
            yield Put(_key("namespaces", namespace), objects.namespace(namespace, now))
            yield Put(
                _key("configmaps", namespace, "kube-root-ca.crt"),
                objects.config_map(namespace, "kube-root-ca.crt", now),
            )
        for number in range(self._size.nodes):
            self._nodes.append(objects.node(number, now))
        for name in (
            "kube-scheduler",
            "kube-controller-manager",
            "apiserver-a",
            "apiserver-b",
            "apiserver-c",
        ):
            self._leaders.append(objects.lease("kube-system", name, 15, now))
        yield from self._reports(range(len(self._nodes)))
        yield from self._renewals()
        for _ in range(self._size.apps):
            yield from self._installed(random.choice(namespaces))
        yield from self._past_events()

    def ten_minutes(self) -> Iterator[Operation]:
        """Go on for ten minutes."""
        work = self._replacements()
        each = -(-len(work) // _TICKS)
        per_status = -(-len(self._nodes) // _TICKS_OF_A_STATUS)
        for tick in range(_TICKS):
            self._now += _TICK
            if tick in _COMPACTIONS:
                yield Compact()
            if tick % (_TICKS // 10) == 0:
                yield from self._new_lease()
            yield from self._renewals()
            start = tick % _TICKS_OF_A_STATUS * per_status
            yield from self._reports(range(start, min(start + per_status, len(self._nodes))))
            for app, positions in work[tick * each : (tick + 1) * each]:
                yield from self._replaced(app, positions)
            yield from self._small_changes()

    def _installed(self, namespace: str) -> Iterator[Operation]:
        """Install an application: its secrets and files, ReplicaSets old and new, its pods."""
        random, objects = self._random, self._objects
        now = self._now - timedelta(seconds=random.randrange(_OLDEST))
        app = self._apps.app(namespace, now)
        self._all.append(app)
        for number in range(random.randrange(1, 4)):
            name = f"{app.name}-{words(random, 1)}-{number}"
            yield Put(_key("secrets", namespace, name), objects.secret(namespace, name, now))
            yield Put(_key("configmaps", namespace, name), objects.config_map(namespace, name, now))
        yield Put(_custom_key(app), objects.custom(namespace, app.name, now))
        for _ in range(REVISIONS - 1):
            self._apps.roll(app)
            yield Put(_key("replicasets", namespace, app.set_name), self._apps.replica_set(app, now, 0))
        self._apps.roll(app)
        # Most applications have few pods, some have many: six on average.
        for _ in range(min(40, int(2.4 * random.paretovariate(1.3)))):
            pod = self._new_pod(app)
            app.pods.append(pod)
            yield Put(_key("pods", namespace, pod.name), self._apps.pod(app, pod, now))
        yield from self._controllers(app)

    def _replacements(self) -> list[tuple[App, list[int]]]:
        """Choose three of a hundred pods: which applications, and which places in them, in random order."""
        random = self._random
        chosen: dict[int, set[int]] = {}
        wanted = int(_REPLACED * sum(len(app.pods) for app in self._all))
        done = 0
        for number in random.sample(range(len(self._all)), len(self._all)):
            if done >= wanted / 2:
                break
            chosen[number] = set(range(len(self._all[number].pods)))
            done += len(chosen[number])
        places = [(number, place) for number, app in enumerate(self._all) for place in range(len(app.pods))]
        for number, place in random.sample(places, max(1, wanted - done)):
            chosen.setdefault(number, set()).add(place)
        found = [(self._all[number], sorted(places)) for number, places in chosen.items()]
        random.shuffle(found)
        return found

    def _replaced(self, app: App, positions: list[int]) -> Iterator[Operation]:
        """Replace pods; all of them at once is a roll-out, with a ReplicaSet of its own."""
        apps, now = self._apps, self._now
        if len(positions) == len(app.pods):
            yield Put(_key("replicasets", app.namespace, app.set_name), apps.replica_set(app, now, 0))
            apps.roll(app)
        for position in positions:
            old, new = app.pods[position], self._new_pod(app)
            app.pods[position] = new
            key = _key("pods", app.namespace, new.name)
            for phase in ("Pending", "Bound", "Running"):
                yield Put(key, apps.pod(app, new, now, phase=phase))
            for reason, message, source in (
                ("Scheduled", f"Successfully assigned {app.namespace}/{new.name} to {new.node}", "scheduler"),
                ("Pulled", f'Container image "{app.spec["containers"][0]["image"]}" was there', "kubelet"),
                ("Created", f"Created container: {app.name}", "kubelet"),
                ("Started", f"Started container {app.name}", "kubelet"),
            ):
                yield self._event(app, new, reason, message, source)
            yield self._event(app, old, "Killing", f"Stopping container {app.name}", "kubelet")
            yield Put(_key("pods", app.namespace, old.name), apps.pod(app, old, now, phase="Terminating"))
            yield Delete(_key("pods", app.namespace, old.name))
            yield from self._controllers(app)

    def _controllers(self, app: App) -> Iterator[Operation]:
        """Write what the controllers write when an application's pods have changed."""
        self._generation += 1
        apps, now, namespace, pods = self._apps, self._now, app.namespace, len(app.pods)
        yield Put(_key("replicasets", namespace, app.set_name), apps.replica_set(app, now, pods))
        yield Put(_key("deployments", namespace, app.name), apps.deployment(app, now, self._generation))
        yield Put(
            _key("endpointslices", namespace, app.slice_name), apps.endpoint_slice(app, now, self._generation)
        )

    def _new_pod(self, app: App) -> Pod:
        return self._apps.new_pod(app, self._random.choice(self._nodes).name)

    def _renewals(self) -> Iterator[Operation]:
        """Renew every lease: the nodes' once, the leaders' five times."""
        random, renewed = self._random, self._objects.renewed
        leases = [node.lease for node in self._nodes] + 5 * self._leaders
        random.shuffle(leases)
        for lease in leases:
            at = self._now + timedelta(microseconds=random.randrange(10**7))
            metadata = lease["metadata"]
            yield Put(_key("leases", metadata["namespace"], metadata["name"]), renewed(lease, at))

    def _reports(self, numbers: range) -> Iterator[Operation]:
        for number in numbers:
            node = self._nodes[number]
            yield Put(_key("minions", node.name), self._objects.reported(node, self._now))

    def _small_changes(self) -> Iterator[Operation]:
        """Rewrite a Secret and a custom resource now and then, and tell of something that failed."""
        random, objects = self._random, self._objects
        app = random.choice(self._all)
        if random.random() < 0.2:
            name = f"{app.name}-token"
            yield Put(_key("secrets", app.namespace, name), objects.secret(app.namespace, name, self._now))
        yield Put(_custom_key(app), objects.custom(app.namespace, app.name, self._now))
        for _ in range(2):
            app = random.choice(self._all)
            message = f"Readiness probe failed: HTTP status {random.randrange(400, 504)}"
            yield self._event(app, random.choice(app.pods), "Unhealthy", message, "kubelet")

    def _past_events(self) -> Iterator[Operation]:
        """Tell of the last hour, a lease for each minute."""
        each = max(1, int(_REPLACED * sum(len(app.pods) for app in self._all)) // 2)
        for _ in range(_LEASES_AN_HOUR):
            yield from self._new_lease()
            for _ in range(each):
                app = self._random.choice(self._all)
                pod = self._random.choice(app.pods)
                yield self._event(app, pod, "Started", f"Started container {app.name}", "kubelet")

    def _new_lease(self) -> Iterator[Operation]:
        """Begin a minute: events share a lease, and an hour later they go with it."""
        if len(self._living) == _LEASES_AN_HOUR:
            yield Revoke(self._living.popleft())
        self._lease += 1
        self._living.append(self._lease)
        yield Grant(self._lease)

    def _event(self, app: App, pod: Pod, reason: str, message: str, source: str) -> Put:
        involved = {"kind": "Pod", "namespace": app.namespace, "name": pod.name, "uid": pod.uid}
        involved |= {"apiVersion": "v1"}
        name, event = self._objects.event(involved, reason, message, source, self._now)
        return Put(_key("events", app.namespace, name), event, self._lease)


def _key(resource: str, *names: str) -> bytes:
    return "/".join(("/registry", resource, *names)).encode()


def _custom_key(app: App) -> bytes:
    return f"/registry/certificates.example.com/certificates/{app.namespace}/{app.name}".encode()
