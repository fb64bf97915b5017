"""Starting a backup by hand: what has to be there first, and what to do where it is not.

An obstacle that KubeDR's server may be removing right now (a policy that was applied a second ago has no
CronJob yet) is waited for a little. One that somebody may know better about can be overruled; one that
would make it another thing than a backup of this policy cannot.
"""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubedr_server.api.backup_location import BackupLocation
from kubedr_server.api.base import Condition
from kubedr_server.api.conditions import ConditionType, Reason
from kubedr_server.api.metadata_backup_policy import MetadataBackupPolicy
from kubedr_server.api.names import backup_cronjob_name, label_value
from kubedr_server.cli.backup_job import job_from, new_name
from kubedr_server.controllers import jobs
from kubedr_server.controllers.conditions import find
from kubedr_server.controllers.policy.cronjob import foreign_owner
from kubedr_server.kube import errors
from kubedr_server.kube.client import Client
from kubedr_server.kube.resources import BACKUP_LOCATIONS, CRONJOBS, JOBS, METADATA_BACKUP_POLICIES
from kubedr_server.manifests.labels import Label

_POLL_SECONDS = 0.5
_ATTEMPTS = 5

Object = dict[str, Any]
Tell = Callable[[str], None]


class NotStartedError(Exception):
    """No backup was started; the message says why, and what to do next."""


class MayHaveStartedError(Exception):
    """The API server went away while it was asked to make the Job; the message says how to find out."""


@dataclass(frozen=True)
class Wish:
    """Which policy is to be backed up, and how much is put up with. `force` overrules what can be."""

    policy: str
    namespace: str
    force: bool = False
    patience_seconds: float = 30.0
    """How long KubeDR's server is waited for, while it may be making what is not there yet."""


@dataclass(frozen=True)
class View:
    """What a backup depends on, as the API server has it now."""

    policy: MetadataBackupPolicy
    cronjob: Object | None
    location: BackupLocation | None
    active: Sequence[Mapping[str, Any]] = ()
    """The CronJob's Jobs that have not ended."""


@dataclass(frozen=True)
class Obstacle:
    """Why no backup can be started. `passing`: the server may be at it; `yields`: it can be overruled."""

    message: str
    passing: bool = False
    yields: bool = False


async def start(client: Client, wish: Wish, tell: Tell, rng: random.Random) -> Object:
    """Make the Job of a backup and return it, as the API server has it.

    Raises NotStartedError if something is not there or not ready, KubeError if the API server does not
    allow it or cannot be reached, MayHaveStartedError if that happened in the very moment.
    """
    view = await _ready_view(client, wish, tell)
    if view.cronjob is None:
        raise AssertionError("a policy without a CronJob is an obstacle that does not yield")
    return await _create(client, view.cronjob, wish.policy, rng)


def obstacle(view: View) -> Obstacle | None:
    """Return the first thing that stands in the way of a backup, or None."""
    return _unusable(view) or _unready(view) or _running(view)


def _unusable(view: View) -> Obstacle | None:
    """Return why there is no CronJob to make a Job from."""
    policy, name = view.policy, view.policy.metadata.name
    if policy.metadata.deletion_timestamp is not None:
        return Obstacle(f"MetadataBackupPolicy {name} is being deleted")
    if view.cronjob is not None:
        owner = foreign_owner(view.cronjob, policy)
        if owner is None:
            return None
        cronjob = view.cronjob["metadata"]["name"]
        return Obstacle(
            f"CronJob {cronjob} belongs to {owner}, not to the policy: rename the policy, or delete the "
            "CronJob"
        )
    if not _is_observed(policy):
        return Obstacle(_not_looked_at(policy), passing=True)
    scheduled = find(policy.status.conditions, ConditionType.SCHEDULED)
    if scheduled is not None and scheduled.status != "True":
        return Obstacle(f"the policy has no CronJob: {scheduled.message}", passing=view.location is not None)
    return Obstacle(
        f"CronJob {backup_cronjob_name(name)} of the policy does not exist, and KubeDR's server has not made "
        "it again: see whether the server runs, and its log",
        passing=True,
    )


def _unready(view: View) -> Obstacle | None:
    """Return why a backup would not be what the spec says, or would surely fail."""
    policy = view.policy
    if not _is_observed(policy):
        return Obstacle(_not_looked_at(policy), passing=True, yields=True)
    destination = policy.spec.destination
    if view.location is None:
        return Obstacle(
            f"BackupLocation {destination}, the policy's destination, does not exist: create it, or correct "
            "spec.destination"
        )
    ready = find(view.location.status.conditions, ConditionType.READY)
    if ready is not None and ready.status == "True":
        return None
    return Obstacle(
        f"BackupLocation {destination} is not ready: {_why(ready)}", passing=_may_become(ready), yields=True
    )


def _running(view: View) -> Obstacle | None:
    if not view.active:
        return None
    metadata = view.active[-1]["metadata"]
    name, namespace = metadata["name"], metadata["namespace"]
    return Obstacle(
        f"a backup of the policy is running already: Job {name}, since {metadata.get('creationTimestamp')}. "
        f"See it with `kubectl -n {namespace} logs -f job/{name}`, and start another one when it has ended",
        yields=True,
    )


def _is_observed(policy: MetadataBackupPolicy) -> bool:
    observed = policy.status.observed_generation
    return observed is not None and observed >= policy.metadata.generation


def _not_looked_at(policy: MetadataBackupPolicy) -> str:
    what = "it" if policy.status.observed_generation is None else "its newest change"
    return (
        f"KubeDR's server has not looked at MetadataBackupPolicy {policy.metadata.name} since {what} was "
        "applied: does it run, and does it watch this namespace?"
    )


def _why(ready: Condition | None) -> str:
    return ready.message if ready is not None else "KubeDR's server has not looked at it yet"


def _may_become(ready: Condition | None) -> bool:
    return ready is None or ready.reason in {Reason.IN_PROGRESS, Reason.PENDING}


async def _ready_view(client: Client, wish: Wish, tell: Tell) -> View:
    """Return the state with nothing in the way of a backup, after a little patience."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wish.patience_seconds
    told = ""
    while True:
        view = await _look(client, wish)
        found = obstacle(view)
        if found is None:
            return view
        if found.yields and wish.force:
            tell(f"warning: {found.message} (going on: --force)")
            return view
        left = deadline - loop.time()
        if not found.passing or left <= 0:
            advice = "\nTo start one all the same: --force" if found.yields else ""
            raise NotStartedError(f"No backup of {wish.policy} was started: {found.message}{advice}")
        if found.message != told:
            tell(f"Waiting up to {wish.patience_seconds:g} s: {found.message}")
            told = found.message
        await asyncio.sleep(min(_POLL_SECONDS, left))


async def _look(client: Client, wish: Wish) -> View:
    try:
        raw = await client.get(METADATA_BACKUP_POLICIES, wish.namespace, wish.policy)
    except errors.NotFound:
        raise NotStartedError(await _no_policy(client, wish)) from None
    policy = MetadataBackupPolicy.model_validate(raw)
    cronjob = await _find(client, CRONJOBS, wish.namespace, backup_cronjob_name(wish.policy))
    location = await _find(client, BACKUP_LOCATIONS, wish.namespace, policy.spec.destination)
    return View(
        policy,
        cronjob,
        BackupLocation.model_validate(location) if location is not None else None,
        await _active(client, cronjob, wish) if cronjob is not None else (),
    )


async def _find(client: Client, resource: Any, namespace: str, name: str) -> Object | None:
    try:
        return await client.get(resource, namespace, name)
    except errors.NotFound:
        return None


async def _active(client: Client, cronjob: Object, wish: Wish) -> list[Object]:
    """Return the CronJob's Jobs that have not ended, the newest last."""
    selector = f"{Label.POLICY.value}={label_value(wish.policy)}"
    found = await client.list(JOBS, wish.namespace, label_selector=selector)
    uid = cronjob["metadata"]["uid"]
    mine = [
        job
        for job in found.items
        if jobs.ended(job) is None
        and any(owner.get("uid") == uid for owner in job["metadata"].get("ownerReferences") or ())
    ]
    return sorted(mine, key=lambda job: str(job["metadata"].get("creationTimestamp", "")))


async def _no_policy(client: Client, wish: Wish) -> str:
    """Return the sentence for a policy that does not exist, with what there is instead."""
    text = (
        f"No backup was started: there is no MetadataBackupPolicy {wish.policy} in namespace {wish.namespace}"
    )
    try:
        found = (await client.list(METADATA_BACKUP_POLICIES)).items
    except errors.NotFound:
        return f"{text}, and the API server does not know this kind: is KubeDR installed in this cluster?"
    except errors.Forbidden:
        return f"{text}; give its namespace with -n"
    elsewhere = [each for each in found if each["metadata"]["name"] == wish.policy]
    if elsewhere:
        return f"{text}; there is one with -n {elsewhere[0]['metadata']['namespace']}"
    here = sorted(
        each["metadata"]["name"] for each in found if each["metadata"]["namespace"] == wish.namespace
    )
    return f"{text}; there {'is ' + ', '.join(here) if here else 'is none'}"


async def _create(client: Client, cronjob: Object, policy: str, rng: random.Random) -> Object:
    """Create the Job, once, also where an answer is lost on its way."""
    name = new_name(policy, rng)
    unsure = False
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return await client.create(JOBS, job_from(cronjob, name))
        except errors.AlreadyExists:
            if unsure:
                return await client.get(JOBS, cronjob["metadata"]["namespace"], name)
            name = new_name(policy, rng)
        except (errors.Unreachable, errors.ServerTimeout) as error:
            if attempt == _ATTEMPTS:
                namespace = cronjob["metadata"]["namespace"]
                raise MayHaveStartedError(
                    f"The API server does not answer ({error.message}), and a backup may have been started: "
                    f"look for it with `kubectl -n {namespace} get job {name}`"
                ) from error
            unsure = True
            await asyncio.sleep(_POLL_SECONDS * attempt)
    raise NotStartedError(f"No backup of {policy} was started: no free name for its Job was found; try again")
