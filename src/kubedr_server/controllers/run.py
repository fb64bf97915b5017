"""A Job of ours with its pods, as gathered from the cluster."""

from collections.abc import Sequence
from dataclasses import dataclass

from kubedr_server.api.base import Condition
from kubedr_server.api.conditions import ConditionType, Reason
from kubedr_server.contract import Operation
from kubedr_server.controllers import conditions, jobs
from kubedr_server.controllers.cluster import OWNER, Cluster
from kubedr_server.controllers.decision import Object
from kubedr_server.controllers.jobs import Trouble
from kubedr_server.kube.cache import Key
from kubedr_server.kube.resources import JOBS, PODS

TROUBLES = frozenset({Reason.JOB_NOT_SCHEDULABLE, Reason.IMAGE_PULL_FAILED, Reason.POD_NOT_STARTED})
"""What a Job that has not ended can suffer from, as a condition's reason."""


@dataclass(frozen=True)
class Run:
    """A Job, and its pods with the newest last."""

    job: Object
    pods: tuple[Object, ...] = ()

    @property
    def name(self) -> str:
        """The Job's name."""
        return str(self.job["metadata"]["name"])

    @property
    def uid(self) -> str:
        """The Job's uid."""
        return str(self.job["metadata"]["uid"])


def runs_of(cluster: Cluster, owner_uid: str, operation: Operation) -> tuple[Run, ...]:
    """Return an owner's Jobs of one operation, by name, with their pods, as the caches know them."""
    return tuple(
        _with_pods(cluster, job) for job in cluster.by(JOBS, OWNER, owner_uid) if is_of(job, operation)
    )


def is_of(job: Object, operation: Operation) -> bool:
    """Whether a Job does this operation."""
    return jobs.operation(job) == operation.value


async def confirmed(cluster: Cluster, runs: Sequence[Run], name: str) -> tuple[Run, ...]:
    """Return the runs, with that of this name as the API server knows it, if it matters.

    Jobs and pods are watched apart: an ended Job may be known before its pod's end is. So when the
    cache has no result for it, the API server is asked before anyone says that there is none.
    """
    return tuple([await confirm(cluster, run) if run.name == name else run for run in runs])


async def confirm(cluster: Cluster, run: Run) -> Run:
    """Return a run with its pods as the API server knows them, if the result is missing."""
    if jobs.ended(run.job) is None or jobs.has_result(run.pods):
        return run
    found = await cluster.client.list(
        PODS,
        run.job["metadata"]["namespace"],
        label_selector=f"batch.kubernetes.io/controller-uid={run.uid}",
    )
    return Run(run.job, tuple(jobs.pods_of(run.job, found.items)) or run.pods)


def _with_pods(cluster: Cluster, job: Object) -> Run:
    return Run(job, tuple(jobs.pods_of(job, cluster.by(PODS, OWNER, job["metadata"]["uid"]))))


def trouble(run: Run, known: Sequence[Condition], type_: ConditionType) -> Trouble | None:
    """Return what keeps a Job that has not ended from getting on.

    When its deadline passes, its pods are deleted before it is said to have failed: in between, the
    trouble it was last seen in is all that is known.
    """
    return jobs.trouble(run.pods) if run.pods else remembered(known, type_, run.name)


def remembered(known: Sequence[Condition], type_: ConditionType, job: str) -> Trouble | None:
    """Return the trouble that a Job was last seen in, as a condition keeps it."""
    condition = conditions.find(known, type_)
    # A pod's name begins with its Job's: the condition may be about another Job.
    if condition is None or condition.reason not in TROUBLES or f" {job}-" not in condition.message:
        return None
    return Trouble(Reason(condition.reason), condition.message)


async def find_run(cluster: Cluster, key: Key) -> Run | None:
    """Return the Job of a name with its pods; None only if the API server has no such Job."""
    job = cluster.cached(JOBS, key) or await cluster.live(JOBS, key)
    return None if job is None else _with_pods(cluster, job)
