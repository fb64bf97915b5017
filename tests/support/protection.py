"""The objects of one protected etcd: its Secrets, its location, its policy."""

import base64
from dataclasses import dataclass, field
from typing import Any

from support.etcd import EtcdServer
from support.kubectl import Object
from support.s3 import S3Server

API_VERSION = "kubedr.catalogicsoftware.com/v1alpha1"


def secret(name: str, **contents: str | bytes) -> Object:
    """Make a Secret; `ca_crt` stands for the key `ca.crt`."""
    data = {
        key.replace("_crt", ".crt") if key.endswith("_crt") else key: base64.b64encode(
            value.encode() if isinstance(value, str) else value
        ).decode()
        for key, value in contents.items()
    }
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}


@dataclass
class Protection:
    """Builds what an administrator would apply to protect `etcd` with a bucket of `s3`."""

    etcd: EtcdServer
    s3: S3Server
    bucket: str
    password: str = "a password of the tests"
    access_key: str = ""
    secret_key: str = ""
    location: dict[str, Any] = field(default_factory=dict)
    """Further fields of the location's spec."""

    policy: dict[str, Any] = field(default_factory=dict)
    """Further fields of the policy's spec."""

    def storage_secret(self) -> Object:
        """Make the Secret of the location."""
        return secret(
            "storage",
            access_key=self.access_key or self.s3.access_key,
            secret_key=self.secret_key or self.s3.secret_key,
            restic_repo_password=self.password,
        )

    def etcd_secret(self) -> Object:
        """Make the Secret of the policy, under the name that is its default."""
        folder = self.etcd.credentials_dir
        found = secret("etcd-creds")
        found["data"] = {
            path.name: base64.b64encode(path.read_bytes()).decode() for path in sorted(folder.iterdir())
        }
        return found

    def secrets(self) -> list[Object]:
        """Make all Secrets."""
        found = [self.storage_secret(), self.etcd_secret()]
        if self.s3.ca_file is not None:
            found.append(secret("storage-ca", ca_crt=self.s3.ca_file.read_bytes()))
        return found

    def backup_location(self) -> Object:
        """Make the location, named `location`."""
        spec = {"url": self.s3.url, "bucketName": self.bucket, "credentials": "storage"}
        if self.s3.ca_file is not None:
            spec["caSecret"] = "storage-ca"
        return _object("BackupLocation", "location", {**spec, **self.location})

    def backup_policy(self) -> Object:
        """Make the policy, named `policy`, which is due once a year: nothing starts by itself."""
        spec = {
            "destination": "location",
            "etcdEndpoint": self.etcd.endpoint,
            "schedule": "0 0 1 1 *",
            "certsDir": str(self.etcd.authority.directory),
        }
        return _object("MetadataBackupPolicy", "policy", {**spec, **self.policy})

    def largest_pack(self) -> tuple[str, bytes]:
        """Return the name and the content of the repository's largest object with data."""
        with self.s3.client() as client:
            found = client.list_objects_v2(Bucket=self.bucket, Prefix="data/")["Contents"]
            key = max(found, key=lambda item: item["Size"])["Key"]
            return key, client.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def put(self, key: str, content: bytes) -> None:
        """Put an object into the bucket."""
        with self.s3.client() as client:
            client.put_object(Bucket=self.bucket, Key=key, Body=content)


def restore(name: str, record: str, claim: str) -> list[Object]:
    """Make an empty claim and a MetadataRestore to it."""
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": claim},
            "spec": spec,
        },
        _object("MetadataRestore", name, {"mbrName": record, "pvcName": claim}),
    ]


def _object(kind: str, name: str, spec: dict[str, Any]) -> Object:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}
