"""The Job of a backup by hand, and its name."""

import random

import pytest

from kubedr_server.api.names import MAX_JOB_NAME, MAX_POLICY_NAME_LENGTH
from kubedr_server.cli.backup_job import job_from, new_name
from kubedr_server.manifests.cronjob import backup_cronjob
from support.kubedr_objects import RUNNER, a_location, a_policy


def test_the_job_is_the_template_under_a_name_of_its_own_and_the_cronjob_controls_it() -> None:
    cronjob = backup_cronjob(a_policy(), a_location(), RUNNER)
    cronjob["metadata"]["uid"] = "uid-of-the-cronjob"
    template = cronjob["spec"]["jobTemplate"]
    assert job_from(cronjob, "nightly-manual-x7k2p") == {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": "nightly-manual-x7k2p",
            "namespace": "kubedr-system",
            "annotations": {"cronjob.kubernetes.io/instantiate": "manual"},
            "labels": template["metadata"]["labels"],
            "ownerReferences": [
                {
                    "apiVersion": "batch/v1",
                    "kind": "CronJob",
                    "name": "nightly-backup-cronjob",
                    "uid": "uid-of-the-cronjob",
                    "controller": True,
                }
            ],
        },
        "spec": template["spec"],
    }


def test_the_templates_own_annotations_are_kept() -> None:
    cronjob = {
        "metadata": {"name": "a", "namespace": "b", "uid": "c"},
        "spec": {"jobTemplate": {"metadata": {"annotations": {"of": "the template"}}, "spec": {}}},
    }
    metadata = job_from(cronjob, "name")["metadata"]
    assert metadata["annotations"] == {"cronjob.kubernetes.io/instantiate": "manual", "of": "the template"}
    assert metadata["labels"] == {}


@pytest.mark.parametrize("policy", ["a", "my.dotted.policy", "p" * MAX_POLICY_NAME_LENGTH, "x" * 253])
def test_a_name_is_readable_valid_and_never_too_long(policy: str) -> None:
    name = new_name(policy, random.Random(1))
    assert name.startswith(policy[:30].replace(".", "-"))
    assert "-manual-" in name
    assert "." not in name
    assert len(name) <= MAX_JOB_NAME


def test_two_names_differ() -> None:
    rng = random.Random(1)
    assert new_name("nightly", rng) != new_name("nightly", rng)
