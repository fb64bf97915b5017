"""A condition's transition time moves only when its status does."""

from datetime import timedelta

from kubedr_server.api.base import Condition
from kubedr_server.api.conditions import ConditionType, Reason
from kubedr_server.controllers import conditions
from kubedr_server.controllers.conditions import ConditionStatus
from support.kubedr_objects import NOW

LATER = NOW + timedelta(hours=1)


def ready(
    status: ConditionStatus, reason: Reason, message: str = "so it is", generation: int = 1
) -> Condition:
    return conditions.condition(ConditionType.READY, status, reason, message, generation=generation, now=NOW)


def test_another_reason_is_no_transition() -> None:
    new = conditions.condition(
        ConditionType.READY, "False", Reason.NOT_FOUND, "gone", generation=2, now=LATER
    )
    merged = conditions.merge([ready("False", Reason.NOT_READY)], [new])
    assert merged == [new.model_copy(update={"last_transition_time": NOW})]


def test_another_status_is_a_transition() -> None:
    new = conditions.condition(ConditionType.READY, "True", Reason.READY, "well", generation=1, now=LATER)
    assert conditions.merge([ready("False", Reason.NOT_READY)], [new]) == [new]


def test_conditions_of_others_stay_in_their_place() -> None:
    foreign = ready("True", Reason.READY).model_copy(update={"type": "example.com/Audited"})
    new = ready("False", Reason.NOT_READY)
    assert conditions.merge([foreign, ready("True", Reason.READY)], [new]) == [foreign, new]


def test_times_have_no_fractions_of_a_second() -> None:
    made = conditions.condition(
        ConditionType.READY, "True", Reason.READY, "", generation=1, now=NOW.replace(microsecond=5)
    )
    assert made.last_transition_time == NOW
