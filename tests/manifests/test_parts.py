"""The repository's name, and that no variable names a directory that is not mounted."""

from typing import Any

import pytest

from kubedr_server.api.backup_location import BackupLocationSpec
from kubedr_server.manifests.parts import repository, repository_url
from support.kubedr_objects import a_location


@pytest.mark.parametrize(
    ("url", "prefix", "expected"),
    [
        ("https://s3.example.com", None, "s3:https://s3.example.com/backups"),
        ("https://s3.example.com/", None, "s3:https://s3.example.com/backups"),
        ("http://10.96.57.3:9000", "east", "s3:http://10.96.57.3:9000/backups/east"),
        ("http://[::1]:9000", "a/b", "s3:http://[::1]:9000/backups/a/b"),
    ],
)
def test_a_repository_is_named_by_endpoint_bucket_and_prefix(
    url: str, prefix: str | None, expected: str
) -> None:
    spec = BackupLocationSpec(url=url, bucket_name="backups", credentials="keys", prefix=prefix)

    assert repository_url(spec) == expected


@pytest.mark.parametrize(
    "spec", [{}, {"caSecret": "ca"}, {"region": "eu-1"}, {"insecureSkipTLSVerify": True, "prefix": "a"}]
)
def test_every_path_in_the_environment_is_below_a_mount_and_every_mount_has_a_volume(
    spec: dict[str, Any],
) -> None:
    part = repository(a_location(**spec))
    mounts = {mount["mountPath"] for mount in part.mounts}
    paths = [each["value"] for each in part.env if each["value"].startswith("/")]

    assert {mount["name"] for mount in part.mounts} == {volume["name"] for volume in part.volumes}
    assert paths
    assert all(any(path == mount or path.startswith(f"{mount}/") for mount in mounts) for path in paths)
