"""What a schedule is laid out on: its times, the volume in each slice, and the impact fitted to what sizes cost."""

from datetime import UTC, datetime, timedelta

import pytest

from app.domain.schedule.impact import Impact
from app.domain.schedule.outlook import Outlook
from app.domain.schedule.timeline import Timeline
from app.domain.schedule.volume import expected_volumes, relative_volumes
from app.domain.trade import Schedule, ScheduleKind

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
SCHEDULE = Schedule(ScheduleKind.TWAP, 100.0, 4)


@pytest.mark.parametrize(
    ("after_s", "due"), [(-5.0, 0), (0.0, 0), (24.9, 0), (25.0, 1), (60.0, 2), (75.0, 3), (999.0, 3)]
)
def test_the_slice_due_is_the_latest_whose_time_has_come(after_s: float, due: int) -> None:
    time = Timeline.of(SCHEDULE, NOON, NOON + timedelta(seconds=after_s))
    assert time.due == due
    assert list(time.left) == list(range(due, 4))
    assert time.at(due) == NOON + timedelta(seconds=25 * due)
    assert time.wait_s(due) == 0
    if due < 3:
        assert time.wait_s(due + 1) == pytest.approx(25 * (due + 1) - max(after_s, 0.0))


def test_a_timer_that_goes_off_early_finds_its_slice_due() -> None:
    assert Timeline.of(SCHEDULE, NOON, NOON + timedelta(seconds=24.9995)).due == 1


def test_a_schedule_begins_now_unless_said() -> None:
    assert Timeline.of(SCHEDULE, None, NOON).at(1) == NOON + timedelta(seconds=25)
    assert Timeline.of(SCHEDULE, None, None).at(1) is None
    assert Timeline.of(Schedule(ScheduleKind.TWAP, 0.0, 9), NOON, NOON).slices == 1


@pytest.mark.parametrize(
    ("profile", "relative"),
    [
        ((), [1, 1, 1, 1]),
        ((1.0, 2.0, 3.0, 2.0), [0.5, 1, 1.5, 1]),
        ((3.0, 1.0), [1.5, 1.5, 0.5, 0.5]),
        ((1.0, 0.0, 2.0), [1, 1 / 3, 2 / 3, 2]),
        ((0.0, 0.0), [1, 1, 1, 1]),
        ((1.0, -1.0, 5.0), [1, 1, 1, 1]),
        ((1.0, float("nan")), [1, 1, 1, 1]),
    ],
)
def test_a_profile_is_spread_over_the_slices(profile: tuple[float, ...], relative: list[float]) -> None:
    spread = relative_volumes(Outlook(profile=profile), 4)
    assert spread.sum() == pytest.approx(4.0)
    assert spread == pytest.approx(relative)


def test_volume_is_expected_only_where_it_is_known() -> None:
    known = expected_volumes(Outlook(volume_per_s=2.0, profile=(1.0, 3.0)), 2, 10.0)
    assert known is not None
    assert known == pytest.approx([10.0, 30.0])
    assert expected_volumes(Outlook(), 2, 10.0) is None
    assert expected_volumes(Outlook(volume_per_s=float("inf")), 2, 10.0) is None
    assert expected_volumes(Outlook(volume_per_s=2.0), 1, 0.0) is None


def test_impact_is_fitted_to_what_sizes_cost() -> None:
    fitted = Impact.fit([(size, 0.5 * size + 0.25 * size * size) for size in (1.0, 2.0, 7.0)])
    assert (fitted.linear, fitted.quadratic) == pytest.approx((0.5, 0.25))
    assert Impact.fit([(2.0, 3.0)]) == Impact(1.5, 0.0)
    assert Impact.fit([(1.0, 3.0), (2.0, 4.0)]) == Impact(2.5, 0.0)
    assert Impact.fit([]) == Impact(0.0, 0.0)
