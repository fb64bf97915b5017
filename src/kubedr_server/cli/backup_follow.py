"""Following one backup until its outcome is told: the pod's troubles, its log, and what the server recorded.

The API server is asked once a second. That needs no connection that lasts, so that a lost one loses
nothing: the next question is answered by whichever API server is there, and the log goes on where it was.

The outcome is what KubeDR's server tells (the policy's status, the record), not what the Job says: a Job
can be gone a second after it has ended, and a backup without a record is one that nobody will find.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from kubedr_server.api.conditions import Reason
from kubedr_server.api.metadata_backup_policy import MetadataBackupPolicy, MetadataBackupPolicyStatus
from kubedr_server.api.names import label_value
from kubedr_server.contract import CONTAINER_NAME, Operation
from kubedr_server.controllers import jobs
from kubedr_server.controllers.settings import TOLD_ANNOTATION
from kubedr_server.kube import errors
from kubedr_server.kube.client import Client
from kubedr_server.kube.resources import JOBS, METADATA_BACKUP_POLICIES, METADATA_BACKUP_RECORDS, PODS
from kubedr_server.manifests.labels import Label
from kubedr_server.runner.log import one_line

POLL_SECONDS: Final = 1.0
TELL_SECONDS: Final = 60.0
"""How long after a Job's end its outcome may be recorded before we say that the server does not answer."""

Object = dict[str, Any]
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """How a backup ended. `record` is as the API server has it; a failed backup has none."""

    succeeded: bool
    message: str
    reason: str
    job: str
    record: Object | None = None
    seconds: float | None = None


class UnknownOutcomeError(Exception):
    """How the backup ends, or ended, is not known; the message says how far it was."""


@dataclass
class _Seen:
    """What was seen, and told, of the run so far."""

    job: Object
    pods: Sequence[Mapping[str, Any]] = ()
    gone: bool = False
    report: jobs.Report | None = None
    told_state: str = ""
    disconnected: bool = False
    without_log: bool = False
    log_lines: dict[str, int] = field(default_factory=dict)


class Follower:
    """Follows the Job of a backup. `tell` gets a line at a time: states, and the pod's log."""

    def __init__(
        self,
        client: Client,
        job: Object,
        policy: str,
        tell: Tell,
        *,
        poll_seconds: float = POLL_SECONDS,
        tell_seconds: float = TELL_SECONDS,
    ) -> None:
        self._client = client
        self._policy = policy
        self._tell = tell
        self._poll_seconds = poll_seconds
        self._tell_seconds = tell_seconds
        self._namespace: str = job["metadata"]["namespace"]
        self._name: str = job["metadata"]["name"]
        self._uid: str = job["metadata"]["uid"]
        self._seen = _Seen(job)

    async def outcome(self, timeout_seconds: float) -> Outcome:
        """Return the outcome, once it is told.

        Raises UnknownOutcomeError if it is not in time, and a KubeError that time does not mend.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        ended_at: float | None = None
        while True:
            try:
                told = await self._step()
                self._reconnected()
            except errors.Transient as error:
                told = None
                self._disconnected(error)
            if told is not None:
                return told
            now = loop.time()
            if ended_at is None and (self._seen.report is not None or self._seen.gone):
                ended_at = now
            if ended_at is not None and now >= min(ended_at + self._tell_seconds, deadline):
                raise UnknownOutcomeError(self._not_told())
            if now >= deadline:
                raise UnknownOutcomeError(self._not_done(timeout_seconds))
            await asyncio.sleep(min(self._poll_seconds, max(0.0, deadline - now)))

    async def _step(self) -> Outcome | None:
        """Look at everything once; return the outcome if it is told."""
        seen = self._seen
        if not seen.gone:
            await self._look()
        if seen.report is None and not seen.gone:
            return None
        if not seen.gone and TOLD_ANNOTATION not in (seen.job["metadata"].get("annotations") or {}):
            return None
        return await self._told()

    async def _look(self) -> None:
        seen = self._seen
        try:
            job = await self._client.get(JOBS, self._namespace, self._name)
        except errors.NotFound:
            seen.gone = True
            return
        if job["metadata"]["uid"] != self._uid:
            seen.gone = True
            return
        # The Job was read before its pods: where it has ended, their ends are there to be read.
        found = await self._client.list(
            PODS, self._namespace, label_selector=f"batch.kubernetes.io/controller-uid={self._uid}"
        )
        seen.job, seen.pods = job, jobs.pods_of(job, found.items) or seen.pods
        self._show_state()
        await self._show_log()
        if jobs.ended(job) is not None:
            seen.report = jobs.report(job, seen.pods, Operation.BACKUP, jobs.trouble(seen.pods))

    def _show_state(self) -> None:
        seen = self._seen
        trouble = jobs.trouble(seen.pods)
        if trouble is not None:
            state = f"Waiting: {trouble.message}"
        elif not seen.pods:
            state = "Waiting for the Job's pod"
        else:
            state = _phase(seen.pods[-1])
        if state != seen.told_state and jobs.ended(seen.job) is None:
            self._tell(state)
            seen.told_state = state

    async def _show_log(self) -> None:
        """Tell the lines of the newest pod's log that were not told yet."""
        if not self._seen.pods or not _has_started(self._seen.pods[-1]):
            return
        pod = self._seen.pods[-1]
        uid, name = pod["metadata"]["uid"], pod["metadata"]["name"]
        shown = self._seen.log_lines.setdefault(uid, 0)
        try:
            text = await self._client.pod_log(self._namespace, name, CONTAINER_NAME)
        except errors.KubeError as error:
            # No permission, a pod that has just gone, a node that does not answer: the outcome does not
            # depend on it.
            self._no_log(error)
            return
        # A line that is still being written has no line feed yet.
        lines = text.split("\n")[:-1]
        for line in lines[shown:]:
            self._tell(f"  {one_line(line)}")
        self._seen.log_lines[uid] = max(shown, len(lines))

    def _no_log(self, error: errors.KubeError) -> None:
        if not isinstance(error, errors.BadRequest) and not self._seen.without_log:
            self._seen.without_log = True
            self._tell(f"The pod's log cannot be shown: {error.message}")

    async def _told(self) -> Outcome | None:
        """Return the outcome as KubeDR's server recorded it, if it did."""
        record = await self._record()
        report = self._seen.report
        if record is not None:
            message = report.message if report is not None else "the backup is recorded"
            return Outcome(True, message, Reason.SUCCEEDED, self._name, record, self._seconds())
        status = await self._policy_status()
        if status is not None and status.last_job == self._uid and status.backup_status == "Failed":
            reason = report.reason if report is not None else "Failed"
            return Outcome(False, status.backup_error_message or "no reason is given", reason, self._name)
        if report is not None and not report.succeeded and not self._seen.gone:
            # It is told, and a later backup has had its outcome told since.
            return Outcome(False, report.message, report.reason, self._name)
        return None

    async def _policy_status(self) -> MetadataBackupPolicyStatus | None:
        try:
            raw = await self._client.get(METADATA_BACKUP_POLICIES, self._namespace, self._policy)
        except errors.NotFound:  # deleted meanwhile
            return None
        return MetadataBackupPolicy.model_validate(raw).status

    async def _record(self) -> Object | None:
        """Return this run's record, if there is one and its status is written."""
        selector = f"{Label.POLICY.value}={label_value(self._policy)}"
        found = await self._client.list(METADATA_BACKUP_RECORDS, self._namespace, label_selector=selector)
        mine = (each for each in found.items if (each.get("status") or {}).get("runId") == self._uid)
        return next(mine, None)

    def _seconds(self) -> float | None:
        """Return how long the runner worked, by its own clock."""
        result = self._seen.report.result if self._seen.report is not None else None
        if result is None:
            return None
        return (result.completion_time - result.start_time).total_seconds()

    def _disconnected(self, error: errors.Transient) -> None:
        if not self._seen.disconnected:
            self._tell(f"The API server cannot be asked, trying on: {error}")
        self._seen.disconnected = True

    def _reconnected(self) -> None:
        if self._seen.disconnected:
            self._tell("The API server answers again")
        self._seen.disconnected = False

    def _not_told(self) -> str:
        """Say that the run has ended and that nobody recorded it."""
        report = self._seen.report
        if report is not None:
            how = f"The backup has ended, and KubeDR's server has not recorded its outcome: {report.message}"
        else:
            how = f"Job {self._name} was deleted before its end was seen, and no outcome of it is recorded."
        return (
            f"{how}\nDoes the server run? Once it does, it records what has ended meanwhile: "
            f"kubectl -n {self._namespace} get metadatabackuprecords"
        )

    def _not_done(self, timeout_seconds: float) -> str:
        state = self._seen.told_state or "Nothing is known of its pod"
        return (
            f"The backup was not done within {timeout_seconds:g} s and goes on as Job {self._name}. {state}. "
            f"Follow it with: kubectl -n {self._namespace} logs -f job/{self._name}"
        )


def _has_started(pod: Mapping[str, Any]) -> bool:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return any(
        "running" in state or "terminated" in state for state in (s.get("state") or {} for s in statuses)
    )


def _phase(pod: Mapping[str, Any]) -> str:
    name, node = pod["metadata"]["name"], (pod.get("spec") or {}).get("nodeName")
    if not node:
        return f"Waiting for a node for pod {name}"
    doing = "runs on" if _has_started(pod) else "is being started on"
    return f"Pod {name} {doing} {node}"
