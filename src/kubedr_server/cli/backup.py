"""`kubedr backup`: a backup now, from the policy's CronJob, followed to its record."""

import asyncio
import json
import random
import sys
from enum import IntEnum
from pathlib import Path
from typing import Any

import click

from kubedr_server.api.metadata_backup_record import MetadataBackupRecord
from kubedr_server.cli.backup_follow import Follower, Outcome, UnknownOutcomeError
from kubedr_server.cli.backup_start import MayHaveStartedError, NotStartedError, Wish, start
from kubedr_server.cli.duration import duration
from kubedr_server.kube.client import Client
from kubedr_server.kube.errors import KubeError
from kubedr_server.kube.transport import ClientSettings
from kubedr_server.runner.log import size

Object = dict[str, Any]

_PATIENCE_SECONDS = 30.0
_BEYOND_DEADLINE_SECONDS = 120.0
"""What is waited for beyond the Job's own deadline, if no --timeout says otherwise."""


class ExitCode(IntEnum):
    """What `kubedr backup` tells a program."""

    SUCCEEDED = 0
    """The backup is stored, proven and recorded; without --wait: its Job was made."""

    FAILED = 1
    """The backup failed."""

    NOT_STARTED = 2
    """Nothing was started: the command line, a setting, or something that a backup needs is wrong."""

    UNKNOWN = 3
    """The outcome is not known in time. The backup may still succeed."""

    INTERRUPTED = 130
    """Ctrl-C. The backup goes on."""


@click.command()
@click.argument("policy")
@click.option(
    "-n",
    "--namespace",
    default="kubedr-system",
    show_default=True,
    envvar="KUBEDR_NAMESPACE",
    help="The policy's namespace.",
)
@click.option("--wait", is_flag=True, help="Show the backup's progress, and wait until it is recorded.")
@click.option(
    "--timeout",
    type=duration,
    metavar="DURATION",
    help="How long to wait, such as 10m; if not given, two minutes more than the policy lets a backup take.",
)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="What to print.")
@click.option(
    "--force", is_flag=True, help="Also while another backup runs, or though its location is not ready."
)
@click.option(
    "--kubeconfig",
    type=click.Path(dir_okay=False, path_type=Path),
    help="How to reach the API server; if not given, $KUBECONFIG, or ~/.kube/config.",
)
@click.option("--context", "kube_context", help="The kubeconfig's context; its current one if not given.")
def backup(
    policy: str,
    namespace: str,
    wait: bool,
    timeout: float | None,
    output: str,
    force: bool,
    kubeconfig: Path | None,
    kube_context: str | None,
) -> None:
    """Start a backup of POLICY now, as `kubectl create job --from=cronjob/POLICY-backup-cronjob` does.

    With --wait, what the pod does is shown on standard error, and the record on standard output.

    The exit code is 0 for a backup that is recorded (without --wait: started), 1 for one that failed, 2 if
    none was started, 3 if its outcome is not known in time.
    """
    as_json = output == "json"
    patience = min(_PATIENCE_SECONDS, timeout or _PATIENCE_SECONDS)
    wish = Wish(policy, namespace, force, patience)

    async def work() -> ExitCode:
        settings = ClientSettings(request_timeout=15.0)
        async with await Client.from_kubeconfig(kubeconfig, kube_context, settings=settings) as client:
            job = await _start(client, wish)
            if not wait:
                _print(_started(job, policy), _started_text(job, policy), as_json)
                return ExitCode.SUCCEEDED
            return await _follow(client, job, policy, timeout, as_json)

    try:
        code = asyncio.run(work())
    except (NotStartedError, KubeError) as error:
        click.echo(f"Error: {error}", err=True)
        code = ExitCode.NOT_STARTED
    except MayHaveStartedError as error:
        click.echo(f"Error: {error}", err=True)
        code = ExitCode.UNKNOWN
    except ValueError as error:  # a name that cannot be part of a request's path
        raise click.UsageError(str(error)) from error
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    sys.exit(code)


async def _start(client: Client, wish: Wish) -> Object:
    return await start(client, wish, _tell, random.Random())  # noqa: S311 - makes a name, guards nothing


async def _follow(client: Client, job: Object, policy: str, limit: float | None, as_json: bool) -> ExitCode:
    """Wait for the outcome and print it."""
    name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
    _tell(f"Started Job {name} in namespace {namespace}")
    deadline = float(job["spec"].get("activeDeadlineSeconds") or 3600)
    try:
        outcome = await Follower(client, job, policy, _tell).outcome(
            limit or deadline + _BEYOND_DEADLINE_SECONDS
        )
    except (UnknownOutcomeError, KubeError) as error:
        _print({**_started(job, policy), "outcome": "Unknown", "message": str(error)}, "", as_json)
        click.echo(f"Error: {error}", err=True)
        return ExitCode.UNKNOWN
    except asyncio.CancelledError:
        _tell(
            f"Not waited for any longer. The backup goes on as Job {name}: "
            f"kubectl -n {namespace} logs -f job/{name}"
        )
        raise
    _print({**_started(job, policy), **_ended(outcome)}, ended_text(outcome), as_json)
    if outcome.succeeded:
        return ExitCode.SUCCEEDED
    click.echo(f"Error: the backup failed ({outcome.reason}): {outcome.message}", err=True)
    return ExitCode.FAILED


def _started(job: Object, policy: str) -> Object:
    """Return what is known of a backup from its start."""
    metadata = job["metadata"]
    return {
        "policy": policy,
        "namespace": metadata["namespace"],
        "job": metadata["name"],
        "outcome": "Started",
    }


def _ended(outcome: Outcome) -> Object:
    """Return the outcome as plain data."""
    found: Object = {
        "outcome": "Succeeded" if outcome.succeeded else "Failed",
        "reason": str(outcome.reason),
        "message": outcome.message,
    }
    if outcome.record is None:
        return found
    record = MetadataBackupRecord.model_validate(outcome.record)
    status = record.status
    return {
        **found,
        "record": record.metadata.name,
        "snapshotId": status.full_snapshot_id or record.spec.snapshot_id,
        "revision": status.revision,
        "snapshotSize": status.snapshot_size,
        "dataStored": status.data_stored,
        "seconds": outcome.seconds,
    }


def _started_text(job: Object, policy: str) -> str:
    name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
    return (
        f"Started a backup of {policy}: Job {name} in namespace {namespace}\n"
        f"Follow it with: kubectl -n {namespace} logs -f job/{name}"
    )


def ended_text(outcome: Outcome) -> str:
    """Return the record for people; nothing for a failed backup, whose sentence is an error's."""
    if outcome.record is None:
        return ""
    found = _ended(outcome)
    lines = {"record": found["record"], "snapshot": found["snapshotId"], "revision": found["revision"]}
    if found["snapshotSize"] is not None:
        stored = f", {size(found['dataStored'])} of it new" if found["dataStored"] is not None else ""
        lines["size"] = size(found["snapshotSize"]) + stored
    if found["seconds"] is not None:
        lines["took"] = f"{found['seconds']:.0f} s"
    return "\n".join(f"{name:<10}{value}" for name, value in lines.items())


def _print(document: Object, text: str, as_json: bool) -> None:
    """Print the answer, and nothing else, on standard output."""
    if as_json:
        click.echo(json.dumps(document, indent=2))
    elif text:
        click.echo(text)


def _tell(line: str) -> None:
    click.echo(line, err=True)
