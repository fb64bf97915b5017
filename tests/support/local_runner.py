"""Runs of the runner that are cheap: the repository is a directory, and the process is the test's own.

For tests of what happens between etcd and the repository. What belongs to a process of its own (signals, the
environment) or to S3 is tested with `support.runner.RunnerPod`.
"""

import contextlib
import io
import os
import shutil
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

from kubedr_server.contract import Env, Operation, RunResult
from kubedr_server.runner.backup import backup
from kubedr_server.runner.initialise import initialise
from kubedr_server.runner.restore import restore
from kubedr_server.runner.run import execute
from kubedr_server.runner.settings import backup_settings, init_settings, restore_settings
from support.etcd import EtcdServer
from support.repository import planted
from support.runner import PASSWORD, Ended, RunnerPod
from support.tools import program


class LocalPod(RunnerPod):
    """A pod whose repository is the directory `repository`; `here` and `done_here` run in this process."""

    def __init__(self, directory: Path, etcd: EtcdServer, repository: Path) -> None:
        super().__init__(directory, None, etcd, "", str(repository))

    def here(self, operation: Operation, changes: Mapping[str, str | None] | None = None) -> Ended:
        """Run an operation to its end."""
        run_id = str(uuid.uuid4())
        result_path = self.directory / f"result-{run_id}"
        settings = {
            Env.RUN_ID: run_id,
            Env.RESULT_PATH: str(result_path),
            **self.settings,
            **(changes or {}),
        }
        environment = {str(name): value for name, value in settings.items() if value is not None}
        started = time.monotonic()
        with contextlib.redirect_stderr(io.StringIO()) as log:
            if operation is Operation.INIT:
                exit_code = execute(operation, init_settings, initialise, environment)
            elif operation is Operation.BACKUP:
                exit_code = execute(operation, backup_settings, backup, environment)
            else:
                exit_code = execute(operation, restore_settings, restore, environment)
        result = RunResult.from_termination_message(result_path.read_text())
        return Ended(exit_code, result, log.getvalue(), time.monotonic() - started)

    def done_here(self, operation: Operation, changes: Mapping[str, str | None] | None = None) -> Ended:
        """Run an operation that has to succeed."""
        ended = self.here(operation, changes)
        assert ended.result.succeeded, ended.log
        return ended

    def restored(self, snapshot_id: str, name: str) -> Path:
        """Restore a snapshot into a new directory; return that."""
        target = self.directory / name
        target.mkdir()
        self.done_here(Operation.RESTORE, {Env.SNAPSHOT_ID: snapshot_id, Env.TARGET_DIR: str(target)})
        return target


def copied_pod(directory: Path, etcd: EtcdServer, template: Path) -> LocalPod:
    """Return a pod with a copy of a repository that was made once: making one takes seconds."""
    repository = directory / "repository"
    shutil.copytree(template, repository)
    return LocalPod(directory / "pod", etcd, repository)


def new_repository(directory: Path) -> Path:
    """Make a repository without snapshots, for `copied_pod`: one that is quick to open."""
    repository = directory / "repository"
    for folder in ("data", "index", "keys", "locks", "snapshots"):
        (repository / folder).mkdir(parents=True)
    for name, content in planted(PASSWORD).items():
        (repository / name).write_bytes(content)
    return repository


def wrapped(directory: Path, name: str, script: str) -> str:
    """Write a shell script in place of a program; return a PATH with it.

    In the script, `real "$@"` runs the program itself, which `$program` names.
    """
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.write_text(f'#!/bin/sh\nprogram="{program(name)}"\nreal() {{ "$program" "$@"; }}\n{script}\n')
    path.chmod(0o755)
    folders = [str(directory), *{str(program(each).parent) for each in ("restic", "etcdctl", "etcdutl")}]
    return os.pathsep.join([*folders, "/usr/bin", "/bin"])
