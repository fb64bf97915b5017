"""Labels can be selected by, and lead back to the whole name."""

import pytest

from kubedr_server.contract import Operation
from kubedr_server.manifests.labels import Label, selector, subject_name, template_metadata

LONG = "a" * 200


@pytest.mark.parametrize("name", ["minio", "a" * 63, LONG])
def test_metadata_leads_back_to_the_whole_name(name: str) -> None:
    metadata = template_metadata(Operation.INIT, {Label.LOCATION: name})

    assert subject_name(metadata, Label.LOCATION) == name
    assert len(metadata["labels"][Label.LOCATION]) <= 63


def test_a_name_that_fits_needs_no_annotation() -> None:
    assert "annotations" not in template_metadata(Operation.INIT, {Label.LOCATION: "minio"})


@pytest.mark.parametrize("metadata", [{}, {"labels": None, "annotations": None}, {"labels": {"other": "x"}}])
def test_metadata_that_names_nothing_leads_nowhere(metadata: dict[str, None]) -> None:
    assert subject_name(metadata, Label.LOCATION) is None


@pytest.mark.parametrize("name", ["minio", LONG])
def test_a_selector_finds_what_was_labelled(name: str) -> None:
    labels = template_metadata(Operation.INIT, {Label.LOCATION: name})["labels"]
    wanted = dict(each.split("=") for each in selector(Operation.INIT, {Label.LOCATION: name}).split(","))

    assert wanted.items() <= labels.items()
    assert Label.LOCATION in wanted


def test_a_selector_without_subjects_finds_everything_of_this_project() -> None:
    assert selector() == "app.kubernetes.io/managed-by=kubedr"
