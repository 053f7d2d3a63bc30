import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.bars import Bar, Bars
from app.domain.moments import context_s, moments
from tests.services.stored_bars import tick
from tests.twins import START

START_S = START.timestamp()


def bars_at(seconds: list[int], interval_s: int) -> Bars:
    made = []
    for number, second in enumerate(seconds):
        at = tick(second).at
        made.append(Bar("A-B", at, 1.0, 1.0, 1.0, 1.0 + number, 1.0, 1.0, 1, at, at, 1.0))
    return Bars.from_bars("A-B", made, interval_s)


@pytest.mark.parametrize("interval_s", [1, 7, 60, 300])
@given(steps=st.lists(st.sampled_from([1, 2, 7, 8, 9, 59, 60, 61, 62, 90, 400]), max_size=12))
def test_there_is_a_moment_wherever_a_window_has_a_bar(interval_s: int, steps: list[int]) -> None:
    grid = START_S // interval_s * interval_s - START_S
    seconds = [int(grid) + interval_s * int(step) for step in np.cumsum([0, *steps])]
    bars = bars_at(seconds, interval_s)
    ends = [second + interval_s for second in range(seconds[0], seconds[-1] + 80 * interval_s, interval_s)]
    wanted = [START_S + end for end in ends if len(bars.window(tick(end).at))]
    assert moments(bars.start, interval_s, -np.inf, np.inf).tolist() == wanted
    after, until = wanted[len(wanted) // 3], wanted[2 * len(wanted) // 3]
    assert moments(bars.start, interval_s, after, until).tolist() == [end for end in wanted if after < end <= until]


@given(steps=st.lists(st.sampled_from([1, 1, 1, 2, 30, 61]), min_size=1, max_size=400))
def test_a_window_depends_on_no_bar_further_back_than_its_context(steps: list[int]) -> None:
    seconds = np.cumsum([0, *steps]).tolist()
    bars = bars_at(seconds, 1)
    end = seconds[-1] + 3
    whole = bars.window(tick(end).at)
    cut = bars.between(START_S + end - context_s(1), np.inf).window(tick(end).at)
    for column in ("start", "close", "last_at", "is_gap_fill"):
        np.testing.assert_array_equal(getattr(whole, column), getattr(cut, column))


def test_without_bars_there_are_no_moments() -> None:
    assert moments(np.empty(0), 1, -np.inf, np.inf).tolist() == []
