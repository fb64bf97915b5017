"""A backup program that is missing or too old is told like any other wrong input."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kubedr_server.api.conditions import Reason
from kubedr_server.contract import EXIT_CODES
from support.clusters import local_cluster, tools_directory
from support.kubectl import condition
from support.protection import Protection

pytestmark = [pytest.mark.cluster, pytest.mark.storage, pytest.mark.slow, pytest.mark.timeout(300)]


def _programs(directory: Path) -> Path:
    """Make a directory with a backup pod's programs, and the shell that local mode starts them with."""
    folder = tools_directory(directory)
    shell = shutil.which("sh")
    assert shell is not None
    (folder / "sh").symlink_to(shell)
    return folder


def test_a_program_that_is_too_old_or_missing_is_named_until_it_is_right(
    tmp_path: Path, protection: Callable[..., Protection]
) -> None:
    folder = _programs(tmp_path)
    restic = (folder / "restic").readlink()
    (folder / "restic").unlink()
    (folder / "restic").write_text("#!/bin/sh\necho restic 0.14.0 compiled with go1.19 on linux/amd64\n")
    (folder / "restic").chmod(0o755)
    (folder / "etcdutl").unlink()
    protected = protection()
    with local_cluster(tmp_path, only=folder) as cluster:
        kubectl = cluster.new_namespace("programs")
        kubectl.apply(*protected.secrets(), protected.backup_location(), protected.backup_policy())
        location = kubectl.until(
            "backuplocation",
            "location",
            lambda found: found.get("status", {}).get("initStatus") == "Failed",
        )
        assert condition(location, "Ready")["reason"] == Reason.PROGRAM_TOO_OLD
        assert "0.14.0" in location["status"]["initErrorMessage"]

        (folder / "restic").unlink()
        (folder / "restic").symlink_to(restic)
        kubectl.wait("condition=Ready", "backuplocation/location", seconds=90)

        kubectl("create", "job", "--from=cronjob/policy-backup-cronjob", "failing")
        assert kubectl.finished("failing") == "Failed"
        policy = kubectl.until(
            "metadatabackuppolicy", "policy", lambda found: bool(found["status"].get("backupStatus"))
        )
        assert condition(policy, "BackupSucceeded")["reason"] == Reason.PROGRAM_MISSING
        assert "etcdutl" in policy["status"]["backupErrorMessage"]
        kubectl.told("MetadataBackupPolicy", "policy", "BackupFailed")
        (pod,) = kubectl.list("pods", "job-name=failing")
        terminated = pod["status"]["containerStatuses"][0]["state"]["terminated"]
        assert terminated["exitCode"] == EXIT_CODES[Reason.PROGRAM_MISSING]
        assert "etcdutl" in kubectl("logs", "job/failing")
