"""The set-up of programs takes what is there, and says what is missing."""

import subprocess
import sys
from pathlib import Path

import pytest

from kubedr_server.local.tools import debian
from kubedr_server.local.tools.install import install
from kubedr_server.local.tools.programs import PROGRAMS, ToolError, locate, on_path, version_of
from support.tools import program


def _script(folder: Path, name: str, output: str, exit_code: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{output}'\nexit {exit_code}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("name", ["etcd", "etcdctl", "etcdutl", "restic", "kubectl", "weed"])
def test_the_real_programs_tell_a_version_that_is_new_enough(name: str) -> None:
    assert version_of(PROGRAMS[name], program(name)) >= PROGRAMS[name].minimum


def test_a_program_that_fails_tells_no_version(tmp_path: Path) -> None:
    broken = _script(tmp_path, "etcd", "cannot load library 3.5.16", exit_code=127)
    with pytest.raises(ToolError, match=r"does not tell its version \(exit code 127\): cannot load"):
        version_of(PROGRAMS["etcd"], broken)


def test_a_program_on_the_path_is_used_only_if_it_is_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert on_path(PROGRAMS["restic"]) is None
    path = _script(tmp_path, "restic", "restic 0.14.0 compiled with go1.19")
    assert on_path(PROGRAMS["restic"]) is None
    _script(tmp_path, "restic", "restic 0.18.0 compiled with go1.24")
    assert on_path(PROGRAMS["restic"]) == (path, (0, 18, 0))


def test_nothing_is_fetched_when_all_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    _script(tmp_path / "path", "restic", "restic 0.18.0")
    _script(tmp_path / "tools" / "bin", "etcd", "etcd Version: 3.5.16")
    said: list[str] = []
    install(["etcd", "restic"], tmp_path / "tools", said.append)
    assert [line.split()[:2] for line in said] == [["etcd", "3.5.16"], ["restic", "0.18.0"]]
    assert locate("etcd", tmp_path / "tools") == tmp_path / "tools" / "bin" / "etcd"
    assert locate("restic", tmp_path / "tools") == tmp_path / "path" / "restic"


def test_on_another_system_it_says_what_to_install_and_which_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(debian, "debian_mirror", lambda: None)
    with pytest.raises(ToolError) as caught:
        install(["etcd"], tmp_path / "tools", lambda _: None)
    assert "etcd >= 3.5 " in str(caught.value)
    assert "no apt-get" in str(caught.value)
    assert "put them on PATH" in str(caught.value)
    assert sorted(path.name for path in (tmp_path / "tools").iterdir()) == ["bin", "lock"]


def test_an_unknown_name_is_refused_with_the_names_there_are(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "kubedr_server.local.tools", "install", "--dir", str(tmp_path), "ectd"]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert "no such program: ectd (there are etcd," in done.stderr
