"""Objects that no application owns: nodes and their leases, secrets, configuration, events."""

import json
from dataclasses import dataclass
from datetime import datetime
from random import Random

from benchmarks import kubernetes_parts as parts
from benchmarks import kubernetes_schema as schema
from benchmarks.protobuf import Object

_IMAGES_ON_A_NODE = 50


@dataclass
class Node:
    """A machine. `fixed` is what does not change of the Node, `lease` of its Lease."""

    name: str
    fixed: Object
    lease: Object


class Objects:
    """Makes objects; all from one source of randomness."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._images = [self._image() for _ in range(8 * _IMAGES_ON_A_NODE)]

    def namespace(self, name: str, at: datetime) -> bytes:
        """Return a Namespace."""
        metadata = parts.meta(self._random, name, at, labels={"kubernetes.io/metadata.name": name})
        obj = {"metadata": metadata, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}
        return parts.put_together("v1", "Namespace", schema.NAMESPACE, obj)

    def node(self, number: int, at: datetime) -> Node:
        """Think of a machine."""
        random = self._random
        name = f"worker-{number:04d}.cluster.example.com"
        address = f"10.0.{number // 250}.{number % 250 + 1}"
        room = {"cpu": "32", "memory": "131072000Ki", "pods": "110", "ephemeral-storage": "203056560Ki"}
        info = {
            "machineID": parts.hexadecimal(random, 32),
            "systemUUID": parts.uid(random),
            "bootID": parts.uid(random),
            "kernelVersion": "6.12.57-cloud-amd64",
            "osImage": "Debian GNU/Linux 13 (trixie)",
            "containerRuntimeVersion": "containerd://2.1.5",
            "kubeletVersion": "v1.36.2",
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": "amd64",
        }
        labels = {
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            "node.kubernetes.io/instance-type": "standard-32",
            "topology.kubernetes.io/zone": f"zone-{'abc'[number % 3]}",
        }
        status = {
            "capacity": room,
            "allocatable": room,
            "addresses": [
                {"type": "InternalIP", "address": address},
                {"type": "Hostname", "address": name},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "nodeInfo": info,
            "images": random.sample(self._images, _IMAGES_ON_A_NODE),
        }
        metadata = parts.meta(
            random,
            name,
            at,
            labels=labels,
            annotations={"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
            managed=[
                parts.managed("kubelet", "v1", at, parts.field_set({"status": status}), subresource="status")
            ],
        )
        network = {"podCIDR": f"10.{128 + number // 256}.{number % 256}.0/24"}
        spec = network | {"podCIDRs": [network["podCIDR"]], "providerID": f"cloud://{parts.uid(random)}"}
        fixed = {"metadata": metadata, "spec": spec, "status": status}
        return Node(name, fixed, self.lease("kube-node-lease", name, 40, at))

    def lease(self, namespace: str, name: str, seconds: int, at: datetime) -> Object:
        """Think of a Lease."""
        spec = {"holderIdentity": name, "leaseDurationSeconds": seconds, "renewTime": at}
        fields = parts.field_set({"spec": spec})
        entry = parts.managed("kubelet", "coordination.k8s.io/v1", at, fields)
        metadata = parts.meta(self._random, name, at, namespace=namespace, managed=[entry])
        return {"metadata": metadata, "spec": spec}

    def renewed(self, lease: Object, at: datetime) -> bytes:
        """Return a Lease as it is after its renewal."""
        lease["spec"]["renewTime"] = at
        lease["metadata"]["managedFields"][0]["time"] = at
        return parts.put_together("coordination.k8s.io/v1", "Lease", schema.LEASE, lease)

    def reported(self, node: Node, at: datetime) -> bytes:
        """Return a Node as it is after it has reported its status."""
        node.fixed["status"]["conditions"] = [
            {
                "type": kind,
                "status": "True" if kind == "Ready" else "False",
                "lastHeartbeatTime": at,
                "lastTransitionTime": node.fixed["metadata"]["creationTimestamp"],
                "reason": f"Kubelet{kind}",
                "message": f"kubelet has told {kind}",
            }
            for kind in ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready")
        ]
        node.fixed["metadata"]["managedFields"][0]["time"] = at
        return parts.put_together("v1", "Node", schema.NODE, node.fixed)

    def secret(self, namespace: str, name: str, at: datetime) -> bytes:
        """Return a Secret: a Helm release, a certificate with its key, or a few passwords."""
        random = self._random
        kind = random.choices(("helm.sh/release.v1", "kubernetes.io/tls", "Opaque"), (5, 3, 4))[0]
        if kind == "kubernetes.io/tls":
            contents = {"tls.crt": parts.pem(random, "CERTIFICATE", 3400)}
            contents["tls.key"] = parts.pem(random, "PRIVATE KEY", 1700)
        elif kind == "Opaque":
            contents = {parts.words(random, 1): parts.secret_text(random, random.randrange(12, 400))}
        else:
            contents = {"release": "H4sIAAAAAAAC" + parts.secret_text(random, random.randrange(6000, 40000))}
        data = {key: value.encode() for key, value in contents.items()}
        metadata = self._plain(namespace, name, at, "data", contents)
        obj = {"metadata": metadata, "data": data, "type": kind}
        return parts.put_together("v1", "Secret", schema.SECRET, obj)

    def config_map(self, namespace: str, name: str, at: datetime) -> bytes:
        """Return a ConfigMap with one to three files."""
        random = self._random
        contents = {
            f"{parts.words(random, 1)}.yaml": parts.prose(
                random, int(random.paretovariate(1.2) * 600) % 40000
            )
            for _ in range(random.randrange(1, 4))
        }
        metadata = self._plain(namespace, name, at, "data", contents)
        return parts.put_together(
            "v1", "ConfigMap", schema.CONFIG_MAP, {"metadata": metadata, "data": contents}
        )

    def custom(self, namespace: str, name: str, at: datetime) -> bytes:
        """Return a custom resource: these are stored as JSON."""
        random = self._random
        stamp = f"{at:%Y-%m-%dT%H:%M:%SZ}"
        spec = {
            "secretName": f"{name}-tls",
            "dnsNames": [
                f"{name}.{parts.words(random, 2)}.example.com" for _ in range(random.randrange(1, 6))
            ],
            "issuerRef": {"name": "letsencrypt", "kind": "ClusterIssuer"},
        }
        fields = json.loads(parts.field_set({"spec": spec}))
        entry = {"manager": "controller", "operation": "Update", "time": stamp, "fieldsV1": fields}
        metadata = {"name": name, "namespace": namespace, "uid": parts.uid(random), "managedFields": [entry]}
        status = {"notAfter": stamp, "serial": parts.hexadecimal(random, 36), "revision": 1}
        obj = {"apiVersion": "certificates.example.com/v1", "kind": "Certificate", "metadata": metadata}
        return (json.dumps(obj | {"spec": spec, "status": status}, separators=(",", ":")) + "\n").encode()

    def event(
        self, involved: Object, reason: str, message: str, source: str, at: datetime, *, count: int = 1
    ) -> tuple[str, bytes]:
        """Return an Event's name and the Event. `involved` names the object as a reference does."""
        name = f"{involved['name']}.{parts.hexadecimal(self._random, 16)}"
        return name, self.event_named(name, involved, reason, message, source, at, count=count)

    def event_named(
        self, name: str, involved: Object, reason: str, message: str, source: str, at: datetime, *, count: int
    ) -> bytes:
        """Return an Event of a given name: one that is counted once more."""
        times = {"firstTimestamp": at, "lastTimestamp": at}
        told = {"reason": reason, "message": message, "count": count, "type": "Normal"}
        who = {"source": {"component": source}, "reportingComponent": source, "reportingInstance": ""}
        body = {"involvedObject": involved, **told, **times, **who}
        fields = parts.field_set(body)
        metadata = parts.meta(
            self._random,
            name,
            at,
            namespace=involved["namespace"],
            managed=[parts.managed(source, "v1", at, fields)],
        )
        return parts.put_together("v1", "Event", schema.EVENT, {"metadata": metadata, **body})

    def _plain(self, namespace: str, name: str, at: datetime, part: str, contents: Object) -> Object:
        fields = parts.field_set({part: contents})
        return parts.meta(
            self._random,
            name,
            at,
            namespace=namespace,
            labels={"app.kubernetes.io/managed-by": "Helm"},
            managed=[parts.managed("helm", "v1", at, fields)],
        )

    def _image(self) -> Object:
        random = self._random
        name = f"registry.example.com/{parts.words(random, 1)}/{parts.words(random, 2)}"
        names = [f"{name}@sha256:{parts.hexadecimal(random, 64)}", f"{name}:{random.randrange(9)}.0.1"]
        return {"names": names, "sizeBytes": random.randrange(10**6, 10**9)}
