import math
from collections.abc import Sequence
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.bars import Bars, FloatArray
from app.domain.features.outcomes import OUTCOME_NAMES, outcomes_after
from app.domain.features.vectors import history_vectors, market_vector
from tests.domain.features.market import BEGIN, at, bars_at, gappy_bars, walk


def outcomes(bars: Bars, horizons: Sequence[int], as_of: datetime) -> FloatArray:
    return outcomes_after(bars, bars.start, horizons, as_of.timestamp())


def test_outcomes_match_hand_computation() -> None:
    closes = np.array([100.0, 101.0, 99.0, 99.0, 102.0])
    bars = bars_at([0, 1, 2, 3, 4], closes)
    found = outcomes(bars, (1, 3), at(5))
    r = np.diff(np.log(closes)) * 1e4
    assert found.shape == (5, 2, len(OUTCOME_NAMES))
    assert found[0, 0].tolist() == pytest.approx([r[0], abs(r[0]), bars.volume[1]])
    assert found[1, 1].tolist() == pytest.approx(
        [math.log(102 / 101) * 1e4, math.sqrt(np.mean(r[1:] ** 2)), bars.volume[2:].sum()]
    )
    assert np.isnan(found[4]).all()
    assert np.isnan(found[2, 1]).all()


def test_an_outcome_matures_when_its_last_bar_is_complete() -> None:
    bars = bars_at(np.arange(20), walk(20))
    early, due = (outcomes(bars, [5], at(moment)) for moment in (9.999, 10.0))
    assert np.isnan(early[4]).all()
    assert np.isfinite(due[4]).all()
    assert np.isnan(due[5:]).all()


def test_short_silence_repeats_the_price_and_a_long_one_has_no_outcome() -> None:
    bars = bars_at([0, 30, 200], np.array([100.0, 101.0, 102.0]))
    found = outcomes(bars, [10, 60, 170], at(500))
    assert found[0, 0].tolist() == [0.0, 0.0, 0.0]
    assert found[0, 1, 0] == pytest.approx(math.log(1.01) * 1e4)
    assert np.isfinite(found[1, 1]).all()
    assert np.isnan(found[1, 2]).all()
    assert np.isfinite(found[2, 1]).all()
    assert np.isnan(found[2, 2]).all()


def test_a_horizon_looks_ahead() -> None:
    with pytest.raises(ValueError, match="a horizon is one bar at least"):
        outcomes(Bars.empty("BTC-USD"), [0], at(0))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 400), st.integers(1, 200), st.integers(0, 10_000))
def test_features_of_a_prefix_do_not_change_with_what_follows(length: int, more: int, seed: int) -> None:
    bars = gappy_bars(length + more, seed)
    prefix = bars.between(-math.inf, float(bars.start[length]))
    moments = prefix.start + 1.25
    assert history_vectors(bars, moments).tobytes() == history_vectors(prefix, moments).tobytes()
    last = at(float(moments[-1]) - BEGIN)
    assert market_vector(bars, [], last).tobytes() == market_vector(prefix, [], last).tobytes()
    assert outcomes(bars, [1, 7], last)[:length].tobytes() == outcomes(prefix, [1, 7], last).tobytes()


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 300), st.integers(0, 10_000), st.integers(1, 80))
def test_the_outcome_of_a_bar_is_the_return_that_a_later_vector_sees(length: int, seed: int, back: int) -> None:
    bars = gappy_bars(length, seed)
    horizon = (1, 5, 20, 60)[back % 4]
    end = at(float(bars.start[-1]) + 1 - BEGIN)
    found = outcomes(bars, [horizon], end)[:, 0, 0]
    names = {1: 0, 5: 1, 20: 2, 60: 3}
    later = history_vectors(bars, bars.start + 1 + horizon)[:, names[horizon]]
    known = bars.start + horizon <= float(bars.start[-1])
    assert np.array_equal(found[known], later[known], equal_nan=True)
