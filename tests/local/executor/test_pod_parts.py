"""A pod's environment, paths, volumes and placement."""

import base64
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from kubedr_server.local.executor import affinity, volumes
from kubedr_server.local.executor.environment import ConfigError, Sources, environment, expand
from kubedr_server.local.executor.paths import PathMap, gather_files
from kubedr_server.local.executor.volumes import Files, MountError, VolumeSources

POD: dict[str, Any] = {
    "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"a.b/c": "d"}},
    "spec": {},
}
SECRET = {"kind": "Secret", "data": {"user": base64.b64encode(b"me").decode()}}
CONFIG = {"kind": "ConfigMap", "data": {"mode": "fast"}}


async def secret(name: str) -> dict[str, Any] | None:
    return SECRET if name == "keys" else None


async def config_map(name: str) -> dict[str, Any] | None:
    return CONFIG if name == "settings" else None


async def claim(namespace: str, name: str) -> Path:
    raise LookupError(f'persistentvolumeclaim "{name}" not found')


SOURCES = Sources(secret, config_map)


async def variables(*env: dict[str, Any], **container: Any) -> dict[str, str]:
    return await environment(POD, {"env": list(env), **container}, SOURCES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)/x", "1/x"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$(B)", "$(B)"),
        ("$A ${A} $()", "$A ${A} $()"),
        ("100$", "100$"),
    ],
)
def test_references_are_expanded_as_kubernetes_does(text: str, expected: str) -> None:
    assert expand(text, {"A": "1"}) == expected


async def test_the_environment_comes_from_all_its_sources_and_later_ones_win() -> None:
    found = await variables(
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a.b/c']"}}},
        {"name": "mode", "value": "slow $(my_user)"},
        {"name": "GONE", "valueFrom": {"secretKeyRef": {"name": "no", "key": "x", "optional": True}}},
        envFrom=[
            {"secretRef": {"name": "keys"}, "prefix": "my_"},
            {"configMapRef": {"name": "settings"}},
            {"configMapRef": {"name": "nothing", "optional": True}},
        ],
    )
    assert found == {"NAME": "p", "LABEL": "d", "mode": "slow me", "my_user": "me"}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"secretKeyRef": {"name": "no", "key": "x"}}, 'secret "no" not found'),
        ({"secretKeyRef": {"name": "keys", "key": "x"}}, "couldn't find key x in Secret ns/keys"),
        ({"fieldRef": {"fieldPath": "spec.oops"}}, "unsupported fieldPath: spec.oops"),
        ({"resourceFieldRef": {"resource": "limits.cpu"}}, "local mode knows fieldRef"),
    ],
)
async def test_what_is_missing_is_named(source: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        await variables({"name": "X", "valueFrom": source})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/data", "/local/data"),
        ("/data/", "/local/data"),
        ("/data/a/b", "/local/data/a/b"),
        ("/data/inner/c", "/local/inner/c"),
        ("/database", "/database"),
        ("https://host/data", "https://host/data"),
        ("see /data", "see /data"),
    ],
)
def test_only_whole_paths_are_rewritten_by_the_longest_mount(value: str, expected: str) -> None:
    paths = PathMap({"/data": Path("/local/data"), "/data/inner": Path("/local/inner")})
    assert paths.rewrite(value) == expected


def test_files_that_are_mounted_beside_each_other_have_a_directory(tmp_path: Path) -> None:
    (tmp_path / "admin.conf").write_text("one")
    (tmp_path / "folder").mkdir()
    paths = {
        "/kubedr/kubeconfigs/admin.conf": tmp_path / "admin.conf",
        "/kubedr/kubeconfigs/missing.conf": tmp_path / "missing.conf",
        "/kubedr/folder": tmp_path / "folder",
    }
    gathered = gather_files(paths, tmp_path / "gathered")
    assert list(gathered) == ["/kubedr/kubeconfigs"]
    directory = gathered["/kubedr/kubeconfigs"]
    assert sorted(path.name for path in directory.iterdir()) == ["admin.conf", "missing.conf"]
    assert (directory / "admin.conf").read_text() == "one"
    assert gather_files(paths, tmp_path / "gathered") == gathered


async def resolved(volume: dict[str, Any]) -> Files | Path | None:
    return await volumes.resolve(POD, {"name": "v", **volume}, VolumeSources(SOURCES, claim))


async def test_a_secret_volume_is_for_its_owner_only(tmp_path: Path) -> None:
    files = await resolved({"secret": {"secretName": "keys", "defaultMode": 0o444}})
    assert isinstance(files, Files)
    directory = volumes.prepare(tmp_path / "v", files)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / "user").stat().st_mode) == 0o400
    assert (directory / "user").read_bytes() == b"me"
    volumes.remove(directory)
    assert not directory.exists()


async def test_items_choose_and_rename_keys() -> None:
    items = [{"key": "user", "path": "deep/name", "mode": 0o440}]
    found = await resolved({"secret": {"secretName": "keys", "items": items}})
    assert found == Files({"deep/name": (b"me", 0o440)}, private=True)


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        ({"secret": {"secretName": "no"}}, 'MountVolume.SetUp failed for volume "v" : secret "no" not found'),
        (
            {"secret": {"secretName": "keys", "items": [{"key": "x", "path": "x"}]}},
            "references non-existent secret key: x",
        ),
        ({"secret": {"secretName": "keys", "items": [{"key": "user", "path": "../x"}]}}, "leads out"),
        ({"hostPath": {"path": "/no/such/place", "type": "Directory"}}, "is not a directory"),
        ({"persistentVolumeClaim": {"claimName": "c"}}, 'persistentvolumeclaim "c" not found'),
        ({"nfs": {"server": "x", "path": "/"}}, "local mode has no nfs volumes"),
    ],
)
async def test_a_volume_that_cannot_be_had_is_told(volume: dict[str, Any], message: str) -> None:
    with pytest.raises(MountError, match=message):
        await resolved(volume)


async def test_optional_secrets_may_be_missing() -> None:
    assert await resolved({"secret": {"secretName": "no", "optional": True}}) == Files({}, private=True)


async def test_parts_of_a_projected_volume_come_together() -> None:
    parts = [
        {"secret": {"name": "keys"}},
        {"configMap": {"name": "settings"}},
        {"downwardAPI": {"items": [{"path": "uid", "fieldRef": {"fieldPath": "metadata.uid"}}]}},
        {"serviceAccountToken": {"path": "token"}},
    ]
    found = await resolved({"projected": {"sources": parts}})
    assert isinstance(found, Files)
    assert {path: data for path, (data, _) in found.contents.items()} == {
        "user": b"me",
        "mode": b"fast",
        "uid": b"u",
    }


def test_removing_volumes_follows_no_link_and_stops_at_no_mode(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    own = tmp_path / "own"
    (own / "locked" / "inner").mkdir(parents=True)
    (own / "link").symlink_to(precious)
    os.chmod(own / "locked", 0o000)  # noqa: PTH101 - as a program would leave it
    volumes.remove(own)
    assert not own.exists()
    assert (precious / "file").exists()


@pytest.mark.parametrize("path", ["../x", "/etc", "a/../../x"])
def test_a_sub_path_stays_in_its_volume(tmp_path: Path, path: str) -> None:
    with pytest.raises(MountError, match="leads out of its volume"):
        volumes.within(tmp_path, path)


NODE: dict[str, Any] = {"metadata": {"name": "n", "labels": {"disk": "ssd", "size": "5"}}, "spec": {}}


def required(*terms: dict[str, Any]) -> dict[str, Any]:
    node = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}}
    return {"affinity": {"nodeAffinity": node}}


def expression(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": operator, "values": list(values)}


@pytest.mark.parametrize(
    ("spec", "fits"),
    [
        ({}, True),
        ({"nodeSelector": {"disk": "ssd"}}, True),
        ({"nodeSelector": {"disk": "hdd"}}, False),
        (required({"matchExpressions": [expression("disk", "In", "ssd", "nvme")]}), True),
        (required({"matchExpressions": [expression("disk", "NotIn", "ssd")]}), False),
        (required({"matchExpressions": [expression("gpu", "Exists")]}), False),
        (required({"matchExpressions": [expression("gpu", "DoesNotExist")]}), True),
        (required({"matchExpressions": [expression("size", "Gt", "4")]}), True),
        (required({"matchExpressions": [expression("size", "Lt", "5")]}), False),
        (required({"matchExpressions": [expression("gpu", "Exists"), expression("disk", "Exists")]}), False),
        (required({"matchExpressions": [expression("gpu", "Exists")]},
                  {"matchExpressions": [expression("disk", "Exists")]}), True),
        (required({"matchFields": [expression("metadata.name", "In", "n")]}), True),
        (required({}), False),
    ],
)  # fmt: skip
def test_node_affinity_is_read_as_the_scheduler_reads_it(spec: dict[str, Any], fits: bool) -> None:
    assert (affinity.refusal({"spec": spec}, NODE) is None) is fits


@pytest.mark.parametrize(
    ("toleration", "fits"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "cp", "operator": "Exists"}, True),
        ({"key": "cp", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "cp", "value": "x"}, False),
        ({"key": "other", "operator": "Exists"}, False),
    ],
)
def test_taints_repel_pods_that_do_not_tolerate_them(toleration: dict[str, Any], fits: bool) -> None:
    tainted = {**NODE, "spec": {"taints": [{"key": "cp", "effect": "NoSchedule"}]}}
    assert (affinity.refusal({"spec": {"tolerations": [toleration]}}, tainted) is None) is fits
