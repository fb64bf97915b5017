"""Chooses the right etcd member to take a snapshot from, and knows how old the snapshot may be.

A member that is a learner, or cut off from the others, serves an old snapshot without a word. So the run
first reads the revision through consensus (a linearizable read) at the very member that is then asked for
the snapshot: the member can only answer when it has caught up. And of members whose hashes differ, nobody
can tell which one holds the truth: nothing of them is called a backup.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from kubedr_server.api.conditions import Reason
from kubedr_server.runner import etcd_tls
from kubedr_server.runner.etcdctl import Etcdctl, json_list, json_object, why
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.log import one_line
from kubedr_server.runner.process import Finished
from kubedr_server.runner.settings import EtcdSettings
from kubedr_server.runner.together import together

Warn = Callable[[str], None]

_NOSPACE: Final = 1
_CORRUPT: Final = 2
_MAX_LAG: Final = 1000
"""Raft entries. The members are asked one after the other, and a busy cluster moves on meanwhile."""

_LEADER_TRIES: Final = 5
_LEADER_PAUSE_SECONDS: Final = 1.0
_HASH_TRIES: Final = 4
_HASH_PAUSE_SECONDS: Final = 0.5
_FIELD: Final = re.compile(r'^"(\w+)" : ([0-9]+)$', re.MULTILINE)


@dataclass(frozen=True)
class Member:
    """A member that a snapshot can be taken from. Sizes are of its file, in bytes."""

    endpoint: str
    version: str
    db_size: int
    db_size_in_use: int
    applied_index: int
    cluster_id: int
    keys: int = 0
    """How many keys it holds: only of the member that is chosen, which is asked."""


@dataclass(frozen=True)
class Chosen:
    """The member to back up from; `others` can be compared with it. `peers` is the cluster's member list."""

    member: Member
    minimum_revision: int
    others: tuple[Member, ...]
    peers: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class KeyHash:
    """etcd's own hash of all keys at a revision. Hashes compare only if the compact revisions are equal."""

    revision: int
    compact_revision: int
    hash: int


class Etcd:
    """One etcd cluster. `clock` returns the time in UTC."""

    def __init__(self, etcdctl: Etcdctl, settings: EtcdSettings, clock: Callable[[], datetime]) -> None:
        self._etcdctl = etcdctl
        self._settings = settings
        self._clock = clock

    async def choose(self, warn: Warn) -> Chosen:
        """Return a member that takes part in the consensus, and the revision it then has at least.

        RunFailureError: EtcdCorrupt, or the trouble of the last member that was tried.
        """
        members = await self.members(warn)
        for position, member in enumerate(members, start=1):
            try:
                async with together() as group:
                    group.create_task(self.check_alarms(member, warn))
                    reading = group.create_task(self.read(member))
                    peers = group.create_task(self._peers(member))
            except RunFailureError as failure:
                if position == len(members) or failure.reason is Reason.ETCD_CORRUPT:
                    raise
                warn(f"Not backed up from {member.endpoint}: {failure.message}")
            else:
                others = tuple(other for other in members if other is not member)
                revision, keys = reading.result()
                return Chosen(replace(member, keys=keys), revision, others, peers.result())
        raise RunFailureError(Reason.ETCD_UNREACHABLE, "No etcd endpoint is set: correct spec.etcdEndpoint.")

    async def members(self, warn: Warn) -> list[Member]:
        """Return the members that can be used, in the order of the settings.

        RunFailureError: EtcdTLSFailed, EtcdUnreachable (the first endpoint's trouble, if none can be
        used), EtcdUnhealthy (only learners, no leader, several clusters). What is left out is told.
        """
        reachable = await self._reachable(warn)
        finished = await self._status(reachable)
        usable: list[Member] = []
        problems: list[str] = []
        for item in json_list(finished):
            endpoint, status = str(item.get("Endpoint")), item.get("Status") or {}
            if status.get("isLearner"):
                problems.append(f"{endpoint} is a learner, which may lag behind")
            elif not status.get("leader"):
                problems.append(f"{endpoint} has no leader")
            else:
                usable.append(_member(endpoint, status))
        _check_one_cluster(usable)
        newest = max((member.applied_index for member in usable), default=0)
        for member in [each for each in usable if newest - each.applied_index > _MAX_LAG]:
            usable.remove(member)
            problems.append(f"{member.endpoint} is {newest - member.applied_index} raft entries behind")
        if not usable:
            if problems:
                raise RunFailureError(
                    Reason.ETCD_UNHEALTHY,
                    f"No member can be backed up: {'; '.join(problems)}. Look at 'etcdctl endpoint status'.",
                )
            raise self._etcdctl.refused(finished, "its status")
        for problem in problems:
            warn(f"Not backed up from: {problem}.")
        return usable

    async def check_alarms(self, member: Member, warn: Warn) -> None:
        """Refuse a corrupt cluster (EtcdCorrupt); warn of one that is full: it can still be read."""
        finished = await self._etcdctl.ask("alarm", "list", "--write-out=json", endpoints=[member.endpoint])
        if finished.returncode != 0:
            raise self._etcdctl.refused(finished, "its alarms")
        alarms = {int(item.get("alarm", 0)) for item in json_object(finished).get("alarms") or []}
        if _CORRUPT in alarms:
            raise RunFailureError(
                Reason.ETCD_CORRUPT,
                "etcd has raised its CORRUPT alarm: its members hold different data, so a backup could be "
                "of the wrong ones. Replace the bad member ('etcdctl alarm list' names it), then disarm the "
                "alarm.",
            )
        if _NOSPACE in alarms:
            warn(
                "etcd has raised its NOSPACE alarm: it takes no writes until it is compacted, "
                "defragmented and the alarm disarmed. It was backed up nevertheless."
            )

    async def read(self, member: Member) -> tuple[int, int]:
        """Return the cluster's revision and how many keys it has, read through consensus at this member."""
        finished = await self._etcdctl.ask(
            "get",
            "",
            "--from-key",
            "--count-only",
            "--consistency=l",
            # The only form in which etcdctl gives a count.
            "--write-out=fields",
            endpoints=[member.endpoint],
        )
        found = {name: int(number) for name, number in _FIELD.findall(finished.stdout)}
        if finished.returncode != 0 or not found.keys() >= {"Revision", "Count"}:
            raise self._etcdctl.refused(finished, "its revision")
        return found["Revision"], found["Count"]

    async def key_hash(self, chosen: Chosen, revision: int, warn: Warn) -> KeyHash | None:
        """Return the hash of all keys at a revision, after comparing it among the members that can be asked.

        None, with a warning, if the member backed up from does not give it. RunFailureError (EtcdCorrupt)
        if the hashes differ.
        """
        first = chosen.member.endpoint
        endpoints = [first, *(member.endpoint for member in chosen.others)]
        found: dict[str, KeyHash] = {}
        cause = ""
        for attempt in range(_HASH_TRIES):
            if attempt:
                # A follower has not got there yet, or a compaction has not reached all of them.
                await asyncio.sleep(_HASH_PAUSE_SECONDS)
            finished = await self._etcdctl.ask(
                "endpoint", "hashkv", f"--rev={revision}", "--write-out=json", endpoints=endpoints
            )
            found = {str(item.get("Endpoint")): _key_hash(item, revision) for item in json_list(finished)}
            cause = why(finished)
            if set(found) == set(endpoints) and len({each.compact_revision for each in found.values()}) == 1:
                break
        own = found.get(first)
        if own is None:
            warn(f"etcd at {first} did not give the hash of its keys ({cause}): members were not compared.")
            return None
        for endpoint in endpoints[1:]:
            other = found.get(endpoint)
            if other is None or other.compact_revision != own.compact_revision:
                warn(f"The keys of {endpoint} could not be compared with those of {first} at {revision}.")
            elif other.hash != own.hash:
                raise RunFailureError(
                    Reason.ETCD_CORRUPT,
                    f"The members {first} and {endpoint} hold different data at revision {revision} "
                    f"(HashKV {own.hash} and {other.hash}), so a backup could be of the wrong one. Find the "
                    "bad member ('etcdctl endpoint hashkv --cluster' and the log of etcd), and replace it.",
                )
        return own

    async def diagnose(self, endpoint: str, seconds: float = etcd_tls.PROBE_SECONDS) -> None:
        """Raise what hinders a connection to an endpoint, if anything does."""
        tls = None
        if self._settings.uses_tls:
            await asyncio.to_thread(etcd_tls.check_client_certificate, self._settings, self._clock())
            tls = await asyncio.to_thread(etcd_tls.context, self._settings)
        await etcd_tls.probe(endpoint, tls, seconds)

    async def _status(self, endpoints: list[str]) -> Finished:
        """Ask for the members' status; while none of them has a leader, wait for an election to end."""
        left = _LEADER_TRIES
        while True:
            finished = await self._etcdctl.ask("endpoint", "status", "--write-out=json", endpoints=endpoints)
            found = [item.get("Status") or {} for item in json_list(finished)]
            left -= 1
            if not left or not found or any(status.get("leader") for status in found):
                return finished
            await asyncio.sleep(_LEADER_PAUSE_SECONDS)

    async def _peers(self, member: Member) -> tuple[dict[str, Any], ...]:
        finished = await self._etcdctl.ask("member", "list", "--write-out=json", endpoints=[member.endpoint])
        if finished.returncode != 0:
            raise self._etcdctl.refused(finished, "its member list")
        return tuple(json_object(finished).get("members") or [])

    async def _reachable(self, warn: Warn) -> list[str]:
        tls = None
        if self._settings.uses_tls:
            expiry = await asyncio.to_thread(etcd_tls.check_client_certificate, self._settings, self._clock())
            if expiry is not None:
                warn(expiry)
            tls = await asyncio.to_thread(etcd_tls.context, self._settings)
        reachable: list[str] = []
        failures: list[RunFailureError] = []
        probes = [etcd_tls.probe(endpoint, tls) for endpoint in self._settings.endpoints]
        outcomes = await asyncio.gather(*probes, return_exceptions=True)
        for endpoint, outcome in zip(self._settings.endpoints, outcomes, strict=True):
            if outcome is None:
                reachable.append(endpoint)
            elif isinstance(outcome, RunFailureError):
                failures.append(outcome)
            else:
                raise outcome
        if not reachable:
            raise failures[0]
        for left_out in failures:
            warn(left_out.message)
        return reachable


def _member(endpoint: str, status: dict[str, Any]) -> Member:
    size = int(status.get("dbSize", 0))
    return Member(
        endpoint=endpoint,
        version=one_line(str(status.get("version", ""))),
        db_size=size,
        db_size_in_use=int(status.get("dbSizeInUse", size)),
        applied_index=int(status.get("raftAppliedIndex", 0)),
        cluster_id=int((status.get("header") or {}).get("cluster_id", 0)),
    )


def _check_one_cluster(members: list[Member]) -> None:
    clusters = {member.cluster_id: member.endpoint for member in members}
    if len(clusters) > 1:
        raise RunFailureError(
            Reason.ETCD_UNHEALTHY,
            f"The endpoints {' and '.join(clusters.values())} belong to different etcd clusters: "
            "spec.etcdEndpoint of the policy may name members of one cluster only.",
        )


def _key_hash(item: dict[str, Any], revision: int) -> KeyHash:
    answer = item.get("HashKV") or {}
    # etcd leaves numbers that are 0 out.
    return KeyHash(revision, int(answer.get("compact_revision", 0)), int(answer.get("hash", 0)))
