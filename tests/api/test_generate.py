"""`kubedr generate` writes what the types say and tells each file that drifted."""

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from kubedr_server.api.crd import definition, file_name
from kubedr_server.api.kinds import KINDS, Kind
from kubedr_server.cli.generate import HEADER, drift, generate, generated_files, to_yaml

REPOSITORY = Path(__file__).parents[2]
A_CRD = "crds/kubedr.catalogicsoftware.com_backuplocations.yaml"


def test_the_committed_files_are_what_the_types_say() -> None:
    assert drift(REPOSITORY) == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_definition_reads_back_from_its_yaml(kind: Kind) -> None:
    text = to_yaml(definition(kind))

    assert text.startswith(HEADER)
    assert yaml.safe_load(text) == definition(kind)


def test_writing_makes_every_file_and_a_second_time_changes_none(tmp_path: Path) -> None:
    first = CliRunner().invoke(generate, ["--root", str(tmp_path)])
    second = CliRunner().invoke(generate, ["--root", str(tmp_path)])

    assert sorted(first.stdout.splitlines()) == sorted(generated_files())
    assert (second.exit_code, second.stdout) == (0, "")
    assert {f"crds/{file_name(kind)}" for kind in KINDS} <= generated_files().keys()


def test_check_names_each_file_that_drifted_and_writes_nothing(tmp_path: Path) -> None:
    CliRunner().invoke(generate, ["--root", str(tmp_path)])
    edited = tmp_path / A_CRD
    edited.write_text(edited.read_text().replace("maxLength: 63", "maxLength: 64"))
    (tmp_path / "docs/reference/api.md").unlink()
    (tmp_path / "crds/old.yaml").write_text(HEADER)
    (tmp_path / "crds/mine.yaml").write_text("# written by hand\n")

    result = CliRunner().invoke(generate, ["--check", "--root", str(tmp_path)])

    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        f"{A_CRD} differs from the API types",
        "docs/reference/api.md is missing",
        "crds/old.yaml is of no kind",
        "Error: generated files are out of date: run 'make generate' and commit them",
    ]
    assert "maxLength: 64" in edited.read_text()


def test_writing_removes_what_an_earlier_version_generated_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "crds").mkdir()
    (tmp_path / "crds/old.yaml").write_text(HEADER)
    (tmp_path / "crds/mine.yaml").write_text("# written by hand\n")

    CliRunner().invoke(generate, ["--root", str(tmp_path)])

    assert not (tmp_path / "crds/old.yaml").exists()
    assert (tmp_path / "crds/mine.yaml").exists()
    assert drift(tmp_path) == []
