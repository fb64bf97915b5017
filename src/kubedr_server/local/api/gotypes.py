"""Values that Go decodes into more than a JSON type: times, bytes and quantities of built-in kinds."""

import base64
import binascii
import re
from datetime import UTC, datetime
from typing import Any

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_LAYOUT = "2006-01-02T15:04:05Z07:00"
_MICRO_LAYOUT = "2006-01-02T15:04:05.000000Z07:00"


def decode_time(text: str, *, micro: bool) -> str:
    """Return a time as it is stored: UTC, whole seconds or microseconds. Raises ValueError as Go words it."""
    layout = _MICRO_LAYOUT if micro else _LAYOUT
    found = _RFC3339.fullmatch(text)
    if found is None:
        raise ValueError(f'parsing time "{text}" as "{layout}": cannot parse "{text}" as "2006"')
    if micro and len(found.group(1) or "") != len(".000000"):
        zone = found.group(2)
        raise ValueError(f'parsing time "{text}" as "{layout}": cannot parse "{zone}" as ".000000"')
    try:
        moment = datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f'parsing time "{text}": out of range') from None
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")


def check_bytes(text: str) -> None:
    """Check base64. Raises ValueError as Go words it."""
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        good = re.match(r"[A-Za-z0-9+/]*", text)
        place = good.end() if good else 0
        raise ValueError(f"illegal base64 data at input byte {place}") from None


def decode_scalar(value: Any, go_type: str, form: str) -> Any:
    """Return a scalar of a built-in object as it is stored. Raises ValueError."""
    if form == "quantity" and isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str):
        if go_type in ("Time", "MicroTime"):
            return decode_time(value, micro=go_type == "MicroTime")
        if form == "byte":
            check_bytes(value)
    return value
