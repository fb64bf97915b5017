"""Whose turn it is at a repository: of the Jobs that need it to themselves, one begins after the other ends.

Different reconcilers make them, and the cache hears of a Job a moment after it was made. restic's own lock
would keep most of them apart all the same, but a Job that waits for it holds a pod, and may give up.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final, TypeGuard

from kubedr_server.contract import Env, Operation
from kubedr_server.controllers import jobs
from kubedr_server.controllers.cluster import REPOSITORY, Cluster
from kubedr_server.controllers.decision import Create, Write
from kubedr_server.kube.cache import Key
from kubedr_server.kube.resources import JOBS

_EXCLUSIVE: Final = frozenset({Operation.FORGET.value, Operation.PRUNE.value, Operation.INIT.value})
"""What takes the repository's exclusive lock, and what makes the repository: two at once can spoil it."""


class Turns:
    """Keeps the Jobs apart that need a repository to themselves."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._begun: dict[str, Key] = {}
        """By a repository: the last Job that was made, which the cache may not know yet."""

        self._beginning: dict[str, str] = {}
        """By a repository: the Job that is being made right now."""

    async def taken(self, repository: str, besides: str = "") -> str | None:
        """Return the Job that has a repository to itself, other than `besides`.

        Between this and `beginning` nothing may be awaited.
        """
        cluster, seen, made = self._cluster, None, None
        while (begun := self._begun.get(repository)) is not None and begun != seen:
            seen, made = begun, await cluster.fresh(JOBS, begun)
        if self._beginning.get(repository, besides) != besides:
            return self._beginning[repository]
        for job in [*cluster.by(JOBS, REPOSITORY, repository), *([] if made is None else [made])]:
            name = str(job["metadata"]["name"])
            if jobs.operation(job) in _EXCLUSIVE and name != besides and jobs.ended(job) is None:
                return name
        return None

    @contextmanager
    def beginning(self, writes: Iterable[Write]) -> Iterator[None]:
        """Let everyone who asks meanwhile know of the Job that is made, if one is that needs its turn."""
        job = next((write.object for write in writes if _needs_turn(write)), None)
        repository = jobs.setting(job, Env.REPOSITORY) if job is not None else None
        if job is None or repository is None:
            yield
            return
        key = Key(job["metadata"]["namespace"], job["metadata"]["name"])
        self._beginning[repository], self._begun[repository] = key.name, key
        try:
            yield
        finally:
            self._beginning.pop(repository, None)


def _needs_turn(write: Write) -> TypeGuard[Create]:
    return isinstance(write, Create) and write.resource is JOBS and jobs.operation(write.object) in _EXCLUSIVE
