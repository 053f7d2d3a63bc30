import math
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.bars import Bars, FloatArray
from app.domain.features.catalog import (
    FEATURES,
    MARKET_INDEX,
    MARKET_NAMES,
    REQUEST_NAMES,
    catalog_document,
    schema_hash,
)
from app.domain.features.vectors import market_vector, request_vector
from app.domain.trade import Schedule, Side, Trade
from app.domain.values import Asset, Instrument
from tests.domain.features.market import START, at, bars_at, book, walk

BOOK = book([("9999", "3"), ("9998", "1"), ("9980", "7")], [("10001", "1"), ("10004", "2"), ("10020", "9")])


def make_bars(closes: Sequence[float] | FloatArray) -> Bars:
    bars = bars_at(np.arange(len(closes)), np.asarray(closes, dtype=np.float64))
    return replace(bars, last_at=bars.start + 0.4)


def feature(vector: FloatArray, name: str) -> float:
    return float(vector[MARKET_INDEX[name]])


def test_nothing_is_known_without_bars_and_books_but_the_time() -> None:
    vector = market_vector(Bars.empty("BTC-USD"), [], START)
    known = [name for name in MARKET_NAMES if not math.isnan(feature(vector, name))]
    assert known == ["time_of_day_sin", "time_of_day_cos"]
    assert feature(vector, "time_of_day_sin") == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("name", "bars"),
    [("log_return_5", 6), ("log_return_60", 61), ("realised_volatility_288", 289), ("rsi_14", 15), ("parkinson_48", 48),
     ("ewma_variance_99", 13), ("adx_14", 34), ("percent_b_20", 20), ("log_volume_288", 288), ("vwap_distance_60", 60)],
)  # fmt: skip
def test_a_feature_appears_with_its_last_missing_bar(name: str, bars: int) -> None:
    closes = walk(bars)
    assert math.isnan(feature(market_vector(make_bars(closes[:-1]), [], at(bars - 1)), name))
    assert math.isfinite(feature(market_vector(make_bars(closes), [], at(bars)), name))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 400), st.integers(0, 40))
def test_the_future_and_the_distant_past_change_nothing(before: int, after: int) -> None:
    closes = walk(before + 300 + after, seed=7)
    everything = make_bars(closes)
    as_of = at(before + 300)
    exact = everything.between(at(before).timestamp(), as_of.timestamp())
    assert len(exact) == 300
    whole, cut = market_vector(everything, [BOOK], as_of), market_vector(exact, [BOOK], as_of)
    assert whole.tobytes() == cut.tobytes()


def test_age_and_gap_are_told() -> None:
    bars = make_bars(walk(50))
    fresh, old, lost = (market_vector(bars, [], at(50 + late)) for late in (0, 10, 100))
    assert feature(fresh, "quote_age") == pytest.approx(0.6)
    assert feature(old, "quote_age") == pytest.approx(10.6)
    assert [feature(v, "gap_flag") for v in (fresh, old, lost)] == [0.0, 1.0, 1.0]
    assert math.isnan(feature(lost, "log_return_1"))


def test_the_request_is_measured_against_the_market() -> None:
    bars = make_bars(walk(300))
    market = market_vector(bars, [BOOK], at(300))
    trade = Trade(
        instrument=Instrument.parse("BTC-USD"),
        side=Side.BUY,
        quantity=Decimal("20000"),
        quantity_asset=Asset("USD"),
        schedule=Schedule(horizon_s=900),
    )
    values = dict(zip(REQUEST_NAMES, request_vector(trade, bars, [BOOK], market), strict=True))
    share = 2.0 / (math.exp(feature(market, "log_volume_288")) * 86_400)
    assert values == pytest.approx(
        {
            "side": 1.0,
            "quantity_adv": share,
            "quantity_depth": 2.0 / 3.0,
            "log_horizon": math.log(901),
            "root_impact": math.sqrt(feature(market, "ewma_variance_99") * 86_400 * share),
        }
    )


def test_a_request_on_an_unknown_market_has_no_ratios() -> None:
    bars = Bars.empty("BTC-USD")
    trade = Trade(Instrument.parse("BTC-USD"), Side.SELL, Decimal(1), Asset("USD"))
    values = dict(zip(REQUEST_NAMES, request_vector(trade, bars, [], market_vector(bars, [], START)), strict=True))
    assert values["side"] == -1.0
    assert values["log_horizon"] == 0.0
    assert all(math.isnan(values[name]) for name in ("quantity_adv", "quantity_depth", "root_impact"))


def test_the_catalog_names_every_feature_once() -> None:
    names = [one.name for one in FEATURES]
    assert len(set(names)) == len(names) == 47
    assert all(one.description and one.unit and one.group for one in FEATURES)
    document = catalog_document()
    assert document["schema_hash"] == schema_hash()
    assert len(schema_hash()) == 64
