"""`helm install` gives a KubeDR that does its whole job, allowed what the chart allows and no more."""

import json
import time
from collections.abc import Callable, Iterator

import pytest

from support.apiserver import assets
from support.chart_release import (
    CHART,
    CONFIGURATION,
    RELEASE,
    SETTINGS,
    Asked,
    Release,
    embedded_api,
    real_api,
    settings,
)
from support.kubectl import Kubectl, Object, condition
from support.protection import Protection, restore

pytestmark = [pytest.mark.cluster, pytest.mark.storage, pytest.mark.slow, pytest.mark.timeout(300)]

APIS = ["embedded", *(["kube-apiserver"] if assets() else [])]
GROUP = "kubedr.catalogicsoftware.com"

_BEHIND = "a cache that is behind what the server itself has written"
MAY_BE_UNUSED = {
    # Admission plugins and server-side apply ask for these themselves: no request shows them.
    (GROUP, "backuplocations/finalizers", "update"): "owner references of initialisation Jobs",
    (GROUP, "metadatabackuppolicies/finalizers", "update"): "owner references of CronJobs",
    (GROUP, "metadatarestores/finalizers", "update"): "owner references of restore Jobs",
    ("batch", "cronjobs", "create"): "applying a CronJob that does not exist yet",
    ("batch", "jobs", "delete"): "the Jobs of a location's earlier attempts",
    ("", "events", "patch"): "an event that repeats itself",
    ("", "pods/log", "get"): "the look at a repository, which comes by its own schedule",
    ("", "secrets", "update"): "the certificate's renewal",
    (GROUP, "backuplocations", "get"): _BEHIND,
    (GROUP, "metadatabackuppolicies", "get"): _BEHIND,
    (GROUP, "metadatabackuprecords", "get"): _BEHIND,
    (GROUP, "metadatarestores", "get"): _BEHIND,
    ("batch", "cronjobs", "get"): _BEHIND,
    ("batch", "jobs", "get"): _BEHIND,
}
"""What the chart allows although a run of the main job may not show it, and what it is for."""


@pytest.fixture(scope="module", params=APIS)
def release(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    directory = tmp_path_factory.mktemp("release")
    programs = assets()
    if request.param == "embedded" or programs is None:
        started = embedded_api(directory)
    else:
        started = real_api(directory, programs)
    with started as release:
        release.install()
        yield release


def test_an_installed_release_protects_an_etcd(
    release: Release, protection: Callable[..., Protection]
) -> None:
    kubectl, protected = release.kubectl, protection()
    with release.serving():
        _protect(kubectl, protected)
        _back_up_twice_and_keep_one(kubectl, protected)
        _restore(kubectl)
        _assert_is_guarded(kubectl, protected)
        # The schema has set the same defaults before the webhook is asked: only its count tells of it.
        for webhook in ("mutate", "validate"):
            assert release.sample("kubedr_admission_reviews_total", webhook=webhook, operation="CREATE") > 3
        assert kubectl.get("lease", "kubedr-server")["spec"]["holderIdentity"]
        assert "forbidden" not in release.log.read_text().lower()
        if release.kind == "kube-apiserver":
            _assert_allowed_what_it_asks(release)
            _assert_elsewhere_nothing_is_known(release)


def test_an_upgrade_and_an_uninstall_leave_crds_and_custom_resources(release: Release) -> None:
    kubectl = release.kubectl
    kept = _location("kept")
    with release.serving():
        kubectl.apply(kept)
        before, bundles = _kept(kubectl), _bundles(kubectl)
        release.disconnect()
        changed = {**SETTINGS, "allNamespaces": "true", "replicaCount": "3"}
        release.helm("upgrade", RELEASE, str(CHART), *settings(changed))
        release.connect()
        assert kubectl.get("deployment", f"{RELEASE}-server")["spec"]["replicas"] == 3
        assert _bundles(kubectl) == bundles, "the CAs that the server has written are the server's"
        assert "Required value" in kubectl.refusal({**kept, "spec": {}})
        assert _kept(kubectl) == before
    with release.serving():
        _assert_looks_after_all_namespaces(release)
    release.helm("uninstall", RELEASE)
    assert _kept(kubectl) == before
    gone = "deployments,roles,rolebindings,serviceaccounts,pdb,validatingwebhookconfigurations"
    assert kubectl("get", gone, "-o", "name").split() == []
    kubectl("delete", "backuplocation", "kept", "--timeout=60s")  # nothing of KubeDR is needed for that


def _assert_looks_after_all_namespaces(release: Release) -> None:
    refused = _refused(release)
    elsewhere = Kubectl(release.kubeconfig, "default")
    elsewhere.apply(_location("anywhere"))
    found = elsewhere.until(
        "backuplocation", "anywhere", lambda each: bool(condition(each, "Ready").get("message"))
    )
    assert "not-there" in condition(found, "Ready")["message"]
    elsewhere("delete", "backuplocation", "anywhere")
    assert _refused(release) == refused


def _protect(kubectl: Kubectl, protected: Protection) -> None:
    warned = kubectl.answer("apply", "-f", "-", stdin=json.dumps(protected.backup_location()))
    assert 'Warning: spec.credentials: Secret "storage" does not exist yet' in warned.stderr, warned
    kubectl.apply(*protected.secrets(), protected.backup_policy())
    kubectl.wait("condition=Ready", "backuplocation/location")
    assert kubectl.get("backuplocation", "location")["status"]["initStatus"] == "Completed"
    kubectl.told("BackupLocation", "location", "InitSucceeded")
    kubectl.wait("condition=Scheduled", "metadatabackuppolicy/policy")


def _back_up_twice_and_keep_one(kubectl: Kubectl, protected: Protection) -> None:
    protected.policy = {"retainNumBackups": 1}
    kubectl.apply(protected.backup_policy())
    (first,) = _back_up(kubectl, "first", lambda records: len(records) == 1)
    name = first["metadata"]["name"]
    # The second one pushes the first out: its snapshot is deleted, then it is let go.
    (second,) = _back_up(
        kubectl, "second", lambda records: len(records) == 1 and records[0]["metadata"]["name"] != name
    )
    assert condition(second, "Verified")["status"] == "True"
    kubectl.told("MetadataBackupPolicy", "policy", "BackupSucceeded")


def _back_up(kubectl: Kubectl, job: str, holds: Callable[[list[Object]], bool]) -> list[Object]:
    kubectl("create", "job", "--from=cronjob/policy-backup-cronjob", job)
    assert kubectl.finished(job) == "Complete", kubectl("describe", "metadatabackuppolicy", "policy")
    deadline = time.monotonic() + 100
    while not holds(records := kubectl.list("metadatabackuprecords")):
        assert time.monotonic() < deadline, records
        time.sleep(0.2)
    return records


def _restore(kubectl: Kubectl) -> None:
    (record,) = kubectl.list("metadatabackuprecords")
    kubectl.apply(*restore("bring-it-back", record["metadata"]["name"], "restored"))
    kubectl.wait("condition=Restored", "metadatarestore/bring-it-back")


def _assert_is_guarded(kubectl: Kubectl, protected: Protection) -> None:
    """Show that both webhooks are asked, and know what is in the cluster."""
    wrong = protected.backup_policy()
    wrong["spec"]["schedule"] = "0 25 * * *"
    assert "spec.schedule: Invalid value" in kubectl.refusal(wrong)
    bare = protected.backup_policy()
    bare["metadata"]["name"] = "bare"
    kubectl.apply(bare)
    assert kubectl.get("metadatabackuppolicy", "bare")["spec"]["retainNumBackups"] >= 1
    in_use = kubectl.answer("delete", "backuplocation", "location")
    assert in_use.exit_code == 1
    assert "policy" in in_use.stderr


def _assert_allowed_what_it_asks(release: Release) -> None:
    asked, granted = release.asked(), release.granted()
    assert _refused(release) == []
    used = {each.permission for each in asked}
    assert used <= granted
    assert granted - used <= set(MAY_BE_UNUSED), "what is allowed must be used, or be explained"
    assert set(MAY_BE_UNUSED) <= granted


def _assert_elsewhere_nothing_is_known(release: Release) -> None:
    """In a namespace that is not looked after, the webhooks judge without knowing what else is there."""
    elsewhere = Kubectl(release.kubeconfig, "default")
    answer = elsewhere.answer("apply", "-f", "-", stdin=json.dumps(_location("elsewhere")))
    assert (answer.exit_code, answer.stderr) == (0, "")
    refused = {(each.namespace, each.permission) for each in _refused(release)}
    assert refused == {("default", ("", "secrets", "get"))}
    elsewhere("delete", "backuplocation", "elsewhere")


def _refused(release: Release) -> list[Asked]:
    """Return the requests that RBAC has refused; none where there is no RBAC."""
    return [each for each in release.asked() if each.code == 403]


def _location(name: str) -> Object:
    """Make a BackupLocation that cannot work: its Secret is not there."""
    spec = {"url": "https://s3.example.com", "bucketName": "bucket", "credentials": "not-there"}
    metadata = {"name": name}
    return {"apiVersion": f"{GROUP}/v1alpha1", "kind": "BackupLocation", "metadata": metadata, "spec": spec}


def _kept(kubectl: Kubectl) -> dict[str, str]:
    """Return the uids of all CRDs and custom resources of ours."""
    names = [name for name in kubectl("get", "crds", "-o", "name").split() if name.endswith(GROUP)]
    assert len(names) == 4
    names.append("backuplocation/kept")
    return {name: kubectl.get(*name.split("/", 1))["metadata"]["uid"] for name in names}


def _bundles(kubectl: Kubectl) -> list[str]:
    kinds = ("mutatingwebhookconfiguration", "validatingwebhookconfiguration")
    return [kubectl.get(kind, CONFIGURATION)["webhooks"][0]["clientConfig"]["caBundle"] for kind in kinds]
