"""Applications as Deployments make them: the Deployment, its ReplicaSets, its pods, their EndpointSlice."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Final

from benchmarks import kubernetes_parts as parts
from benchmarks import kubernetes_schema as schema
from benchmarks.protobuf import Object

REVISIONS: Final = 4
"""How many ReplicaSets a Deployment has: the present one, and old ones to go back to."""


@dataclass
class Pod:
    """A pod that exists. `address` is its IP."""

    name: str
    node: str
    uid: str
    address: str
    containers: list[str]


@dataclass
class App:
    """A Deployment and what belongs to it. `fields` names all that its pods' spec has."""

    namespace: str
    name: str
    uid: str
    spec: Object
    labels: dict[str, str]
    created: datetime
    image_ids: list[str]
    fields: bytes
    encoded: bytes = b""
    """The spec as it is stored, of the present revision."""
    hash: str = ""
    set_uid: str = ""
    slice_name: str = ""
    pods: list[Pod] = field(default_factory=list)

    @property
    def set_name(self) -> str:
        """The present ReplicaSet's name."""
        return f"{self.name}-{self.hash}"


class Apps:
    """Makes the objects of applications; all from one source of randomness."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def app(self, namespace: str, at: datetime) -> App:
        """Think of an application."""
        random = self._random
        name = f"{parts.words(random, random.choice((1, 2, 2, 3)))}-{parts.ending(random, 2)}"
        labels = {
            "app.kubernetes.io/name": name,
            "app.kubernetes.io/instance": f"{namespace}-{name}",
            "app.kubernetes.io/part-of": parts.words(random, 1),
            "app.kubernetes.io/managed-by": "Helm",
            "helm.sh/chart": f"{name}-{random.randrange(9)}.{random.randrange(40)}.{random.randrange(20)}",
        }
        count = random.choices((1, 2, 3), (6, 3, 1))[0]
        images = [f"sha256:{parts.hexadecimal(random, 64)}" for _ in range(count)]
        spec = self._pod_spec(namespace, name, count)
        fields = parts.field_set({"spec": spec})
        made = App(namespace, name, parts.uid(random), spec, labels, at, images, fields)
        made.slice_name = f"{name}-{parts.ending(random)}"
        return made

    def roll(self, app: App) -> None:
        """Begin a new revision: another ReplicaSet, another image."""
        app.hash = parts.ending(self._random, 10)
        app.set_uid = parts.uid(self._random)
        for position, container in enumerate(app.spec["containers"]):
            version = f"{self._random.randrange(9)}.{self._random.randrange(90)}.{self._random.randrange(20)}"
            container["image"] = f"{container['image'].rpartition(':')[0]}:{version}"
            app.image_ids[position] = f"sha256:{parts.hexadecimal(self._random, 64)}"
        app.encoded = schema.POD_SPEC(app.spec)

    def deployment(self, app: App, at: datetime, generation: int) -> bytes:
        """Return the Deployment."""
        count = len(app.pods)
        spec: Object = {"replicas": count, "selector": {"matchLabels": self._match(app)}}
        spec["template"] = {"metadata": {"labels": app.labels}, "spec": app.encoded}
        spec |= {"strategy": {"type": "RollingUpdate"}, "revisionHistoryLimit": 10}
        told = {
            "replicas": count,
            "updatedReplicas": count,
            "readyReplicas": count,
            "availableReplicas": count,
        }
        ready = {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"}
        done = {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}
        ready["message"] = "Deployment has minimum availability."
        done["message"] = f'ReplicaSet "{app.set_name}" has successfully progressed.'
        times = {"lastUpdateTime": at, "lastTransitionTime": app.created}
        status = {"observedGeneration": generation, "conditions": [ready | times, done | times], **told}
        metadata = parts.meta(
            self._random,
            app.name,
            app.created,
            namespace=app.namespace,
            labels=app.labels,
            annotations={
                "deployment.kubernetes.io/revision": str(generation),
                "meta.helm.sh/release-name": app.name,
            },
            managed=[
                parts.managed("helm", "apps/v1", app.created, _of_template(app)),
                parts.managed("kube-controller-manager", "apps/v1", at, parts.field_set({"status": status})),
            ],
        ) | {"uid": app.uid, "generation": generation}
        obj = {"metadata": metadata, "spec": spec, "status": status}
        return parts.put_together("apps/v1", "Deployment", schema.DEPLOYMENT, obj)

    def replica_set(self, app: App, at: datetime, replicas: int) -> bytes:
        """Return the present ReplicaSet, or one that is over (no replicas)."""
        labels = app.labels | {"pod-template-hash": app.hash}
        spec: Object = {"replicas": replicas, "selector": {"matchLabels": self._match(app)}}
        spec["template"] = {"metadata": {"labels": labels}, "spec": app.encoded}
        status = {"replicas": replicas, "observedGeneration": 1}
        if replicas:
            status |= {
                "fullyLabeledReplicas": replicas,
                "readyReplicas": replicas,
                "availableReplicas": replicas,
            }
        metadata = parts.meta(
            self._random,
            app.set_name,
            at,
            namespace=app.namespace,
            labels=labels,
            annotations={"deployment.kubernetes.io/desired-replicas": str(len(app.pods))},
            owner=("apps/v1", "Deployment", app.name, app.uid),
            managed=[parts.managed("kube-controller-manager", "apps/v1", at, _of_template(app))],
        ) | {"uid": app.set_uid, "generation": 1}
        obj = {"metadata": metadata, "spec": spec, "status": status}
        return parts.put_together("apps/v1", "ReplicaSet", schema.REPLICA_SET, obj)

    def new_pod(self, app: App, node: str) -> Pod:
        """Think of a pod."""
        random = self._random
        address = f"10.{random.randrange(128, 192)}.{random.randrange(256)}.{random.randrange(1, 255)}"
        containers = [f"containerd://{parts.hexadecimal(random, 64)}" for _ in app.spec["containers"]]
        return Pod(f"{app.set_name}-{parts.ending(random)}", node, parts.uid(random), address, containers)

    def pod(self, app: App, pod: Pod, at: datetime, *, phase: str = "Running") -> bytes:
        """Return a pod: `Pending` without a node, `Bound`, `Running`, or `Terminating`."""
        spec = app.encoded + (b"" if phase == "Pending" else schema.POD_SPEC({"nodeName": pod.node}))
        entries = [parts.managed("kube-controller-manager", "v1", at, app.fields)]
        status: Object = {"phase": "Pending", "qosClass": "Burstable"}
        if phase in ("Running", "Terminating"):
            status = self._status(app, pod, at)
            fields = parts.field_set({"status": status})
            entries.append(parts.managed("kubelet", "v1", at, fields, subresource="status"))
        metadata = parts.meta(
            self._random,
            pod.name,
            at,
            namespace=app.namespace,
            labels=app.labels | {"pod-template-hash": app.hash},
            annotations={"checksum/config": app.image_ids[0][7:]},
            owner=("apps/v1", "ReplicaSet", app.set_name, app.set_uid),
            managed=entries,
        ) | {"uid": pod.uid, "generateName": f"{app.set_name}-"}
        if phase == "Terminating":
            metadata |= {
                "deletionTimestamp": at + timedelta(seconds=30),
                "deletionGracePeriodSeconds": 30,
            }
        obj = {"metadata": metadata, "spec": spec, "status": status}
        return parts.put_together("v1", "Pod", schema.POD, obj)

    def endpoint_slice(self, app: App, at: datetime, generation: int) -> bytes:
        """Return where the pods can be reached."""
        endpoints = [
            {
                "addresses": [pod.address],
                "conditions": {"ready": 1, "serving": 1, "terminating": 0},
                "nodeName": pod.node,
                "zone": f"zone-{'abc'[len(pod.node) % 3]}",
                "targetRef": {"kind": "Pod", "namespace": app.namespace, "name": pod.name, "uid": pod.uid},
            }
            for pod in app.pods
        ]
        ports = [{"name": "http", "protocol": "TCP", "port": 8080}]
        fields = parts.field_set({"addressType": "", "endpoints": [], "ports": []})
        metadata = parts.meta(
            self._random,
            app.slice_name,
            app.created,
            namespace=app.namespace,
            labels=app.labels | {"kubernetes.io/service-name": app.name},
            owner=("v1", "Service", app.name, app.uid),
            managed=[parts.managed("kube-controller-manager", "discovery.k8s.io/v1", at, fields)],
        ) | {"generation": generation}
        obj = {"metadata": metadata, "endpoints": endpoints, "ports": ports, "addressType": "IPv4"}
        return parts.put_together("discovery.k8s.io/v1", "EndpointSlice", schema.ENDPOINT_SLICE, obj)

    def _match(self, app: App) -> dict[str, str]:
        return {"app.kubernetes.io/name": app.name}

    def _status(self, app: App, pod: Pod, at: datetime) -> Object:
        started = at + timedelta(seconds=2)
        statuses = [
            {
                "name": container["name"],
                "state": {"running": {"startedAt": started}},
                "lastState": {},
                "ready": 1,
                "restartCount": 0,
                "image": container["image"],
                "imageID": f"{container['image'].partition(':')[0]}@{image_id}",
                "containerID": container_id,
                "started": 1,
            }
            for container, image_id, container_id in zip(
                app.spec["containers"], app.image_ids, pod.containers, strict=True
            )
        ]
        kinds = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
        host = f"10.0.{len(pod.node)}.{sum(pod.node.encode()) % 255}"
        return {
            "phase": "Running",
            "conditions": [{"type": kind, "status": "True", "lastTransitionTime": started} for kind in kinds],
            "hostIP": host,
            "hostIPs": [{"ip": host}],
            "podIP": pod.address,
            "podIPs": [{"ip": pod.address}],
            "startTime": at,
            "containerStatuses": statuses,
            "qosClass": "Burstable",
        }

    def _pod_spec(self, namespace: str, name: str, count: int) -> Object:
        random = self._random
        secret, config = f"{name}-{parts.words(random, 1)}", f"{name}-config"
        volumes = [
            {"name": "config", "volumeSource": {"configMap": _config_map(config)}},
            {"name": "credentials", "volumeSource": {"secret": {"secretName": secret, "defaultMode": 420}}},
            {"name": "tmp", "volumeSource": {"emptyDir": {}}},
            {"name": f"kube-api-access-{parts.ending(random)}", "volumeSource": {"projected": _TOKEN}},
        ]
        names = [name, "metrics-exporter", "mesh-proxy"][:count]
        return {
            "volumes": volumes,
            "containers": [self._container(namespace, each, volumes) for each in names],
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "dnsPolicy": "ClusterFirst",
            "serviceAccountName": name,
            "serviceAccount": name,
            "securityContext": {"runAsUser": random.randrange(1000, 70000), "fsGroup": 1000},
            "imagePullSecrets": [{"name": "registry"}],
            "schedulerName": "default-scheduler",
            "tolerations": [
                {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute"}
                | {"tolerationSeconds": 300}
                for key in ("not-ready", "unreachable")
            ],
            "priority": 0,
            "enableServiceLinks": 1,
            "preemptionPolicy": "PreemptLowerPriority",
        }

    def _container(self, namespace: str, name: str, volumes: list[Object]) -> Object:
        random = self._random
        variables = [
            {
                "name": parts.words(random, 2, "_").upper(),
                "value": random.choice(
                    (
                        f"http://{parts.words(random, 2)}.{namespace}.svc.cluster.local:8080",
                        parts.words(random, 2),
                        str(random.randrange(100000)),
                        "true",
                    )
                ),
            }
            for _ in range(random.randrange(4, 24))
        ]
        own = {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
        request = {"cpu": f"{random.randrange(1, 40) * 25}m", "memory": f"{random.randrange(1, 40) * 64}Mi"}
        return {
            "name": name,
            "image": f"registry.example.com/{parts.words(random, 1)}/{name}:0.0.0",
            "args": [
                f"--{parts.words(random, 2)}={parts.words(random, 1)}" for _ in range(random.randrange(6))
            ],
            "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
            "env": [*variables, {"name": "POD_NAMESPACE", "valueFrom": own}],
            "resources": {"requests": request, "limits": {"memory": request["memory"]}},
            "volumeMounts": [
                {"name": volume["name"], "mountPath": f"/etc/{volume['name']}"} for volume in volumes
            ],
            "livenessProbe": _probe("/healthz"),
            "readinessProbe": _probe("/readyz"),
            "terminationMessagePath": "/dev/termination-log",
            "imagePullPolicy": "IfNotPresent",
            "securityContext": {"capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": 1},
            "terminationMessagePolicy": "File",
        }


def _of_template(app: App) -> bytes:
    return b'{"f:spec":{"f:replicas":{},"f:selector":{},"f:strategy":{},"f:template":' + app.fields + b"}}"


def _config_map(name: str) -> Object:
    return {"localObjectReference": {"name": name}, "defaultMode": 420}


def _probe(path: str) -> Object:
    get = {"path": path, "port": "http", "scheme": "HTTP"}
    return {"handler": {"httpGet": get}, "timeoutSeconds": 1, "periodSeconds": 10} | {
        "successThreshold": 1,
        "failureThreshold": 3,
    }


_TOKEN: Final[Object] = {
    "sources": [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {
            "configMap": {
                "localObjectReference": {"name": "kube-root-ca.crt"},
                "items": [{"key": "ca.crt", "path": "ca.crt"}],
            }
        },
        {
            "downwardAPI": {
                "items": [
                    {
                        "path": "namespace",
                        "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                    }
                ]
            }
        },
    ],
    "defaultMode": 420,
}
