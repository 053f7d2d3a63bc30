import math
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.bars import WINDOW, Bars, FloatArray
from app.domain.features.catalog import MARKET_NAMES
from app.domain.metrics.evaluating import evaluate, rows_needed
from app.domain.metrics.measuring import compute, history
from app.domain.metrics.plugins import Plugins
from app.domain.metrics.set_reading import read_feature_set
from app.domain.metrics.sets import FeatureSet
from tests.domain.metrics.histories import START, Mine, keep, walk

ZERO = START.timestamp()
FEATURE = MARKET_NAMES[0]


def a_set(*columns: object, interval_s: int = 60, plugins: Plugins | None = None) -> FeatureSet:
    document = {
        "name": "momentum",
        "version": 1,
        "interval_s": interval_s,
        "instruments": ["*"],
        "columns": list(columns),
    }
    return read_feature_set(document, plugins)


RICH = a_set(
    "ta.rsi_14",
    "bar.close",
    {"name": "rsi_1", "transform": "lag", "of": ["ta.rsi_14"], "n": 1},
    {"name": "rise", "transform": "diff", "of": ["rsi_1"], "n": 2},
    {"name": "growth", "transform": "ratio", "of": ["bar.close"], "n": 3},
    {"name": "over", "transform": "ratio", "of": ["bar.close", "ta.sma_20"]},
    {"name": "rough", "transform": "rolling_std", "of": ["growth"], "n": 5},
    {"name": "with", "transform": "rolling_corr", "of": ["bar.close", "bar.volume"], "n": 4},
    {"name": "minute", "transform": "date_part", "part": "minute"},
    {"name": "at", "transform": "one_hot", "of": ["minute"], "categories": [0, 30]},
    {"name": "rank", "transform": "rolling_rank", "of": ["at_30"], "n": 2},
)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from([1, 1, 1, 1, 2, 5]), min_size=1, max_size=400),
    st.lists(st.integers(-20, 30_000), min_size=1, max_size=12),
)
def test_a_row_is_the_same_alone_as_among_others_and_of_only_the_bars_it_needs(
    steps: list[int], moments: list[int]
) -> None:
    places = np.cumsum(steps) - steps[0]
    bars = keep(walk(int(places[-1]) + 1, interval_s=60), places)
    as_ofs = ZERO + np.array(moments, dtype=np.float64)
    rows = evaluate(RICH, bars, as_ofs)
    assert rows.shape == (len(moments), len(RICH.column_names))
    for as_of, row in zip(as_ofs, rows, strict=True):
        known = bars.between(-math.inf, as_of - 59).last(WINDOW + RICH.depth)
        assert evaluate(RICH, known, np.array([as_of])).tobytes() == row.tobytes()


def test_columns_are_what_their_transforms_say() -> None:
    bars = walk(400, interval_s=60)
    as_of = ZERO + 60 * 350
    values = dict(zip(RICH.column_names, evaluate(RICH, bars, np.array([as_of + 59.0]))[0], strict=True))
    close, volume = bars.close[:350], bars.volume[:350]
    rsi = [window_value(bars, as_of - 60 * back, "ta.rsi_14") for back in range(4)]
    growth = close[3:] / close[:-3]
    assert values["ta.rsi_14"] == rsi[0]
    assert values["bar.close"] == close[-1]
    assert values["rsi_1"] == rsi[1]
    assert values["rise"] == rsi[1] - rsi[3]
    assert values["growth"] == growth[-1]
    assert values["over"] == pytest.approx(close[-1] / close[-20:].mean(), rel=1e-12)
    assert values["rough"] == pytest.approx(growth[-5:].std(ddof=1), rel=1e-9)
    assert values["with"] == pytest.approx(np.corrcoef(close[-4:], volume[-4:])[0, 1], rel=1e-9)
    assert values["minute"] == 350 % 60
    assert (values["at_0"], values["at_30"], values["rank"]) == (0.0, 0.0, 1.5)


def window_value(bars: Bars, moment: float, name: str) -> float:
    return float(compute(bars.window(datetime.fromtimestamp(moment, UTC)), [name])[0])


def test_warm_up_and_silence_have_no_value() -> None:
    bars = walk(40, interval_s=60)
    feature_set = a_set("bar.close", {"name": "before", "transform": "lag", "of": ["bar.close"], "n": 2})
    minutes = np.array([0, 1, 2, 3, 40, 41, 42, 43])
    rows = evaluate(feature_set, bars, ZERO + 60.0 * minutes)
    nothing = math.nan
    last = bars.close[39]
    np.testing.assert_array_equal(
        rows.T,
        [
            [nothing, *bars.close[:3], last, last, nothing, nothing],
            [nothing, nothing, nothing, bars.close[0], bars.close[37], bars.close[38], last, last],
        ],
    )


def test_metrics_of_seconds_join_longer_bars() -> None:
    minutes, seconds = walk(20, interval_s=60), walk(1200)
    feature_set = a_set("ts.sma", "bar.close", {"name": "a", "transform": "lag", "of": ["ts.sma"], "n": 2})
    as_ofs = ZERO + 60.0 * np.array([8, 19])
    rows = evaluate(feature_set, minutes, as_ofs, seconds=seconds)
    np.testing.assert_array_equal(rows[:, 0], history(seconds, as_ofs, ["ts.sma"])[:, 0])
    np.testing.assert_array_equal(rows[:, 2], history(seconds, as_ofs - 120, ["ts.sma"])[:, 0])
    with pytest.raises(ValueError, match="one-second bars"):
        evaluate(feature_set, minutes, as_ofs)
    with pytest.raises(ValueError, match="bars of 1 s"):
        evaluate(feature_set, seconds, as_ofs)
    own = a_set("ts.sma", interval_s=1)
    np.testing.assert_array_equal(evaluate(own, seconds, as_ofs), rows[:, :1])


def test_features_are_taken_at_the_rows_that_need_them() -> None:
    feature_set = a_set({"name": "before", "transform": "lag", "of": [FEATURE], "n": 1}, FEATURE)
    as_ofs = ZERO + 60.0 * np.array([9, 1, 1, 2])
    moments = rows_needed(feature_set, as_ofs + 30).moments
    assert (moments - ZERO).tolist() == [0, 60, 120, 480, 540]
    given_values: FloatArray = np.array([1.0, 2.0, math.inf, 4.0, 5.0])
    rows = evaluate(feature_set, walk(9, interval_s=60), as_ofs, features={FEATURE: given_values})
    np.testing.assert_array_equal(rows, [[4.0, 5.0], [1.0, 2.0], [1.0, 2.0], [2.0, math.nan]])


def test_no_moment_makes_no_row() -> None:
    assert evaluate(RICH, walk(9, interval_s=60), np.empty(0)).shape == (0, len(RICH.column_names))


def test_plug_ins_are_columns_like_others() -> None:
    plugins = Plugins([Mine("x.mine")])
    feature_set = a_set("x.mine", {"name": "b", "transform": "diff", "of": ["x.mine"], "n": 1}, plugins=plugins)
    as_ofs = ZERO + 60.0 * np.array([1, 2, 5])
    rows = evaluate(feature_set, walk(9, interval_s=60), as_ofs, plugins=plugins)
    np.testing.assert_array_equal(rows, [[1, math.nan], [2, 1], [5, 1]])
    assert np.isnan(evaluate(feature_set, walk(9, interval_s=60), as_ofs)).all()
