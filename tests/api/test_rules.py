"""The CEL rules, evaluated: what they let through and what they refuse."""

from typing import Any

import cel
import pytest

from kubedr_server.api.kinds import KINDS
from kubedr_server.api.rules import VALIDATIONS
from kubedr_server.api.schema import structural_schema

SCHEMAS = {kind.name: structural_schema(kind.model) for kind in KINDS}


def holds(schema: dict[str, Any], value: Any) -> bool:
    return all(cel.evaluate(rule["rule"], {"self": value}) is True for rule in schema[VALIDATIONS])


def field(kind: str, name: str) -> dict[str, Any]:
    schema: dict[str, Any] = SCHEMAS[kind]["properties"]["spec"]["properties"][name]
    return schema


GOOD: dict[tuple[str, str], list[Any]] = {
    ("BackupLocation", "url"): [
        "https://s3.example.com",
        "http://10.96.57.3:9000",
        "https://s3.example.com:9000/",
        "http://[::1]:9000",
        "http://minio",
        "http://minio_1:9000",
    ],
    ("BackupLocation", "bucketName"): ["abc", "my-bucket.backups", "0day", "a" * 63, "1.2.3"],
    ("BackupLocation", "credentials"): ["minio-creds", "a", "a.b-c.d"],
    ("BackupLocation", "prefix"): ["a", "production/east", "a/b.c/..d/cluster=1", "...", "a-b_c"],
    ("BackupLocation", "region"): ["eu-central-1", "garage"],
    ("MetadataBackupPolicy", "schedule"): [
        "*/10 * * * *",
        "0 2 * * MON-FRI",
        " 0  1 * * * ",
        "@hourly",
        "@every 1h30m",
    ],
    ("MetadataBackupPolicy", "timeZone"): ["Europe/Berlin", "UTC", "Etc/GMT+3", "America/Port-au-Prince"],
    ("MetadataBackupPolicy", "certsDir"): [
        "/etc/kubernetes/pki",
        "/var/lib/minikube/certs",
        "/a",
        "/a/..b/ c",
    ],
    ("MetadataBackupPolicy", "etcdEndpoint"): [
        "https://127.0.0.1:2379",
        "https://a:2379,https://[::1]:2379",
        "https://etcd.example.com/",
    ],
    ("MetadataBackupPolicy", "options"): [
        {},
        {"master-node-label-name": "ismasternode"},
        {"master-node-label-name": "node-role.kubernetes.io/control-plane"},
    ],
}
BAD: dict[tuple[str, str], list[Any]] = {
    ("BackupLocation", "url"): [
        "s3.example.com",
        "ftp://s3.example.com",
        "https://",
        "https://user:secret@s3.example.com",
        "https://s3.example.com/bucket",
        "https://s3.example.com?region=x",
        "https://s3.example.com#x",
        "https://s3.example.com\n--option",
        " https://s3.example.com",
        "--url=https://s3.example.com",
        "https://s3.example.com:port",
    ],
    ("BackupLocation", "bucketName"): ["Abc", "a_b", "a/b", "-ab", "ab-", "a..b", "10.0.0.1", "a b", "ab\n"],
    ("BackupLocation", "credentials"): ["Minio", "a_b", "-a", "a.", "a..b", "../a", "a\n"],
    ("BackupLocation", "prefix"): ["/a", "a/", "a//b", "..", "a/../b", "./a", "a/.", "a b", "a\nb", "a?b"],
    ("BackupLocation", "region"): ["eu central", "eu/central", "eu\n"],
    ("MetadataBackupPolicy", "schedule"): [
        "* * * *",
        "* * * * * *",
        "@dialy",
        "@every",
        "CRON_TZ=UTC * * * * *",
        "hourly",
        " ",
    ],
    ("MetadataBackupPolicy", "timeZone"): ["Local", "local", "/etc/passwd", "../x", "Europe/", "A B"],
    ("MetadataBackupPolicy", "certsDir"): [
        "/",
        "etc",
        "/etc/../root",
        "/etc/.",
        "/etc//pki",
        "/etc/",
        "/a\nb",
    ],
    ("MetadataBackupPolicy", "etcdEndpoint"): [
        "http://127.0.0.1:2379",
        "127.0.0.1:2379",
        "https://a:1, https://b:1",
        "https://a:1,",
        "https://user@a:1",
        "https://a:1/path",
        "--endpoints=https://a",
        "https://a:1\n",
    ],
    ("MetadataBackupPolicy", "options"): [
        {"master-label": "x"},
        {"master-node-label-name": "a=b"},
        {"master-node-label-name": ""},
        {"master-node-label-name": "x", "other": "y"},
    ],
}


@pytest.mark.parametrize(
    ("kind", "name", "value"), [(*at, value) for at, values in GOOD.items() for value in values]
)
def test_a_right_value_is_let_through(kind: str, name: str, value: Any) -> None:
    assert holds(field(kind, name), value)


@pytest.mark.parametrize(
    ("kind", "name", "value"), [(*at, value) for at, values in BAD.items() for value in values]
)
def test_a_wrong_value_is_refused(kind: str, name: str, value: Any) -> None:
    assert not holds(field(kind, name), value)


@pytest.mark.parametrize(("length", "expected"), [(1, True), (37, True), (38, False)])
def test_a_policys_name_leaves_room_for_its_cronjobs_suffix(length: int, expected: bool) -> None:
    assert holds(SCHEMAS["MetadataBackupPolicy"], {"metadata": {"name": "p" * length}}) is expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, True),
        ({"caSecret": "ca"}, True),
        ({"insecureSkipTLSVerify": True}, True),
        ({"caSecret": "ca", "insecureSkipTLSVerify": False}, True),
        ({"caSecret": "ca", "insecureSkipTLSVerify": True}, False),
    ],
)
def test_a_location_checks_the_certificate_or_does_not(spec: dict[str, Any], expected: bool) -> None:
    bucket = {"url": "https://s3.example.com", "bucketName": "backups"}
    assert holds(SCHEMAS["BackupLocation"]["properties"]["spec"], {**bucket, **spec}) is expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"url": "https://s3.example.com", "bucketName": "backups"}, True),
        ({"repository": "rest:https://r.example.com/"}, True),
        ({}, False),
        ({"url": "https://s3.example.com"}, False),
        ({"bucketName": "backups"}, False),
        ({"repository": "rest:https://r.example.com/", "url": "https://s3.example.com"}, False),
        ({"repository": "rest:https://r.example.com/", "bucketName": "backups"}, False),
        ({"repository": "rest:https://r.example.com/", "prefix": "a"}, False),
        ({"repository": "rest:https://r.example.com/", "region": "a"}, False),
    ],
)
def test_a_location_is_a_bucket_or_another_repository(spec: dict[str, Any], expected: bool) -> None:
    assert holds(SCHEMAS["BackupLocation"]["properties"]["spec"], spec) is expected


@pytest.mark.parametrize("kind", ["MetadataBackupRecord", "MetadataRestore"])
def test_a_record_and_a_restore_are_never_changed(kind: str) -> None:
    (rule,) = SCHEMAS[kind]["properties"]["spec"][VALIDATIONS]
    old = {"policy": "p"}

    assert cel.evaluate(rule["rule"], {"self": {"policy": "p"}, "oldSelf": old}) is True
    assert cel.evaluate(rule["rule"], {"self": {"policy": "q"}, "oldSelf": old}) is False
