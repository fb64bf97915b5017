"""Schedules in the format of a CronJob."""

from functools import lru_cache

from kubedr_server.api import cron


@lru_cache(maxsize=256)
def parse(text: str) -> cron.Schedule | cron.Every:
    """Read a schedule; raises CronError.

    Once: an object comes again with each of its writes, and one schedule serves many objects.
    """
    return cron.parse(text)


def problem(text: str) -> str | None:
    """Say what is wrong with a schedule; None if nothing is."""
    try:
        parse(text)
    except cron.CronError as error:
        return str(error)
    return None
