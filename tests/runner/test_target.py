"""A restore's target: all or nothing, at whatever moment it is interrupted."""

from pathlib import Path

import pytest

from kubedr_server.api.conditions import Reason
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.target import PARTIAL, Target

LAST = "etcd-snapshot.db"


def fill(target: Target) -> None:
    (target.files / LAST).write_text("snapshot")
    (target.files / "certificates").mkdir()
    (target.files / "certificates" / "ca.crt").write_text("certificate")


class PowerFailureError(Exception):
    """Ends a restore between two moves."""


def test_all_files_are_moved_and_nothing_else_is_left(tmp_path: Path) -> None:
    target = Target(tmp_path)
    assert target.prepare() is False
    fill(target)
    target.finish(LAST)
    target.discard()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["certificates", LAST]
    assert (tmp_path / "certificates" / "ca.crt").read_text() == "certificate"


def test_the_snapshot_is_moved_last_and_a_later_try_removes_what_was_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Target(tmp_path)
    target.prepare()
    fill(target)
    rename = Path.rename

    def fail_at_last(path: Path, new: Path) -> Path:
        if new.name == LAST:
            raise PowerFailureError
        return rename(path, new)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fail_at_last)
        with pytest.raises(PowerFailureError):
            target.finish(LAST)
    assert sorted(path.name for path in tmp_path.iterdir()) == [PARTIAL, "certificates"]

    again = Target(tmp_path)
    assert again.prepare() is True
    assert [path.name for path in tmp_path.iterdir()] == [PARTIAL]
    fill(again)
    again.finish(LAST)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["certificates", LAST]


def test_a_failed_restore_leaves_nothing(tmp_path: Path) -> None:
    target = Target(tmp_path)
    target.prepare()
    fill(target)
    target.discard()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["file", ".hidden", "certificates"])
def test_what_is_there_is_never_touched(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("precious")
    with pytest.raises(RunFailureError, match=f"already holds files \\(such as '{name}'\\)") as caught:
        Target(tmp_path).prepare()
    assert caught.value.reason is Reason.TARGET_NOT_EMPTY
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "precious"


def test_someones_own_file_of_the_same_name_outlives_a_clean_up(tmp_path: Path) -> None:
    interrupted = Target(tmp_path)
    interrupted.prepare()
    fill(interrupted)
    (tmp_path / "certificates").write_text("put there by someone after the restore had died before moving")
    with pytest.raises(RunFailureError) as caught:
        Target(tmp_path).prepare()
    assert caught.value.reason is Reason.TARGET_NOT_EMPTY
    assert (tmp_path / "certificates").is_file()


def test_a_list_of_moves_cannot_name_a_file_elsewhere(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    directory = tmp_path / "target"
    (directory / PARTIAL / "files").mkdir(parents=True)
    (directory / PARTIAL / "moving.json").write_text('["../victim", "/etc/passwd", ".", ".."]')
    Target(directory).prepare()
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("name", ["lost+found", ".snapshot"])
def test_what_a_file_system_puts_there_does_not_count(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    Target(tmp_path).prepare()


def test_a_target_that_is_no_directory(tmp_path: Path) -> None:
    with pytest.raises(RunFailureError, match="it is not a directory") as caught:
        Target(tmp_path / "missing").prepare()
    assert caught.value.reason is Reason.SETTING_MISSING
