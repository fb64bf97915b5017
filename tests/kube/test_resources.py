import pytest

from kubedr_server.kube.resources import BACKUP_LOCATIONS, CONFIGMAPS, JOBS, NAMESPACES


def test_core_resources_are_below_api_and_others_below_apis() -> None:
    assert CONFIGMAPS.path("ns", "a") == "/api/v1/namespaces/ns/configmaps/a"
    assert JOBS.path("ns", "a", "status") == "/apis/batch/v1/namespaces/ns/jobs/a/status"
    assert JOBS.path() == "/apis/batch/v1/jobs"
    assert NAMESPACES.path(None, "kube-system") == "/api/v1/namespaces/kube-system"


def test_our_resources_are_those_of_the_api_types() -> None:
    assert BACKUP_LOCATIONS.path("ns") == (
        "/apis/kubedr.catalogicsoftware.com/v1alpha1/namespaces/ns/backuplocations"
    )
    assert (BACKUP_LOCATIONS.api_version, BACKUP_LOCATIONS.kind) == (
        "kubedr.catalogicsoftware.com/v1alpha1",
        "BackupLocation",
    )


def test_an_object_of_a_namespaced_resource_needs_its_namespace() -> None:
    with pytest.raises(ValueError, match="namespace is missing"):
        JOBS.path(None, "a")


@pytest.mark.parametrize("name", ["..", ".", ""])
def test_a_name_that_is_a_path_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name"):
        JOBS.path("ns", name)


def test_a_name_with_a_slash_stays_one_segment_of_the_path() -> None:
    assert JOBS.path("ns", "../secrets?x=1") == "/apis/batch/v1/namespaces/ns/jobs/..%2Fsecrets%3Fx%3D1"
