"""What the chart allows the server is what the server asks: no less, and no more.

A whole life of KubeDR goes by in the simulation, and each request of the server is noted as RBAC sees it.
`tests/e2e/test_chart_install.py` does the same with a real kube-apiserver's audit log, where there is one.
"""

import asyncio
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from kubedr_server.admission.cluster_references import ClusterReferences
from kubedr_server.admission.self_signed import SelfSignedCertificate
from kubedr_server.contract import Operation
from kubedr_server.kube.client import Client
from kubedr_server.kube.resources import (
    CRONJOBS,
    JOBS,
    METADATA_BACKUP_POLICIES,
    METADATA_BACKUP_RECORDS,
    MUTATING_WEBHOOKS,
    PVCS,
    VALIDATING_WEBHOOKS,
)
from kubedr_server.settings import SelfSigned
from support.kubedr_world import is_told, ready, snapshot
from support.simulated_world import NAMESPACE, Server, SimulatedWorld, in_simulation
from support.simulation import Seen
from support.tools import program

GROUP = "kubedr.catalogicsoftware.com"
CHART = Path(__file__).parents[2] / "charts" / "kubedr"
VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
CLUSTER = ""
"""The namespace of what has none."""

Permission = tuple[str, str, str, str, str]
"""Namespace, group, resource with its subresource, verb, and the name; empty where any name is meant."""

BEHIND = "asked while a cache is behind what the server itself has written"
NOT_SHOWN = {
    (GROUP, "backuplocations/finalizers", "update"): "an admission plugin asks for it, at owner references",
    (GROUP, "metadatabackuppolicies/finalizers", "update"): "the same, of CronJobs",
    (GROUP, "metadatarestores/finalizers", "update"): "the same, of a restore's Job",
    ("batch", "cronjobs", "create"): "the API server asks for it where a patch applies what is not there",
    ("batch", "cronjobs", "get"): BEHIND,
    (GROUP, "metadatarestores", "get"): BEHIND,
}
"""What the chart allows although this life does not show it, and what it is for."""


@cache
def rendered() -> list[dict[str, Any]]:
    command = [str(program("helm")), "template", "kubedr", str(CHART), "--namespace", NAMESPACE]
    done = subprocess.run(
        [*command, "--set", "tls.mode=self-signed"], capture_output=True, text=True, check=True, timeout=60
    )
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def granted() -> set[Permission]:
    """Return what the rendered roles allow."""
    return {
        (role["metadata"].get("namespace", CLUSTER), group, resource, verb, name)
        for role in rendered()
        if role["kind"] in ("Role", "ClusterRole")
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", [""])
    }


def asked(seen: Seen) -> Permission:
    """Return the permission that a request takes."""
    parts = seen.path.strip("/").split("/")
    group, parts = ("", parts[2:]) if parts[0] == "api" else (parts[1], parts[3:])
    namespace, parts = (parts[1], parts[2:]) if parts[0] == "namespaces" and parts[2:] else (CLUSTER, parts)
    name = parts[1] if len(parts) > 1 else ""
    verb = VERBS.get(seen.method) or ("get" if name else "watch" if "watch" in seen.query else "list")
    return namespace, group, "/".join([parts[0], *parts[2:]]), verb, name


def allows(permission: Permission, asked_for: Permission) -> bool:
    """Whether a permission is the one that is asked for."""
    return permission[:4] == asked_for[:4] and permission[4] in ("", asked_for[4])


def short(permissions: Iterable[Permission]) -> set[tuple[str, str, str]]:
    return {permission[1:4] for permission in permissions}


@in_simulation
async def test_the_chart_allows_what_the_server_asks_and_nothing_else(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    world.settings = replace(world.settings, runner=replace(world.settings.runner, cluster_id=""))
    server = Server(world, "server", elects=True)
    await server.start()
    await live(world)
    async with server.process.client() as client:
        await judge(ClusterReferences(client))
        await renew(world, client, tmp_path)
    used = {asked(seen) for seen in world.simulation.requests("server")}
    allowed = granted()
    assert {each for each in used if not any(allows(permission, each) for permission in allowed)} == set()
    unused = {permission for permission in allowed if not any(allows(permission, each) for each in used)}
    assert short(unused) <= set(NOT_SHOWN), "what is allowed must be used, or be explained"
    assert set(NOT_SHOWN) <= short(allowed)


async def live(world: SimulatedWorld) -> None:
    """Have all happen that the controllers have an answer to."""
    world.storage_works = False
    await world.secret()
    await world.location()
    await world.told("InitFailed", 3)
    world.storage_works = True
    await world.policy(retainNumBackups=1)
    await world.becomes(METADATA_BACKUP_POLICIES, "nightly", ready("True"))
    await world.policy(retainNumBackups=1, schedule="17 3 * * *")
    await world.becomes(
        CRONJOBS, "nightly-backup-cronjob", lambda live: live["spec"]["schedule"] == "17 3 * * *"
    )
    for number in (1, 2):
        await world.back_up(f"run-{number}", snapshot(number))
        await world.becomes(JOBS, f"run-{number}", is_told)
    await world.goes(METADATA_BACKUP_RECORDS, "mbr-00000001")
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    await world.client.create(
        PVCS,
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "restored", "namespace": NAMESPACE},
            "spec": claim,
        },
    )
    await world.restore("mbr-00000002")
    await world.job(Operation.RESTORE)
    await world.location(suspendMaintenance=False, healthSchedule="* * * * *")
    await world.job(Operation.HEALTH)
    await asyncio.sleep(60)  # it ends, and what it has listed is read


async def judge(references: ClusterReferences) -> None:
    """Ask all that the webhooks ask."""
    await references.secret_keys(NAMESPACE, "minio-creds")
    for kind in ("BackupLocation", "MetadataBackupPolicy", "MetadataBackupRecord", "PersistentVolumeClaim"):
        await references.exists(kind, NAMESPACE, "any")
    await references.policies_of_location(NAMESPACE, "minio")
    await references.records_of_location(NAMESPACE, "minio")
    await references.restores_of_record(NAMESPACE, "mbr-00000002")


async def renew(world: SimulatedWorld, client: Client, directory: Path) -> None:
    """Make the webhooks' certificate, as the Deployment tells the server to, and make it anew."""
    for each in rendered():
        for resource in (MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS):
            if each["kind"] == resource.kind:
                await world.client.create(resource, each)
    settings = SelfSigned(
        secret="kubedr-webhook-tls",
        service="kubedr-webhook",
        mutating_configuration=f"{NAMESPACE}-kubedr",
        validating_configuration=f"{NAMESPACE}-kubedr",
    )
    times = iter([datetime(2026, 1, 1, tzinfo=UTC), datetime(2046, 1, 1, tzinfo=UTC)])
    certificate = SelfSignedCertificate(
        client, NAMESPACE, settings, url=None, directory=directory, now=lambda: next(times)
    )
    for _ in range(2):
        await certificate.ensure()
