import math
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.bars import Bars, Tick, aggregate
from app.domain.metrics.catalog import SECOND_NAMES
from app.domain.metrics.measuring import compute
from tests.domain.metrics.histories import START, flat, whole

ABSENT = float("nan")

Market = list[tuple[int, float, float]]
"""Ticks: which tenth of a second, price, size."""

markets: st.SearchStrategy[Market] = st.lists(
    st.tuples(
        st.integers(0, 5000), st.integers(500_000, 200_000_000).map(lambda price: price / 1e6), st.floats(0.0, 50.0)
    ),
    min_size=1,
    max_size=600,
)


def at(tenths: int) -> datetime:
    return START + timedelta(milliseconds=100 * tenths)


def expected(ticks: Market, as_of: int) -> dict[str, float]:
    """What the definitions say, by plain sums over the ticks of each second."""
    seconds: dict[int, Market] = {}
    for tick in sorted(ticks):
        seconds.setdefault(tick[0] // 10, []).append(tick)
    known = [second for second in seconds if second < as_of]
    if not known or as_of - max(known) > 61:
        return dict.fromkeys(SECOND_NAMES, ABSENT)
    points: list[tuple[float, Market]] = []
    second, oldest = as_of - 1, min(known)
    while second >= oldest and len(points) < 300:
        before = max(each for each in known if each <= second)
        if second - before > 60:
            break
        points.append((close_of(seconds[before]), seconds.get(second, [])))
        second -= 1
    points.reverse()
    return by_definition([close for close, _ in points], [tick for _, each in points for tick in each], points[-1][1])


def close_of(ticks: Market) -> float:
    return max((tenth, price) for tenth, price, _ in ticks)[1]


def by_definition(closes: list[float], ticks: Market, newest: Market) -> dict[str, float]:
    n = len(closes)
    volume = math.fsum(size for _, _, size in ticks)
    values = dict.fromkeys(SECOND_NAMES, ABSENT)
    values["ts.count"] = len(ticks)
    values["ts.gap"] = 0.0 if newest else 1.0
    values["ts.sma"] = sma = math.fsum(price for _, price, _ in ticks) / len(ticks)
    values["ts.ema"] = ema = math.fsum([closes[0] * 0.5 ** (n - 1), *(0.5 ** (n - i) * closes[i] for i in range(1, n))])
    values["ts.wma"] = math.fsum((i + 1) * close for i, close in enumerate(closes)) / sum(range(1, n + 1))
    if volume > 0:
        values["ts.vwap"] = math.fsum(price * size for _, price, size in ticks) / volume
    if n < 2:
        return values
    sd = float(np.std(closes))
    gains = [max(0.0, b - a) for a, b in pairwise(closes)]
    losses = [max(0.0, a - b) for a, b in pairwise(closes)]
    up, down = math.fsum(gains), math.fsum(losses)
    values["ts.sd"] = sd
    values["ts.log_return"] = math.log(closes[-1]) - math.log(closes[-2])
    if n == 300:
        values["ts.log_return_300"] = math.log(closes[-1]) - math.log(closes[0])
    values["ts.up_sum"], values["ts.down_sum"] = up, down
    values["ts.average_gain"], values["ts.average_loss"] = up / (n - 1), down / (n - 1)
    if down > 0:
        values["ts.relative_strength"] = up / down
        values["ts.rsi"] = 100 - 100 / (1 + up / down)
    else:
        values["ts.rsi"] = 100.0 if up > 0 else 50.0
    values["ts.sma_upper"], values["ts.sma_lower"] = sma + 2 * sd, sma - 2 * sd
    values["ts.ema_upper"], values["ts.ema_lower"] = ema + 2 * sd, ema - 2 * sd
    values["ts.value_in_bounds"] = 1.0 if sma - 2 * sd <= closes[-1] <= sma + 2 * sd else 0.0
    if up + down > 0:
        places = [(closes[-1] - values[f"ts.{each}_lower"]) / (4 * sd) for each in ("sma", "ema")]
        values["ts.blended_index"] = (values["ts.rsi"] + 100 * places[0] + 100 * places[1]) / 3
    return values


def bars_of(ticks: Market) -> Bars:
    made = aggregate(Tick("EUR-USD", price, size, at(tenth), "dealer") for tenth, price, size in ticks)
    return Bars.from_bars("EUR-USD", made)


@settings(max_examples=150, deadline=None)
@given(markets, st.integers(0, 600))
def test_every_metric_is_what_its_definition_says(ticks: Market, as_of: int) -> None:
    window = bars_of(ticks).window(at(10 * as_of))
    values = dict(zip(SECOND_NAMES, compute(window, SECOND_NAMES), strict=True))
    oracle = expected(ticks, as_of)
    on_edge = min(abs(window.close[-1:] - oracle[edge]).min(initial=1.0) for edge in ("ts.sma_lower", "ts.sma_upper"))
    for name in SECOND_NAMES:
        if name == "ts.value_in_bounds" and on_edge < 1e-9:
            continue
        # A place in a narrow band is known less well, by as much as the band is narrower than the price.
        slack = (
            1e-11 * oracle["ts.ema"] / oracle["ts.sd"] if name == "ts.blended_index" and oracle["ts.sd"] > 0 else 0.0
        )
        assert values[name] == pytest.approx(oracle[name], rel=1e-9, abs=1e-9 + slack, nan_ok=True), name


def test_seconds_match_hand_computation() -> None:
    ticks: Market = [(1, 10.0, 1.0), (5, 12.0, 3.0), (9, 11.0, 2.0), (12, 14.0, 2.0), (30, 13.0, 2.0)]
    values = dict(zip(SECOND_NAMES, compute(bars_of(ticks).window(at(40)), SECOND_NAMES), strict=True))
    # Four seconds: closes 11, 14, 14 (no tick), 13.
    assert values["ts.count"] == 5
    assert values["ts.gap"] == 0
    assert values["ts.sma"] == 60 / 5
    assert values["ts.ema"] == ((11 / 2 + 14 / 2) / 2 + 14 / 2) / 2 + 13 / 2
    assert values["ts.wma"] == pytest.approx((11 + 2 * 14 + 3 * 14 + 4 * 13) / 10)
    assert values["ts.vwap"] == (10 + 36 + 22 + 28 + 26) / 10
    assert values["ts.sd"] == pytest.approx(math.sqrt((4 + 1 + 1 + 0) / 4))
    assert values["ts.log_return"] == pytest.approx(math.log(13 / 14))
    assert math.isnan(values["ts.log_return_300"])
    assert (values["ts.up_sum"], values["ts.down_sum"]) == (3, 1)
    assert (values["ts.average_gain"], values["ts.average_loss"]) == (1, 1 / 3)
    assert (values["ts.relative_strength"], values["ts.rsi"]) == (3, 75)
    assert values["ts.value_in_bounds"] == 1


@pytest.mark.parametrize(
    ("closes", "rsi"), [([5, 6, 7], 100.0), ([7, 6, 5], 0.0), ([5, 5, 5], 50.0), ([5, 6, 5], 50.0)]
)
def test_relative_strength_has_its_limits(closes: list[int], rsi: float) -> None:
    ticks = [(10 * second, float(close), 1.0) for second, close in enumerate(closes)]
    assert compute(bars_of(ticks).window(at(30)), ["ts.rsi"])[0] == rsi


def test_a_flat_market_is_within_its_bands_and_has_no_place_in_them() -> None:
    window = whole(flat(100, price=0.1))
    names = ["ts.sd", "ts.value_in_bounds", "ts.rsi", "ts.log_return"]
    assert compute(window, names).tolist() == [0.0, 1.0, 50.0, 0.0]
    assert np.isnan(compute(window, ["ts.relative_strength", "ts.blended_index"])).all()


def test_bands_as_wide_as_a_rounding_error_have_no_place_in_them() -> None:
    ticks: Market = [(0, 1.39164, 1.0), (10, 1.39164, 1.0), (20, 1.3916400000000002, 1.0)]
    window = bars_of(ticks).window(at(30))
    assert compute(window, ["ts.value_in_bounds"])[0] == 1.0
    assert np.isnan(compute(window, ["ts.blended_index"])).all()


def test_ticks_without_a_size_have_no_volume_weighted_mean() -> None:
    ticks: Market = [(0, 10.0, 0.0), (10, 11.0, 0.0)]
    assert math.isnan(compute(bars_of(ticks).window(at(20)), ["ts.vwap"])[0])


def test_prices_leave_the_bands() -> None:
    ticks = [(10 * second, 100.0 + second % 2, 1.0) for second in range(50)]
    inside = bars_of(ticks).window(at(500))
    jumped = bars_of([*ticks, (500, 120.0, 1.0)]).window(at(510))
    assert compute(inside, ["ts.value_in_bounds"])[0] == 1.0
    assert compute(jumped, ["ts.value_in_bounds"])[0] == 0.0
    assert compute(jumped, ["ts.blended_index"])[0] > 80
