"""A backup killed at each of its steps: no half of one counts, and the same run's next try is whole."""

import subprocess
from pathlib import Path

import pytest

from kubedr_server.contract import Env, Operation
from support.local_runner import LocalPod, wrapped

pytestmark = [pytest.mark.storage, pytest.mark.fault]

STEPS = {
    "save": ("etcdctl", '*"snapshot save"*', 'real "$@" & sleep 0.02; kill -KILL 0'),
    "hash": ("etcdutl", '*"snapshot status"*', "kill -KILL 0"),
    "segments": ("etcdutl", '*"rebuilt.db"*', "kill -KILL 0"),
    "upload": ("restic", '*" backup "*', "kill -KILL 0"),
    "stored": ("restic", '*" backup "*', 'real "$@"; kill -KILL 0'),
    "report": ("restic", '*" cat snapshot "*', 'real "$@"; kill -KILL 0'),
}
"""Each step: the program that is then at work, the call of it, and what happens instead."""

STORED = ("stored", "report")
"""The steps at which the snapshot is in the repository already."""


def test_a_backup_killed_at_any_step_is_made_or_found_by_its_next_try(pod: LocalPod, tmp_path: Path) -> None:
    snapshots: dict[str, str] = {}
    for step, (name, call, script) in STEPS.items():
        path = wrapped(tmp_path / step, name, f'case " $* " in {call}) {script}; sleep 60;; esac\nreal "$@"')
        run: dict[str, str | None] = {Env.RUN_ID: f"killed-at-{step}"}
        with pod.start(Operation.BACKUP, {**run, "PATH": path}) as killed:
            # The script kills the runner and all its programs at once, as a power cut does.
            _, log = killed.process.communicate(timeout=120)
        assert killed.process.returncode == -9, f"not killed at {step}:\n{log}"
        again = pod.done_here(Operation.BACKUP, run)
        found = again.result.message.startswith("Found the snapshot that this run had already stored")
        assert found == (step in STORED), (step, again.log)
        snapshots[f"run=killed-at-{step}"] = again.snapshot_id
        assert list(pod.scratch.iterdir()) == []
    stored = {tag: item["id"] for item in pod.snapshots() for tag in item["tags"] if tag.startswith("run=")}
    assert stored == snapshots
    assert len(pod.snapshots()) == len(STEPS), "a snapshot was stored twice"
    pod.restic("check", "--read-data")
    assert_restores(pod, snapshots["run=killed-at-stored"])


def assert_restores(pod: LocalPod, snapshot_id: str) -> None:
    """Assert that what comes back is what was recorded in the backup itself."""
    target = pod.restored(snapshot_id, "restored")
    subprocess.run(
        ["sha256sum", "--check", "--quiet", "recovery/SHA256SUMS"], cwd=target, check=True, timeout=30
    )
    assert "  etcd-snapshot.db\n" in (target / "recovery" / "SHA256SUMS").read_text()
