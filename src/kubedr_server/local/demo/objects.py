"""What a small cluster keeps in etcd, made up: keys and values in the shape that Kubernetes gives them.

The same seed gives the same objects. Values are JSON; a real API server stores most kinds as protobuf, which
to etcd, and to a backup of it, is all the same.
"""

import base64
import json
import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_TIME = "2025-03-01T12:00:{:02d}Z"
_TEAMS = ("payments", "search", "checkout", "catalog", "identity", "billing", "shipping", "reports")
_STAGES = ("prod", "staging", "test")
_APPS = ("api", "worker", "web", "cache", "cron", "gateway", "ingest", "mailer")
_NODES = 12


@dataclass(frozen=True)
class Stored:
    """One object as it lies in etcd."""

    key: str
    value: bytes
    expires: bool = False
    """Kubernetes attaches a lease to it: Events go after an hour."""


def objects(count: int, *, seed: int = 1) -> Iterator[Stored]:
    """Make at least `count` objects: nodes, namespaces, and in them what workloads consist of."""
    maker = _Maker(random.Random(seed))  # noqa: S311 - made-up objects hold no secret
    made = 0
    while made < count:
        for stored in maker.batch():
            yield stored
            made += 1


class _Maker:
    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._batch = 0

    def batch(self) -> Iterator[Stored]:
        """Make the cluster's own objects first; then, at each call, a namespace and all that is in it."""
        if self._batch == 0:
            for number in range(_NODES):
                yield from self._node(f"node-{number:02}")
        team = _TEAMS[self._batch % len(_TEAMS)]
        stage = _STAGES[self._batch // len(_TEAMS) % len(_STAGES)]
        namespace = f"{team}-{stage}-{self._batch:03}"
        self._batch += 1
        yield self._stored("namespaces", "", namespace, "v1", "Namespace", {"status": {"phase": "Active"}})
        yield self._stored("serviceaccounts", namespace, "default", "v1", "ServiceAccount", {})
        for app in self._chance.sample(_APPS, 5):
            yield from self._application(namespace, app)

    def _node(self, name: str) -> Iterator[Stored]:
        address = f"10.0.0.{self._chance.randrange(2, 254)}"
        conditions = [
            {
                "type": kind,
                "status": "True" if kind == "Ready" else "False",
                "lastHeartbeatTime": self._time(),
            }
            for kind in ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready")
        ]
        yield self._stored(
            "minions",
            "",
            name,
            "v1",
            "Node",
            {
                "spec": {"podCIDR": f"10.244.{self._chance.randrange(255)}.0/24"},
                "status": {
                    "capacity": {"cpu": "8", "memory": "32Gi", "pods": "110"},
                    "addresses": [{"type": "InternalIP", "address": address}],
                    "conditions": conditions,
                    "images": [
                        {"names": [self._image(app)], "sizeBytes": self._chance.randrange(10**7, 10**9)}
                        for app in _APPS
                    ],
                },
            },
        )
        lease = {"spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": self._time()}}
        yield self._stored("leases", "kube-node-lease", name, "coordination.k8s.io/v1", "Lease", lease)

    def _application(self, namespace: str, app: str) -> Iterator[Stored]:
        hashed = self._word(10)
        labels = {"app.kubernetes.io/name": app, "pod-template-hash": hashed}
        template = {"metadata": {"labels": labels}, "spec": self._pod_spec(app)}
        replicas = self._chance.randrange(2, 6)
        spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
        yield self._stored("deployments", namespace, app, "apps/v1", "Deployment", {"spec": spec})
        replica_set = f"{app}-{hashed}"
        yield self._stored("replicasets", namespace, replica_set, "apps/v1", "ReplicaSet", {"spec": spec})
        settings = "\n".join(f"{self._word(8)}.{self._word(6)}={self._word(24)}" for _ in range(40))
        yield self._stored(
            "configmaps",
            namespace,
            f"{app}-config",
            "v1",
            "ConfigMap",
            {"data": {"app.properties": settings}},
        )
        data = {key: base64.b64encode(self._chance.randbytes(32)).decode() for key in ("password", "token")}
        yield self._stored(
            "secrets", namespace, f"{app}-secret", "v1", "Secret", {"type": "Opaque", "data": data}
        )
        ports = [{"name": "http", "port": 80, "targetPort": 8080}]
        yield self._stored(
            "services/specs", namespace, app, "v1", "Service", {"spec": {"selector": labels, "ports": ports}}
        )
        for _ in range(replicas):
            yield from self._pod(namespace, replica_set, labels, app)

    def _pod(self, namespace: str, replica_set: str, labels: dict[str, str], app: str) -> Iterator[Stored]:
        name = f"{replica_set}-{self._word(5)}"
        node = f"node-{self._chance.randrange(_NODES):02}"
        address = f"10.244.{self._chance.randrange(255)}.{self._chance.randrange(2, 255)}"
        status = {
            "phase": "Running",
            "podIP": address,
            "startTime": self._time(),
            "conditions": [
                {"type": kind, "status": "True"} for kind in ("Initialized", "Ready", "PodScheduled")
            ],
            "containerStatuses": [
                {
                    "name": app,
                    "ready": True,
                    "image": self._image(app),
                    "containerID": f"containerd://{self._word(64)}",
                }
            ],
        }
        spec = {**self._pod_spec(app), "nodeName": node}
        yield self._stored("pods", namespace, name, "v1", "Pod", {"spec": spec, "status": status}, labels)
        for reason in ("Scheduled", "Pulled", "Started"):
            event = {
                "involvedObject": {"kind": "Pod", "namespace": namespace, "name": name},
                "reason": reason,
                "message": f"{reason} {app} on {node}",
                "type": "Normal",
                "count": 1,
            }
            event_name = f"{name}.{self._chance.randrange(16**12):x}"
            yield self._stored("events", namespace, event_name, "v1", "Event", event, expires=True)

    def _pod_spec(self, app: str) -> dict[str, Any]:
        return {
            "containers": [
                {
                    "name": app,
                    "image": self._image(app),
                    "env": [{"name": self._word(8).upper(), "value": self._word(20)} for _ in range(6)],
                    "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}},
                    "volumeMounts": [{"name": "config", "mountPath": "/etc/app"}],
                }
            ],
            "volumes": [{"name": "config", "configMap": {"name": f"{app}-config"}}],
            "restartPolicy": "Always",
            "serviceAccountName": "default",
        }

    def _stored(
        self,
        resource: str,
        namespace: str,
        name: str,
        api_version: str,
        kind: str,
        content: dict[str, Any],
        labels: dict[str, str] | None = None,
        *,
        expires: bool = False,
    ) -> Stored:
        metadata: dict[str, Any] = {
            "name": name,
            "uid": str(uuid.UUID(int=self._chance.getrandbits(128), version=4)),
            "creationTimestamp": self._time(),
        }
        if namespace:
            metadata["namespace"] = namespace
        if labels:
            metadata["labels"] = labels
        document = {"apiVersion": api_version, "kind": kind, "metadata": metadata, **content}
        path = "/".join(part for part in ("/registry", resource, namespace, name) if part)
        return Stored(path, json.dumps(document, separators=(",", ":")).encode(), expires)

    def _image(self, app: str) -> str:
        return f"registry.example.com/{app}:{self._chance.randrange(1, 9)}.{self._chance.randrange(30)}.0"

    def _time(self) -> str:
        return _TIME.format(self._chance.randrange(60))

    def _word(self, length: int) -> str:
        return "".join(self._chance.choices("bcdfghjklmnpqrstvwxz2456789", k=length))
