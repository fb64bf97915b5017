"""Time zones, as Kubernetes accepts them for a CronJob."""

import difflib
import re
import zoneinfo
from functools import cache
from typing import Final

_SEGMENT: Final = re.compile(r"[A-Za-z.\-_0-9+]{1,14}")
_NOT_ZONES: Final = frozenset({"localtime", "posixrules", "Factory"})


@cache
def known_zones() -> frozenset[str]:
    """Return the names of the IANA database. The first call reads files: make it at start-up."""
    return frozenset(zoneinfo.available_timezones()) - _NOT_ZONES


def problem(name: str) -> str | None:
    """Say what is wrong with the name of a time zone, and what it might have been; None if nothing is."""
    if name.lower() == "local":
        return "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
    if name in known_zones():
        return None
    message = f"unknown time zone {name}"
    if not all(_SEGMENT.fullmatch(segment) for segment in name.split("/")):
        return "unknown time zone: it must be a name of the IANA database, such as Europe/Berlin"
    by_lower = {zone.lower(): zone for zone in known_zones()}
    lower = name.lower()
    close = [lower] if lower in by_lower else difflib.get_close_matches(lower, by_lower, n=3)
    if close:
        message += "; did you mean " + " or ".join(by_lower[zone] for zone in close) + "?"
    return message
