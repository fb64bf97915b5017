"""Schedules in the format of a CronJob."""

from functools import lru_cache

from kubedr_server.api import cron


def parse(text: str) -> cron.Schedule | cron.Every:
    """Read a schedule; raises CronError."""
    found = _read(text)
    if isinstance(found, str):
        raise cron.CronError(found)
    return found


@lru_cache(maxsize=256)
def _read(text: str) -> cron.Schedule | cron.Every | str:
    """Return the schedule, or what is wrong with it.

    Once: an object comes again with each of its writes, a wrong one with each try, and many have the same.
    """
    try:
        return cron.parse(text)
    except cron.CronError as error:
        return str(error)


def problem(text: str) -> str | None:
    """Say what is wrong with a schedule; None if nothing is."""
    try:
        parse(text)
    except cron.CronError as error:
        return str(error)
    return None
