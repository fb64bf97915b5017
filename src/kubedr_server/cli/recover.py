"""`kubedr recover`: the way back when there is no cluster left, and so no KubeDR's server and no Kubernetes.

It needs the bucket, its keys, the repository's password, and the programs restic and etcdutl.
"""

import contextlib
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from kubedr_server.cli import recover_run
from kubedr_server.cli.recover_access import Access, repository_options
from kubedr_server.cli.recover_list import Choice, Listing, look, plain, table
from kubedr_server.cli.recover_members import read_members
from kubedr_server.contract import SNAPSHOT_FILE, RestoreResult
from kubedr_server.runner.log import one_line, size
from kubedr_server.runner.restore import restore
from kubedr_server.runner.restore_commands import Member, restore_commands
from kubedr_server.runner.run import Run
from kubedr_server.runner.settings import RepositorySettings, RestoreSettings, RunSettings

_SNAPSHOT_ID = re.compile(r"[0-9a-f]{8,64}")
_output = click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", help="What to print."
)


@click.group()
def recover() -> None:
    """Bring a backup back without a cluster: with the bucket, its keys and the repository's password.

    Secrets are read from files, or asked for at the terminal. The programs restic and, to fetch, etcdutl are
    needed.
    """


@recover.command("list")
@repository_options
@click.option("--cluster", help="Only backups of this cluster: the uid of its namespace kube-system.")
@click.option("--policy", help="Only backups of this policy: its name, or <namespace>/<name>.")
@click.option("--newest", type=click.IntRange(min=1), help="Show so many at most; all if not given.")
@_output
def list_command(
    access: Access, cluster: str | None, policy: str | None, newest: int | None, output: str
) -> None:
    """List the repository's complete backups, the newest last.

    Nothing is written to the repository. The exit code is 0, or the runner's for what went wrong.
    """
    choice = Choice(cluster, policy, newest)

    async def work(repository: RepositorySettings, settings: RunSettings, context: Run) -> Listing:
        return await look(repository, settings, context, choice)

    listing = recover_run.run(access, sys.stderr, work)
    if output == "json":
        click.echo(json.dumps([plain(found) for found in listing.complete], indent=2))
    elif listing.complete:
        click.echo(table(listing.complete))
    if not listing.complete:
        click.echo("There is no complete backup of KubeDR here.", err=True)
    for found in listing.incomplete:
        why = one_line(found.why or "no reason is known")
        click.echo(f"Left out: {found.snapshot_id[:8]} is not a complete backup: {why}", err=True)
    if listing.older:
        click.echo(f"{listing.older} older ones are not shown", err=True)


@recover.command("fetch", short_help="Restore the files of one backup, and prove them.")
@click.argument("snapshot_id", metavar="SNAPSHOT-ID")
@repository_options
@click.option(
    "--to",
    "target",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="The directory to restore to: empty, or one that does not exist yet.",
)
@_output
def fetch_command(access: Access, snapshot_id: str, target: Path, output: str) -> None:
    """Restore the files of one backup, and prove that they are the ones that were backed up.

    SNAPSHOT-ID is at least the first eight digits of a snapshot's id, as 'kubedr recover list' shows it.
    There is no 'latest': in a repository that several clusters share, that may be another cluster's.

    The directory then holds all of the backup; if anything goes wrong, it holds nothing.
    """
    if not _SNAPSHOT_ID.fullmatch(snapshot_id):
        raise click.UsageError(
            f"'{snapshot_id}' is not a snapshot's id, which has 8 to 64 hexadecimal digits: "
            "choose one with 'kubedr recover list'."
        )
    directory = target.absolute()

    async def work(repository: RepositorySettings, settings: RunSettings, context: Run) -> RestoreResult:
        made = _make(directory)
        try:
            wanted = RestoreSettings(settings, repository, snapshot_id, directory)
            outcome = await restore(wanted, context)
        except BaseException:
            if made:
                with contextlib.suppress(OSError):
                    directory.rmdir()
            raise
        if outcome.restore is None:
            raise AssertionError("a restore that ends without a failure has a result")
        return outcome.restore

    result = recover_run.run(access, sys.stderr, work)
    if is_open_to_others(directory):
        click.echo(f"Warning: other users of this machine can read it: chmod 700 {directory}", err=True)
    if output == "json":
        click.echo(json.dumps({**result.to_wire(), "directory": str(directory)}, indent=2))
    else:
        click.echo(fetched_text(result, directory, read_members(directory)))


def _make(directory: Path) -> bool:
    """Make the target if there is none, for its owner alone; return whether it was made."""
    if directory.exists():
        return False
    directory.mkdir(parents=True, mode=0o700)
    return True


def is_open_to_others(directory: Path) -> bool:
    """Whether anyone but its owner can look into a directory."""
    return bool(directory.stat().st_mode & 0o077)


def fetched_text(result: RestoreResult, directory: Path, members: Sequence[Member]) -> str:
    """Return what was fetched, and the next step, for each member of the etcd that was backed up."""
    facts: dict[str, Any] = {
        "snapshot": result.snapshot_id,
        "revision": result.revision,
        "hash": f"{result.hash} (of etcdutl; the same as when it was backed up)",
        "files": f"{result.files_restored}, {size(result.bytes_restored)}",
        "directory": directory,
    }
    lines = [
        *(f"{name:<11}{value}" for name, value in facts.items()),
        "",
        "It holds the cluster's private keys and every Secret: keep it as safe as etcd itself.",
        "Next, as root on each control-plane node that had an etcd (docs/disaster-recovery.md has all steps;",
        "where names or addresses are others now, put the new ones):",
    ]
    token = f"restored-{result.snapshot_id[:8]}"
    for name, command in restore_commands(directory / SNAPSHOT_FILE, token, members):
        lines += ["", f"  # {name}", f"  {command}"]
    return "\n".join(lines)
