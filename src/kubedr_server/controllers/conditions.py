"""Standard conditions: one of each type, and a transition time that moves only when the status does."""

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from kubedr_server.api.base import Condition
from kubedr_server.api.conditions import ConditionType

ConditionStatus = Literal["True", "False", "Unknown"]

_MAX_MESSAGE = 32768


def condition(
    type_: ConditionType,
    status: ConditionStatus,
    reason: str,
    message: str,
    *,
    generation: int,
    now: datetime,
) -> Condition:
    """Return a condition as of now; `merge` gives it the time of the last transition."""
    return Condition(
        type=type_.value,
        status=status,
        observed_generation=generation,
        last_transition_time=whole_second(now),
        reason=str(reason),
        message=message[:_MAX_MESSAGE],
    )


def find(conditions: Iterable[Condition], type_: ConditionType) -> Condition | None:
    """Return the condition of a type, or None."""
    return next((known for known in conditions if known.type == type_.value), None)


def is_true(conditions: Iterable[Condition], type_: ConditionType) -> bool:
    """Whether the condition is known and holds."""
    known = find(conditions, type_)
    return known is not None and known.status == "True"


def merge(current: Iterable[Condition], wanted: Iterable[Condition]) -> list[Condition]:
    """Return the current conditions with the wanted ones put in, in a stable order.

    Conditions of other types stay: another program may have set them.
    """
    merged = {known.type: known for known in current}
    for new in wanted:
        old = merged.get(new.type)
        if old is not None and old.status == new.status:
            new = new.model_copy(update={"last_transition_time": old.last_transition_time})  # noqa: PLW2901 - the same condition, with its own past
        merged[new.type] = new
    return list(merged.values())


def whole_second(moment: datetime) -> datetime:
    """Return the moment as Kubernetes writes it: without fractions of a second."""
    return moment.replace(microsecond=0)
