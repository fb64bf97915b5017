"""Takes a snapshot from the right etcd member, and knows how old it may be.

A member that is a learner, or cut off from the others, serves an old snapshot without a word. So the run
first reads the revision through consensus (a linearizable read) at the very member that is then asked for
the snapshot: the member can only answer when it has caught up.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from kubedr_server.api.conditions import Reason
from kubedr_server.runner import etcd_tls
from kubedr_server.runner.failure import RunFailureError
from kubedr_server.runner.log import Log, one_line, size
from kubedr_server.runner.process import Finished, run
from kubedr_server.runner.programs import Program
from kubedr_server.runner.settings import EtcdSettings

_COMMAND_SECONDS = 10
_STALL_SECONDS = 60.0
_WATCH_SECONDS = 5.0
_NOSPACE = 1
_CORRUPT = 2


@dataclass(frozen=True)
class Member:
    """A member that a snapshot can be taken from. `db_size` is its file's size in bytes."""

    endpoint: str
    version: str
    db_size: int
    applied_index: int


class Etcd:
    """One etcd cluster. `directory` is private scratch space for the program's own files."""

    def __init__(
        self,
        program: Program,
        settings: EtcdSettings,
        directory: Path,
        search_path: str,
        log: Log,
        clock: Callable[[], datetime],
    ) -> None:
        self._program = program
        self._settings = settings
        self._env = {"PATH": search_path, "HOME": str(directory), "TMPDIR": str(directory)}
        self._log = log
        self._clock = clock

    async def members(self, warn: Callable[[str], None]) -> list[Member]:
        """Return the members that can be used, the one that has applied most first.

        RunFailureError: EtcdTLSFailed, EtcdUnreachable (the first endpoint's trouble, if none can be
        used), EtcdUnhealthy (only learners, or no leader). What is left out is told through `warn`.
        """
        reachable = await self._reachable(warn)
        finished = await self._etcdctl("endpoint", "status", "--write-out=json", endpoints=reachable)
        usable: list[Member] = []
        problems: list[str] = []
        for item in _json(finished, list) or []:
            endpoint, status = str(item.get("Endpoint")), item.get("Status") or {}
            if status.get("isLearner"):
                problems.append(f"{endpoint} is a learner, which may lag behind")
            elif not status.get("leader"):
                problems.append(f"{endpoint} has no leader")
            else:
                usable.append(
                    Member(
                        endpoint=endpoint,
                        version=str(status.get("version", "")),
                        db_size=int(status.get("dbSize", 0)),
                        applied_index=int(status.get("raftAppliedIndex", 0)),
                    )
                )
        if not usable:
            if problems:
                raise RunFailureError(
                    Reason.ETCD_UNHEALTHY,
                    f"No member can be backed up: {'; '.join(problems)}. Look at 'etcdctl endpoint status'.",
                )
            raise self._refused(finished, "its status")
        for problem in problems:
            warn(f"Not backed up from: {problem}.")
        return sorted(usable, key=lambda member: -member.applied_index)

    async def check_alarms(self, member: Member, warn: Callable[[str], None]) -> None:
        """Refuse a corrupt cluster (EtcdUnhealthy); warn of one that is full: it can still be read."""
        finished = await self._etcdctl("alarm", "list", "--write-out=json", endpoints=[member.endpoint])
        if finished.returncode != 0:
            raise self._refused(finished, "its alarms")
        alarms = {int(item.get("alarm", 0)) for item in (_json(finished, dict) or {}).get("alarms") or []}
        if _CORRUPT in alarms:
            raise RunFailureError(
                Reason.ETCD_UNHEALTHY,
                "etcd has raised its CORRUPT alarm: its members hold different data, so a backup could be "
                "of the "
                "wrong ones. Replace the bad member ('etcdctl alarm list' names it), then disarm the alarm.",
            )
        if _NOSPACE in alarms:
            warn(
                "etcd has raised its NOSPACE alarm: it takes no writes until it is compacted, "
                "defragmented and "
                "the alarm disarmed. It was backed up nevertheless."
            )

    async def revision(self, member: Member) -> int:
        """Return the cluster's revision, read through consensus at this member."""
        finished = await self._etcdctl(
            "get",
            "kubedr",
            "--consistency=l",
            "--keys-only",
            "--write-out=json",
            endpoints=[member.endpoint],
        )
        if finished.returncode != 0:
            raise self._refused(finished, "its revision")
        header = (_json(finished, dict) or {}).get("header") or {}
        return int(header.get("revision", 0))

    async def save(self, member: Member, path: Path, stall_seconds: float = _STALL_SECONDS) -> None:
        """Write a snapshot to `path`; ended (EtcdSnapshotFailed) if nothing comes for `stall_seconds`."""
        saving = asyncio.ensure_future(self._save(member, path))
        watching = asyncio.ensure_future(self._watch(path, member.db_size, stall_seconds))
        try:
            done, _ = await asyncio.wait({saving, watching}, return_when=asyncio.FIRST_COMPLETED)
            if saving not in done:
                raise RunFailureError(
                    Reason.ETCD_SNAPSHOT_FAILED,
                    f"The snapshot from {member.endpoint} stopped: nothing came for {stall_seconds:.0f} "
                    "seconds. "
                    "Look at etcd's log and its disk.",
                )
            saving.result()
        finally:
            for task in (saving, watching):
                task.cancel()
            await asyncio.gather(saving, watching, return_exceptions=True)

    async def _save(self, member: Member, path: Path) -> None:
        finished = await self._etcdctl("snapshot", "save", str(path), endpoints=[member.endpoint])
        if finished.returncode == 0:
            return
        if "no space left on device" in finished.stderr:
            raise RunFailureError(
                Reason.DISK_FULL,
                f"The snapshot of {size(member.db_size)} does not fit into {path.parent}: make room there.",
            )
        raise RunFailureError(
            Reason.ETCD_SNAPSHOT_FAILED,
            f"etcd at {member.endpoint} did not give a snapshot: {_why(finished)}. Look at etcd's log.",
        )

    async def _watch(self, path: Path, expected: int, stall_seconds: float) -> None:
        """Report progress; return when the file has not grown for `stall_seconds`."""
        partial = path.with_name(path.name + ".part")
        loop = asyncio.get_running_loop()
        last, since = -1, loop.time()
        pause = min(_WATCH_SECONDS, stall_seconds / 4)
        while loop.time() - since < stall_seconds:
            await asyncio.sleep(pause)
            there = next((file for file in (partial, path) if file.exists()), None)
            now = there.stat().st_size if there else 0
            if now != last:
                last, since = now, loop.time()
                self._log.tell(f"received {size(now)} of about {size(expected)}")

    async def _reachable(self, warn: Callable[[str], None]) -> list[str]:
        tls = None
        if self._settings.uses_tls:
            expiry = await asyncio.to_thread(etcd_tls.check_client_certificate, self._settings, self._clock())
            if expiry is not None:
                warn(expiry)
            tls = await asyncio.to_thread(etcd_tls.context, self._settings)
        reachable: list[str] = []
        failures: list[RunFailureError] = []
        for endpoint in self._settings.endpoints:
            try:
                await etcd_tls.probe(endpoint, tls)
                reachable.append(endpoint)
            except RunFailureError as failure:
                failures.append(failure)
        if not reachable:
            raise failures[0]
        for left_out in failures:
            warn(left_out.message)
        return reachable

    async def _etcdctl(self, *arguments: str, endpoints: list[str]) -> Finished:
        tls: list[str] = []
        if self._settings.uses_tls:
            tls = [
                f"--cacert={self._settings.ca_file}",
                f"--cert={self._settings.certificate_file}",
                f"--key={self._settings.key_file}",
            ]
        return await run(
            [
                self._program.path,
                f"--endpoints={','.join(endpoints)}",
                f"--dial-timeout={_COMMAND_SECONDS}s",
                f"--command-timeout={_COMMAND_SECONDS}s",
                *tls,
                *arguments,
            ],
            env=self._env,
        )

    def _refused(self, finished: Finished, what: str) -> RunFailureError:
        why = _why(finished)
        endpoints = ", ".join(self._settings.endpoints)
        if "user name is empty" in why or "permission denied" in why or "auth" in why:
            return RunFailureError(
                Reason.ETCD_UNHEALTHY,
                f"etcd at {endpoints} does not give {what}: {why}. Its users are turned on: the client "
                "certificate's common name has to be a user with the role root.",
            )
        return RunFailureError(
            Reason.ETCD_UNHEALTHY,
            f"etcd at {endpoints} answers, and does not give {what}: {why}. Has it lost its quorum? Look at "
            "'etcdctl endpoint health --cluster'.",
        )


def _why(finished: Finished) -> str:
    """Return the cause among etcdctl's words: the innermost error of its log lines, or the last line."""
    for line in reversed(finished.stderr.splitlines()):
        try:
            error = json.loads(line).get("error") if line.startswith("{") else None
        except ValueError:
            error = None
        if error:
            return one_line(str(error))[-300:]
    return one_line(finished.last_words)[:300]


def _json(finished: Finished, kind: type[Any]) -> Any:
    try:
        value = json.loads(finished.stdout)
    except ValueError:
        return None
    return value if isinstance(value, kind) else None
