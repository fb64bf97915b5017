"""The CronJob controller: makes a Job at each scheduled time, and keeps the last few to look at."""

import copy
from datetime import datetime, timedelta
from typing import Any

from kubedr_server.api import cron_times
from kubedr_server.api.cron_times import Next
from kubedr_server.kube.cache import Key
from kubedr_server.kube.client import Client
from kubedr_server.kube.errors import AlreadyExists, KubeError, NamespaceTerminating, NotFound
from kubedr_server.kube.resources import CRONJOBS, JOBS
from kubedr_server.local.executor import job_status, schedule
from kubedr_server.local.executor.events import Record
from kubedr_server.local.executor.objects import (
    Clock,
    Object,
    controller_of,
    controller_reference,
    has_condition,
    is_deleted,
    moment,
    name_of,
    namespace_of,
    stamp,
    uid_of,
)

SCHEDULED_AT = "batch.kubernetes.io/cronjob-scheduled-timestamp"
_TOO_MANY = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
_FORBIDDEN = "Not starting job because prior execution is running and concurrency policy is Forbid"


class CronJobController:
    """Reconciles CronJobs. It reads CronJob and Jobs from the API each time: see `loop`."""

    def __init__(self, client: Client, record: Record, clock: Clock) -> None:
        self._client = client
        self._record = record
        self._clock = clock

    async def reconcile(self, key: Key) -> timedelta | None:
        """Start what is due, and return how long it is until the next time."""
        try:
            cronjob = await self._client.get(CRONJOBS, key.namespace, key.name)
        except NotFound:
            return None
        jobs = await self._jobs_of(cronjob)
        status: dict[str, Any] = copy.deepcopy(cronjob.get("status") or {})
        await self._review(cronjob, status, jobs)
        again: timedelta | None = None
        try:
            if not is_deleted(cronjob):
                again = await self._schedule(cronjob, status, jobs)
        finally:
            # What was started must be told even if the next step failed.
            await self._write_status(cronjob, status)
        await self._clean_up(cronjob, jobs)
        return again

    async def _jobs_of(self, cronjob: Object) -> list[Object]:
        found = await self._client.list(JOBS, namespace_of(cronjob))
        return [job for job in found.items if (controller_of(job) or {}).get("uid") == uid_of(cronjob)]

    async def _write_status(self, cronjob: Object, status: dict[str, Any]) -> None:
        if not status.get("active"):
            status.pop("active", None)
        if status != (cronjob.get("status") or {}):
            await self._client.replace(CRONJOBS, {**cronjob, "status": status}, subresource="status")

    async def _review(self, cronjob: Object, status: dict[str, Any], jobs: list[Object]) -> None:
        """Compare the list of active Jobs with the Jobs that there are."""
        active = {reference["uid"]: reference for reference in status.get("active") or []}
        for job in jobs:
            uid, name = uid_of(job), name_of(job)
            if not job_status.is_finished(job):
                if uid not in active and SCHEDULED_AT in (job["metadata"].get("annotations") or {}):
                    # Made before a crash that came before it was written down.
                    active[uid] = _reference(job)
                elif uid not in active:
                    message = f"Saw a job that the controller did not create or forgot: {name}"
                    self._record(cronjob, "Warning", "UnexpectedJob", message)
                continue
            complete = has_condition(job, "Complete")
            if active.pop(uid, None):
                condition = "Complete" if complete else "Failed"
                message = f"Saw completed job: {name}, condition: {condition}"
                self._record(cronjob, "Normal", "SawCompletedJob", message)
            if complete and (ended := moment(job["status"].get("completionTime"))):
                latest = moment(status.get("lastSuccessfulTime"))
                if latest is None or ended > latest:
                    status["lastSuccessfulTime"] = stamp(ended)
        present = {uid_of(job) for job in jobs}
        for uid in [uid for uid in active if uid not in present]:
            message = f"Active job went missing: {active.pop(uid)['name']}"
            self._record(cronjob, "Normal", "MissingJob", message)
        status["active"] = list(active.values())

    async def _schedule(
        self, cronjob: Object, status: dict[str, Any], jobs: list[Object]
    ) -> timedelta | None:
        spec = cronjob["spec"]
        try:
            zone = cron_times.zone_of(spec.get("timeZone"))
        except cron_times.ScheduleError:
            message = f"invalid timeZone: {spec['timeZone']!r}"
            self._record(cronjob, "Warning", "UnknownTimeZone", message)
            return None
        if spec.get("suspend"):
            return None
        try:
            following = cron_times.parse(spec["schedule"], zone)
        except cron_times.ScheduleError as error:
            message = f'unparseable schedule: "{spec["schedule"]}" : {error}'
            self._record(cronjob, "Warning", "UnparseableSchedule", message)
            return None
        now = self._clock()
        due = await self._due(cronjob, status, following, now)
        if due is not None:
            await self._start(cronjob, status, jobs, due.astimezone(zone))
        upcoming = following(now)
        return None if upcoming is None else upcoming - now

    async def _due(
        self, cronjob: Object, status: dict[str, Any], following: Next, now: datetime
    ) -> datetime | None:
        """Return the time for which a Job is to be started now."""
        seconds = cronjob["spec"].get("startingDeadlineSeconds")
        deadline = None if seconds is None else timedelta(seconds=seconds)
        last = moment(status.get("lastScheduleTime"))
        created = moment(cronjob["metadata"]["creationTimestamp"]) or now
        found = schedule.most_recent(following, schedule.earliest(created, last, now, deadline), now)
        if found is None or found.time == last:
            return None
        if found.too_many:
            self._record(cronjob, "Warning", "TooManyMissedTimes", _TOO_MANY)
        if deadline is not None and found.time + deadline < now:
            message = f"Missed scheduled time to start a job: {stamp(found.time)}"
            self._record(cronjob, "Warning", "MissSchedule", message)
            return None
        return found.time

    async def _start(
        self, cronjob: Object, status: dict[str, Any], jobs: list[Object], scheduled: datetime
    ) -> None:
        policy = cronjob["spec"].get("concurrencyPolicy", "Allow")
        name = schedule.job_name(name_of(cronjob), scheduled)
        if any(reference["name"] == name for reference in status["active"]):
            status["lastScheduleTime"] = stamp(scheduled)
            return
        if status["active"] and policy == "Forbid":
            self._record(cronjob, "Normal", "JobAlreadyActive", _FORBIDDEN)
            return
        if policy == "Replace":
            for reference in list(status["active"]):
                await self._delete(cronjob, reference["name"], reference["uid"])
                status["active"].remove(reference)
        job = new_job(cronjob, name, scheduled)
        try:
            created = await self._client.create(JOBS, job)
        except AlreadyExists:
            # Made by an attempt whose answer was lost, or by hand under this very name.
            created = await self._client.get(JOBS, namespace_of(cronjob), name)
            if (controller_of(created) or {}).get("uid") != uid_of(cronjob):
                message = f'Error creating job: jobs.batch "{name}" already exists'
                self._record(cronjob, "Warning", "FailedCreate", message)
                return
        except NamespaceTerminating:
            return
        except KubeError as error:
            self._record(cronjob, "Warning", "FailedCreate", f"Error creating job: {error.message}")
            raise
        else:
            self._record(cronjob, "Normal", "SuccessfulCreate", f"Created job {name}")
        if not job_status.is_finished(created):
            status["active"].append(_reference(created))
        status["lastScheduleTime"] = stamp(scheduled)

    async def _delete(self, cronjob: Object, name: str, uid: str) -> None:
        try:
            await self._client.delete(JOBS, namespace_of(cronjob), name, uid=uid)
        except NotFound:
            return
        self._record(cronjob, "Normal", "SuccessfulDelete", f"Deleted job {name}")

    async def _clean_up(self, cronjob: Object, jobs: list[Object]) -> None:
        """Delete finished Jobs beyond the history limits, the oldest first."""
        spec = cronjob["spec"]
        for condition, limit in (
            ("Complete", spec.get("successfulJobsHistoryLimit", 3)),
            ("Failed", spec.get("failedJobsHistoryLimit", 1)),
        ):
            finished = [job for job in jobs if has_condition(job, condition) and not is_deleted(job)]
            finished.sort(key=_age)
            for job in finished[: max(0, len(finished) - limit)]:
                await self._delete(cronjob, name_of(job), uid_of(job))


def new_job(cronjob: Object, name: str, scheduled: datetime) -> Object:
    """Build the Job of one scheduled time. `scheduled` is in the CronJob's time zone."""
    template = cronjob["spec"]["jobTemplate"]
    meta: dict[str, Any] = template.get("metadata") or {}
    when = scheduled.isoformat(timespec="seconds").replace("+00:00", "Z")
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": namespace_of(cronjob),
            "labels": dict(meta.get("labels") or {}),
            "annotations": {**(meta.get("annotations") or {}), SCHEDULED_AT: when},
            "ownerReferences": [controller_reference(cronjob, "batch/v1", "CronJob")],
        },
        "spec": copy.deepcopy(template["spec"]),
    }


def _reference(job: Object) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": name_of(job),
        "namespace": namespace_of(job),
        "uid": uid_of(job),
        "resourceVersion": str(job["metadata"].get("resourceVersion", "")),
    }


def _age(job: Object) -> tuple[str, str]:
    return (job.get("status") or {}).get("startTime") or "", name_of(job)
