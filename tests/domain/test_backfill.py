import math
import random

import numpy as np
import pytest

from app.domain.backfill import DAY_S, Inputs, day_moments, feature_versions, outcome_versions
from app.domain.bars import Bars, aggregate
from app.domain.features.catalog import MARKET_NAMES
from app.domain.features.vectors import market_vector
from tests.services.stored_bars import BTC, tick
from tests.twins import START

START_S = START.timestamp()


def walk(count: int, seed: int = 1) -> list[int]:
    pick = random.Random(seed)
    return np.cumsum([pick.choice([1, 1, 1, 1, 1, 2, 30, 61, 70]) for _ in range(count)]).tolist()


def inputs_of(seconds: list[int], *, closed: float = 1e6, seed: int = 2) -> Inputs:
    pick = random.Random(seed)
    price, ticks = 100.0, []
    for second in seconds:
        price *= math.exp(pick.gauss(0, 1e-3))
        ticks.append(tick(second + 0.5, price, size=pick.random()))
    bars = Bars.from_bars(BTC, aggregate(ticks))
    known = bars.start + 1.0 + np.array([pick.choice([0.0, 0.5, 500.0]) for _ in seconds])
    return Inputs(bars, known, START_S + closed, np.empty(0), np.empty(0), np.empty((0, 7)))


def test_every_moment_belongs_to_the_day_of_its_latest_bar() -> None:
    midnight = START_S // DAY_S * DAY_S + DAY_S
    starts = midnight + np.array([-5.0, -1.0, 3.0, 100.0])
    first = day_moments(starts, 1, 1, midnight - DAY_S, midnight)
    second = day_moments(starts, 1, 1, midnight, midnight + DAY_S)
    assert (first - midnight).tolist() == [-4, -3, -2, -1, 0, 1, 2, 3]
    assert (second - midnight).tolist() == [*range(4, 65), *range(101, 162)]
    assert (day_moments(starts, 1, 20, midnight, midnight + DAY_S) - midnight).tolist() == [20, 40, 60, 120, 140, 160]


def test_features_are_known_once_the_last_of_their_inputs_is() -> None:
    inputs = inputs_of(walk(700))
    ends = day_moments(inputs.bars.start, 1, 1, START_S, START_S + DAY_S)
    versions = feature_versions(inputs, ends)
    starts = inputs.bars.start
    for end, known, values in zip(ends, versions.known_s, versions.values, strict=True):
        np.testing.assert_array_equal(values, market_vector(inputs.bars, (), tick(end - START_S).at))
        window = inputs.bars.window(tick(end - START_S).at)
        used = (starts >= starts[max(0, starts.searchsorted(window.start[0], "right") - 1)]) & (starts < end)
        assert known == max(end, inputs.known_s[used].max())


def test_samples_of_books_count_for_a_while() -> None:
    inputs = inputs_of(list(range(200)))
    sampled = START_S + np.array([10.0, 11.0, 150.0])
    samples = np.arange(21.0).reshape(3, 7)
    inputs = Inputs(inputs.bars, inputs.bars.start, inputs.closed_s, sampled, sampled + 90.0, samples)
    ends = START_S + np.array([9.0, 10.0, 71.0, 72.0, 151.0])
    versions = feature_versions(inputs, ends)
    spread = versions.values[:, MARKET_NAMES.index("relative_spread")]
    np.testing.assert_array_equal(spread, [np.nan, 0.0, 7.0, np.nan, 14.0])
    assert (versions.known_s - START_S).tolist() == [9.0, 100.0, 101.0, 72.0, 240.0]


@pytest.mark.parametrize("horizon_s", [1, 5, 60])
def test_outcomes_are_what_the_bars_ahead_say_and_known_after_them(horizon_s: int) -> None:
    inputs = inputs_of(walk(400))
    bars = inputs.bars
    ends = day_moments(bars.start, 1, 1, START_S, START_S + DAY_S)
    (versions,) = outcome_versions(inputs, ends, [horizon_s])
    found = dict(zip(versions.event_s, zip(versions.known_s, versions.values, strict=True), strict=True))
    seen = 0
    for end in ends:
        whole = bars.window(tick(end + horizon_s - START_S).at)
        if len(whole) <= horizon_s:
            assert end not in found
            continue
        seen += 1
        known, (log_return, _, volume) = found[end]
        path = whole.close[-horizon_s - 1 :]
        assert log_return == pytest.approx(math.log(path[-1] / path[0]) * 1e4, abs=1e-9)
        assert volume == pytest.approx(whole.volume[-horizon_s:].sum())
        source = bars.start.searchsorted(end - 1.0, "right") - 1
        stop = bars.start.searchsorted(end + horizon_s)
        assert known == max(end + horizon_s, inputs.known_s[source:stop].max())
    assert seen == len(found) > 100


def test_an_outcome_waits_for_its_horizon() -> None:
    inputs = inputs_of(list(range(100)), closed=100)
    ends = START_S + np.arange(1.0, 101.0)
    (versions,) = outcome_versions(inputs, ends, [30])
    assert (versions.event_s - START_S).max() == 70
