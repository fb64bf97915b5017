"""A length of time on the command line, written as kubectl writes it."""

import re
from typing import Final

import click

_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s)")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def duration(text: str) -> float:
    """Return the seconds of `90`, `90s`, `10m` or `1h30m`; click.BadParameter unless that is above zero."""
    seconds = 0.0
    if _NUMBER.fullmatch(text):
        seconds = float(text)
    elif re.fullmatch(rf"(?:{_PART.pattern})+", text):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    if not 0 < seconds < float("inf"):
        raise click.BadParameter(f"'{text}' is not a length of time above zero, such as 90s, 10m or 1h30m.")
    return seconds
