"""`kubedr runner`: what the backup image's containers run."""

import os
import sys

import click

from kubedr_server.contract import Operation
from kubedr_server.runner.backup import backup
from kubedr_server.runner.check import check
from kubedr_server.runner.drill import drill
from kubedr_server.runner.forget import forget
from kubedr_server.runner.health import health
from kubedr_server.runner.initialise import initialise
from kubedr_server.runner.prune import prune
from kubedr_server.runner.restore import restore
from kubedr_server.runner.run import execute
from kubedr_server.runner.settings import (
    backup_settings,
    check_settings,
    drill_settings,
    forget_settings,
    health_settings,
    init_settings,
    prune_settings,
    restore_settings,
)


@click.group()
def runner() -> None:
    """Run one step of a backup pod. All settings are in the environment (KUBEDR_…)."""


@runner.command(Operation.INIT.value)
def init_command() -> None:
    """Make the repository, or check that the password opens it."""
    sys.exit(execute(Operation.INIT, init_settings, initialise, os.environ))


@runner.command(Operation.BACKUP.value)
def backup_command() -> None:
    """Back up etcd and the certificates."""
    sys.exit(execute(Operation.BACKUP, backup_settings, backup, os.environ))


@runner.command(Operation.RESTORE.value)
def restore_command() -> None:
    """Bring a snapshot's files back into an empty directory."""
    sys.exit(execute(Operation.RESTORE, restore_settings, restore, os.environ))


@runner.command(Operation.FORGET.value)
def forget_command() -> None:
    """Remove a snapshot from the repository."""
    sys.exit(execute(Operation.FORGET, forget_settings, forget, os.environ))


@runner.command(Operation.DRILL.value)
def drill_command() -> None:
    """Bring a snapshot back into an etcd on scratch space, and compare."""
    sys.exit(execute(Operation.DRILL, drill_settings, drill, os.environ))


@runner.command(Operation.HEALTH.value)
def health_command() -> None:
    """Look at the repository: does it open, how large is it, which snapshots are in it."""
    sys.exit(execute(Operation.HEALTH, health_settings, health, os.environ))


@runner.command(Operation.CHECK.value)
def check_command() -> None:
    """Check the repository, and read a part of its data back."""
    sys.exit(execute(Operation.CHECK, check_settings, check, os.environ))


@runner.command(Operation.PRUNE.value)
def prune_command() -> None:
    """Free the room of data that no snapshot needs."""
    sys.exit(execute(Operation.PRUNE, prune_settings, prune, os.environ))
