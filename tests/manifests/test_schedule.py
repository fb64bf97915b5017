"""When the CronJob of a policy starts backups."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubedr_server.api import cron
from kubedr_server.api.metadata_backup_policy import MetadataBackupPolicySpec
from kubedr_server.manifests.schedule import effective_schedule


def spec(schedule: str, spread: int | None) -> MetadataBackupPolicySpec:
    return MetadataBackupPolicySpec(destination="minio", schedule=schedule, spread_minutes=spread)


@pytest.mark.parametrize("schedule", ["0 2 * * *", "@daily", "*/10 * * * *", "@every 7m", "x"])
def test_without_a_spread_the_schedule_is_the_policys_own(schedule: str) -> None:
    assert effective_schedule(spec(schedule, None), "c/ns/name") == schedule
    assert effective_schedule(spec(schedule, 0), "c/ns/name") == schedule


@pytest.mark.parametrize("schedule", ["@every 7m", "59 * * * *", "* * * * *", "no schedule"])
def test_what_has_no_room_to_move_stays(schedule: str) -> None:
    assert effective_schedule(spec(schedule, 59), "c/ns/name") == schedule


def test_the_same_policy_always_moves_alike_and_others_differently() -> None:
    hourly = spec("@hourly", 59)
    minutes = {effective_schedule(hourly, f"{cluster}/ns/nightly") for cluster in range(50)}
    assert len(minutes) > 20
    assert effective_schedule(hourly, "c/ns/nightly") == effective_schedule(hourly, "c/ns/nightly")


@given(
    st.sampled_from(["0 2 * * *", "*/10 * * * *", "5,50 1-3 1 jan mon", "@weekly", "30 0 ? * *"]),
    st.integers(0, 59),
    st.text(),
)
def test_each_start_comes_later_in_the_same_hour_and_by_no_more_than_is_asked(
    schedule: str, spread: int, identity: str
) -> None:
    before = cron.parse(schedule)
    after = cron.parse(effective_schedule(spec(schedule, spread), identity))
    assert isinstance(before, cron.Schedule)
    assert isinstance(after, cron.Schedule)
    shifts = {b - a for a, b in zip(sorted(before.minutes), sorted(after.minutes), strict=True)}
    assert len(shifts) == 1
    assert shifts <= set(range(spread + 1))
    assert (after.hours, after.days, after.months, after.weekdays) == (
        before.hours,
        before.days,
        before.months,
        before.weekdays,
    )
