"""The next time of a schedule, as it is shown."""

from datetime import UTC, datetime

import pytest

from kubedr_server.controllers.schedule import next_time, overdue_time
from support.kubedr_objects import NOW


@pytest.mark.parametrize(
    ("schedule", "zone", "due"),
    [
        ("*/10 * * * *", None, "2026-03-01T12:10:00+00:00"),
        ("@daily", None, "2026-03-02T00:00:00+00:00"),
        ("0 3 * * *", "Europe/Berlin", "2026-03-02T02:00:00+00:00"),
        ("0 3 * * *", "Nowhere/Land", None),
        ("0 3 * *", None, None),
        ("* * * * * *", None, None),  # seconds: Kubernetes knows none
        ("99 * * * *", None, None),
        ("@every 5m", None, None),
        ("30 2 30 2 *", None, None),  # never
    ],
)
def test_next_time(schedule: str, zone: str | None, due: str | None) -> None:
    found = next_time(schedule, zone, NOW)
    assert (found.isoformat() if found else None) == due


def test_a_time_that_summer_time_skips_is_due_on_the_next_day_as_in_kubernetes() -> None:
    before = datetime(2026, 3, 28, 12, 0, tzinfo=UTC)
    found = next_time("30 2 * * *", "Europe/Berlin", before)
    assert found == datetime(2026, 3, 30, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "due"),
    [
        ("*/10 * * * *", "2026-03-01T12:20:00+00:00"),
        ("0 3 * * 1-5", "2026-03-03T03:00:00+00:00"),  # the first of March is a Sunday
        ("@every 90m", "2026-03-01T15:00:00+00:00"),
        ("30 2 30 2 *", None),  # never
        ("99 * * * *", None),
    ],
)
def test_a_backup_is_overdue_when_the_second_after_the_last_one_is_due(
    schedule: str, due: str | None
) -> None:
    found = overdue_time(schedule, None, NOW)
    assert (found.isoformat() if found else None) == due
