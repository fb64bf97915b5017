"""Real S3 servers for tests."""

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import botocore.session
from botocore.config import Config

from kubedr_server.local.demo.s3 import S3, Identity
from support.tools import program

__all__ = ["Identity", "S3Server"]


class S3Server(S3):
    """SeaweedFS on 127.0.0.1, with what tests do to it.

    `.url`, `.access_key`, `.secret_key` (of the first of `.identities`), `.ca_file` (with tls=True); `stop()`
    is a SIGKILL and keeps the data, `start()` after it listens at the same address.
    """

    def __init__(self, directory: Path, *, tls: bool = False, identities: Sequence[Identity] = ()) -> None:
        super().__init__(program("weed"), directory, tls=tls, identities=identities, env=_clean_environment())

    @contextlib.contextmanager
    def client(self, identity: Identity | None = None) -> Any:
        """Give a botocore client, closed at the end."""
        user = identity or self.identities[0]
        client = botocore.session.Session().create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=self.url,
            aws_access_key_id=user.access_key,
            aws_secret_access_key=user.secret_key,
            verify=str(self.ca_file) if self.ca_file else None,
            config=Config(
                s3={"addressing_style": "path"},
                retries={"total_max_attempts": 2},
                proxies={},
                connect_timeout=5,
            ),
        )
        try:
            yield client
        finally:
            client.close()

    def create_bucket(self, name: str) -> None:
        """Create a bucket."""
        with self.client() as client:
            client.create_bucket(Bucket=name)

    def buckets(self) -> list[str]:
        """Return the buckets' names."""
        with self.client() as client:
            return [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]

    def objects(self, bucket: str, prefix: str = "") -> list[str]:
        """Return the keys in a bucket."""
        with self.client() as client:
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def get_object(self, bucket: str, key: str) -> bytes:
        """Read an object."""
        with self.client() as client:
            return bytes(client.get_object(Bucket=bucket, Key=key)["Body"].read())

    def put_object(self, bucket: str, key: str, body: bytes) -> None:
        """Write an object."""
        with self.client() as client:
            client.put_object(Bucket=bucket, Key=key, Body=body)

    def delete_object(self, bucket: str, key: str) -> None:
        """Delete an object."""
        with self.client() as client:
            client.delete_object(Bucket=bucket, Key=key)


def _clean_environment() -> Mapping[str, str]:
    """Return the environment without what weed would take for an identity of its own."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "S3_", "WEED_"))
    }
