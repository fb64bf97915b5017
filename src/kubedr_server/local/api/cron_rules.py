"""What the CronJob API says about a schedule that is none."""

import re

_DESCRIPTORS = {"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"}
_MONTHS = {name: number for number, name in enumerate(
    ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1)}  # fmt: skip
_DAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
_FIELDS: tuple[tuple[int, int, dict[str, int]], ...] = (
    (0, 59, {}), (0, 23, {}), (1, 31, {}), (1, 12, _MONTHS), (0, 6, _DAYS),
)  # fmt: skip


def schedule_mistake(schedule: str) -> str | None:
    """Return what is wrong with a cron schedule, as the API server words it; None if nothing is."""
    if schedule.startswith("@"):
        if schedule.startswith("@every "):
            duration = schedule.removeprefix("@every ")
            good = re.fullmatch(r"([0-9.]+(ns|us|µs|ms|s|m|h))+", duration)
            return (
                None if good else f'failed to parse duration {schedule}: time: invalid duration "{duration}"'
            )
        return None if schedule in _DESCRIPTORS else f"unrecognized descriptor: {schedule}"
    fields = schedule.split()
    if len(fields) != len(_FIELDS):
        return f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]"
    for field, (low, high, names) in zip(fields, _FIELDS, strict=True):
        for part in field.split(","):
            mistake = _range_mistake(part, low, high, names)
            if mistake:
                return mistake
    return None


def _range_mistake(part: str, low: int, high: int, names: dict[str, int]) -> str | None:
    span, slash, step = part.partition("/")
    bounds = span.split("-")
    if len(bounds) > 2:
        return f"too many hyphens: {part}"
    if span in ("*", "?"):
        start, end = low, high
    else:
        try:
            start = _number(bounds[0], names)
            end = _number(bounds[-1], names) if len(bounds) == 2 or not slash else high
        except ValueError as error:
            return str(error)
    if slash:
        if not step.isdigit():
            return f'failed to parse int from {step}: strconv.Atoi: parsing "{step}": invalid syntax'
        if int(step) == 0:
            return f"step of range should be a positive number: {part}"
    if start < low:
        return f"beginning of range ({start}) below minimum ({low}): {part}"
    if end > high:
        return f"end of range ({end}) above maximum ({high}): {part}"
    if start > end:
        return f"beginning of range ({start}) beyond end of range ({end}): {part}"
    return None


def _number(text: str, names: dict[str, int]) -> int:
    if text.lower() in names:
        return names[text.lower()]
    if not text.isdigit():
        raise ValueError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    return int(text)
