from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.bars import Bars
from app.domain.metrics.catalog import INDICATOR_NAMES, METRIC_NAMES, METRICS, SECOND_NAMES
from app.domain.metrics.measuring import compute, history, unknown
from tests.domain.metrics.histories import START, flat, keep, walk, whole

silences = st.lists(st.sampled_from([1, 1, 1, 1, 1, 1, 1, 2, 3, 30, 60, 61, 62, 200]), min_size=1, max_size=420)


def with_silences(steps: list[int], interval_s: int = 1) -> Bars:
    places = np.cumsum(steps) - steps[0]
    return keep(walk(int(places[-1]) + 1, seed=len(steps), interval_s=interval_s), places)


def moments(bars: Bars, count: int = 25) -> list[float]:
    random = np.random.default_rng(len(bars))
    span = float(bars.start[-1] - bars.start[0]) + 100 * bars.interval_s
    inside = bars.start[0] - 5 + random.random(count) * span
    return [*np.round(inside, 3), *(bars.start[-3:] + bars.interval_s)]


def window_at(bars: Bars, moment: float) -> Bars:
    return bars.window(datetime.fromtimestamp(moment, UTC))


@settings(max_examples=60, deadline=None)
@given(silences, st.sampled_from([1, 5, 60, 300]))
def test_a_history_holds_bit_for_bit_what_each_window_holds(steps: list[int], interval_s: int) -> None:
    bars = with_silences(steps, interval_s)
    as_ofs = moments(bars)
    rows = history(bars, np.array(as_ofs), METRIC_NAMES)
    for as_of, row in zip(as_ofs, rows, strict=True):
        assert compute(window_at(bars, as_of), METRIC_NAMES).tobytes() == row.tobytes()


@settings(max_examples=30, deadline=None)
@given(silences, st.integers(300, 600))
def test_a_restart_from_the_newest_stored_bars_changes_no_bit(steps: list[int], stored: int) -> None:
    bars = with_silences(steps)
    as_ofs = bars.start[-1] + np.array([1.0, 5.0, 61.0, 62.0])
    before, after = (history(each, as_ofs, METRIC_NAMES) for each in (bars, bars.last(stored)))
    assert before.tobytes() == after.tobytes()


@settings(max_examples=30, deadline=None)
@given(silences, st.integers(1, 400))
def test_what_comes_later_changes_no_bit(steps: list[int], known: int) -> None:
    bars = with_silences(steps)
    past = keep(bars, range(min(known, len(bars))))
    as_ofs = np.array(moments(past))
    as_ofs = as_ofs[as_ofs < past.start[-1] + 1]
    assert history(past, as_ofs, METRIC_NAMES).tobytes() == history(bars, as_ofs, METRIC_NAMES).tobytes()


def test_a_metric_is_the_same_alone_as_among_all() -> None:
    window = whole(walk(300, interval_s=60))
    together = compute(window, METRIC_NAMES)
    for name, value in zip(METRIC_NAMES, together, strict=True):
        assert compute(window, [name]).tobytes() == value.tobytes()
    backwards = compute(window, METRIC_NAMES[::-1])
    assert backwards[::-1].tobytes() == together.tobytes()


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_metric_needs_as_many_bars_as_it_says(metric: object) -> None:
    assert metric in METRICS
    name, least = next((each.name, each.least_bars) for each in METRICS if each == metric)
    bars = walk(300, seed=3)
    assert np.isfinite(compute(bars.last(least), [name])[0])
    assert np.isfinite(compute(bars, [name])[0])
    assert np.isnan(compute(bars.last(least - 1), [name])[0])


@pytest.mark.parametrize("length", [0, 1, 2, 13, 100, 300])
@pytest.mark.parametrize("names", [SECOND_NAMES, INDICATOR_NAMES])
def test_nothing_is_ever_infinite(names: tuple[str, ...], length: int) -> None:
    for bars in (walk(length), flat(length), walk(length, level=1e-25), walk(length, level=1e25, step=0.1)):
        assert not np.isinf(compute(bars, names)).any()


def test_no_moment_and_no_bar_give_no_value() -> None:
    assert history(walk(10), np.empty(0), METRIC_NAMES).shape == (0, len(METRIC_NAMES))
    rows = history(Bars.empty("BTC-USD"), np.array([START.timestamp()]), METRIC_NAMES)
    assert rows.shape == (1, len(METRIC_NAMES))
    assert np.isnan(rows).all()


def test_names_of_no_metric_are_found() -> None:
    assert unknown(["ta.rsi_14", "ta.rsi", "x.mine", "ts.sma"]) == ["ta.rsi", "x.mine"]
