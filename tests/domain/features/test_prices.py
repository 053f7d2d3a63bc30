import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.bars import Bars, FloatArray
from app.domain.features.catalog import MARKET_FEATURES, MARKET_INDEX, MARKET_NAMES
from app.domain.features.vectors import market_vector
from tests.domain.features.market import at, bars_at, gappy_bars, walk
from tests.domain.features.oracle import price_oracle

OF_PRICES = [f.name for f in MARKET_FEATURES if f.group in ("return", "volatility", "indicator", "volume", "flow")]


def values(bars: Bars, seconds: float) -> dict[str, float]:
    vector = market_vector(bars, [], at(seconds))
    return {name: value for name, value in zip(MARKET_NAMES, vector.tolist(), strict=True) if name in OF_PRICES}


def assert_agrees(found: dict[str, float], window: Bars) -> None:
    expected = price_oracle(window)
    assert {name for name, value in found.items() if not math.isnan(value)} == set(expected)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-9, abs=1e-9), name


@pytest.mark.parametrize(
    "length", [1, 2, 12, 13, 15, 20, 33, 34, 35, 47, 48, 49, 60, 61, 150, 288, 289, 299, 300, 301, 400]
)
def test_every_feature_matches_its_oracle_at_any_length(length: int) -> None:
    for seed in range(5):
        bars = bars_at(np.arange(length), walk(length, seed), seed)
        assert_agrees(values(bars, length), bars.last(300))


def test_every_feature_of_prices_has_an_oracle() -> None:
    bars = bars_at(np.arange(300), walk(300))
    assert set(price_oracle(bars)) == set(OF_PRICES)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 500), st.integers(0, 10_000), st.integers(0, 70), st.sampled_from([0.0, 0.02, 0.3]))
def test_every_feature_matches_its_oracle_through_silence(length: int, seed: int, late: int, silence: float) -> None:
    bars = gappy_bars(length, seed, silence=silence)
    seconds = float(bars.start[-1]) - at(0).timestamp() + 1 + late
    assert_agrees(values(bars, seconds), bars.window(at(seconds)))


@pytest.mark.parametrize("price", [1e-12, 1e-6, 1.1, 1e6, 1e12])
def test_ratios_do_not_depend_on_the_price_level(price: float) -> None:
    plain, scaled = (bars_at(np.arange(300), walk(300, 3, level), 3) for level in (64_000.0, price))
    before, after = values(plain, 300), values(scaled, 300)
    for name in set(OF_PRICES) - {"amihud_48"}:
        assert after[name] == pytest.approx(before[name], rel=1e-6, abs=1e-6), name


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([1e-12, 1e-9, 1e-3, 1.0, 7.0, 1e5, 1e12]), min_size=1, max_size=90),
    st.lists(st.sampled_from([0.0, 1e-12, 1.0, 1e12]), min_size=90, max_size=90),
    st.integers(0, 70),
)
def test_extremes_give_a_finite_value_or_none(closes: list[float], volumes: list[float], late: int) -> None:
    n = len(closes)
    made = bars_at(np.arange(n), np.array(closes))
    volume = np.array(volumes[:n])
    bars = replace(made, volume=volume, notional=volume * made.close)
    found = values(bars, n + late)
    assert not any(math.isinf(value) for value in found.values())
    if late <= 60:
        total = n + late
        needed = {1: "log_return_1", 14: "rsi_14", 12: "ewma_variance_99"}
        for bars_before, name in needed.items():
            assert math.isnan(found[name]) == (total <= bars_before), name


def flat(length: int, volume: float) -> Bars:
    one: FloatArray = np.full(length, 1.1)
    made = bars_at(np.arange(length), one)
    size = np.full(length, volume)
    return replace(made, open=one, high=one, low=one, volume=size, notional=size * one)


def test_a_flat_market_has_what_has_a_meaning() -> None:
    found = values(flat(300, 0.0), 300)
    assert found["rsi_14"] == 50.0
    assert found["cci_20"] == 0.0
    assert found["adx_14"] == 0.0
    zero = (
        "log_return_60",
        "realised_volatility_288",
        "ewma_variance_99",
        "parkinson_48",
        "garman_klass_48",
        "natr_14",
    )
    assert all(found[name] == 0.0 for name in zero)
    meaningless = ("percent_b_20", "macd_histogram_atr", "skewness_48", "vwap_distance_60", "donchian_position_20")
    assert all(math.isnan(found[name]) for name in (*meaningless, "cmf_20", "log_volume_1", "amihud_48"))


def test_a_flat_market_that_trades_has_volumes_and_no_distance() -> None:
    found = values(flat(300, 2.0), 300)
    assert found["log_volume_288"] == pytest.approx(math.log(2.0))
    assert found["relative_volume"] == 1.0
    assert found["cmf_20"] == found["order_flow_48"] == found["amihud_48"] == 0.0
    assert math.isnan(found["vwap_distance_60"])
    assert math.isnan(found["kyle_lambda_48"])


def test_ranges_that_move_around_an_unmoved_close_are_neither_overbought_nor_oversold() -> None:
    made = bars_at(np.arange(100), np.full(100, 5.0))
    assert values(made, 100)["rsi_14"] == 50.0


def test_a_price_that_is_no_price_breaks_nothing() -> None:
    closes = walk(60)
    closes[30] = 0.0
    made = bars_at(np.arange(60), closes)
    vector = market_vector(made, [], at(60))
    assert not np.isinf(vector).any()
    assert math.isfinite(vector[MARKET_INDEX["log_return_5"]])
