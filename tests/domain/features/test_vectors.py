import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.bars import Bars, FloatArray
from app.domain.features.catalog import (
    FEATURES,
    MARKET_FEATURES,
    MARKET_INDEX,
    MARKET_NAMES,
    REQUEST_NAMES,
    catalog_document,
    schema_hash,
)
from app.domain.features.vectors import market_vector, request_vector
from app.domain.market import MarketStatus, OrderBook
from app.domain.trade import Schedule, Side, Trade
from app.domain.values import Asset, Instrument, MarketId, Venue

START = datetime(2025, 3, 1, 6, tzinfo=UTC)
BOOK_FEATURES = [feature.name for feature in MARKET_FEATURES if feature.group == "book"]


def make_bars(closes: Sequence[float], seed: int = 0, volumes: Sequence[float] | None = None) -> Bars:
    random = np.random.default_rng(seed)
    rows = []
    for index, close in enumerate(closes):
        open_ = closes[index - 1] if index else close
        start = START + timedelta(seconds=index)
        volume = float(random.exponential(3.0)) if volumes is None else volumes[index]
        high = max(open_, close) * (1 + 1e-4 * random.random())
        low = min(open_, close) * (1 - 1e-4 * random.random())
        last_at = start + timedelta(milliseconds=400)
        count = 1 + index % 3
        rows.append((start, open_, high, low, close, volume, volume * close, count, count * close, last_at))
    return Bars.from_rows("BTC-USD", rows)


def walk(length: int, seed: int = 0) -> list[float]:
    moves = np.random.default_rng(seed).normal(0, 1e-4, length)
    return [float(close) for close in 64_000 * np.exp(np.cumsum(moves))]


def at(bars: int) -> datetime:
    return START + timedelta(seconds=bars)


def book(
    bids: Sequence[tuple[str, str]],
    asks: Sequence[tuple[str, str]],
    venue: str = "kraken",
    status: MarketStatus = MarketStatus.TRADING,
) -> OrderBook:
    return OrderBook(
        market_id=MarketId(f"{venue}:BTC-USD"),
        venue=Venue(venue),
        fee_bps=Decimal(10),
        status=status,
        base=Asset("BTC"),
        quote=Asset("USD"),
        bids=tuple((Decimal(price), Decimal(size)) for price, size in bids),
        asks=tuple((Decimal(price), Decimal(size)) for price, size in asks),
    )


BOOK = book([("9999", "3"), ("9998", "1"), ("9980", "7")], [("10001", "1"), ("10004", "2"), ("10020", "9")])


def feature(vector: FloatArray, name: str) -> float:
    return float(vector[MARKET_INDEX[name]])


def oracle(bars: Bars) -> dict[str, float]:
    """Compute by plain loops, from the formulas."""
    close = bars.close.tolist()
    r = [1e4 * math.log(b / a) for a, b in pairwise(close)]
    last = list(zip(bars.open, bars.high, bars.low, bars.close, bars.volume, bars.notional, strict=True))
    values = {f"log_return_{n}": 1e4 * math.log(close[-1] / close[-1 - n]) for n in (1, 5, 20, 60)}
    values |= {f"realised_volatility_{n}": math.sqrt(sum(x * x for x in r[-n:]) / n) for n in (12, 48, 288)}
    for percent in (94, 99):
        weights = [(percent / 100) ** age for age in range(len(r))]
        weighted = sum(w * x * x for w, x in zip(weights, reversed(r), strict=True))
        values[f"ewma_variance_{percent}"] = weighted / sum(weights)
    spans = [math.log(high / low) ** 2 for _, high, low, *_ in last[-48:]]
    bodies = [math.log(c / o) ** 2 for o, _, _, c, *_ in last[-48:]]
    values["parkinson_48"] = 1e4 * math.sqrt(sum(spans) / 48 / (4 * math.log(2)))
    garman_klass = sum(0.5 * s - (2 * math.log(2) - 1) * b for s, b in zip(spans, bodies, strict=True)) / 48
    values["garman_klass_48"] = 1e4 * math.sqrt(garman_klass)
    r48, v48 = r[-48:], bars.volume[-48:].tolist()
    bipower = math.pi / 2 * sum(abs(a * b) for a, b in pairwise(r48)) / 47
    values["jump_share_48"] = 1 - bipower / (sum(x * x for x in r48) / 48)
    mean = sum(r48) / 48
    second = sum((x - mean) ** 2 for x in r48) / 48
    values["skewness_48"] = sum((x - mean) ** 3 for x in r48) / 48 / second**1.5
    covariance = sum((a - mean) * (b - mean) for a, b in pairwise(r48)) / 47
    values["roll_spread_48"] = 2 * math.sqrt(max(0.0, -covariance))
    signed = [math.copysign(v, x) for x, v in zip(r48, v48, strict=True)]
    values["order_flow_48"] = sum(signed) / sum(v48)
    unit = sum(v48) / 48
    scaled = [s / unit for s in signed]
    slope = sum(s * x for s, x in zip(scaled, r48, strict=True)) / sum(s * s for s in scaled)
    values["kyle_lambda_48"] = slope
    values["amihud_48"] = 1e6 * sum(abs(x) / bar[5] for x, bar in zip(r48, last[-48:], strict=True)) / 48
    flows = [((c - low) - (high - c)) / (high - low) * v for _, high, low, c, v, _ in last[-20:]]
    values["cmf_20"] = sum(flows) / sum(bar[4] for bar in last[-20:])
    top, bottom = max(bar[1] for bar in last[-20:]), min(bar[2] for bar in last[-20:])
    values["donchian_position_20"] = (close[-1] - bottom) / (top - bottom)
    vwap = sum(bar[5] for bar in last[-60:]) / sum(bar[4] for bar in last[-60:])
    logs = [math.log(x) for x in close[-60:]]
    deviation = math.sqrt(sum((x - sum(logs) / 60) ** 2 for x in logs) / 60)
    values["vwap_distance_60"] = math.log(close[-1] / vwap) / deviation
    means = {n: sum(bar[4] for bar in last[-n:]) / n for n in (1, 12, 288)}
    values |= {f"log_volume_{n}": math.log(value) for n, value in means.items()}
    values["relative_volume"] = means[12] / means[288]
    values["trade_count_12"] = sum(bars.count[-12:].tolist()) / 12
    return values


def test_every_price_feature_matches_its_formula() -> None:
    bars = make_bars(walk(300))
    vector = market_vector(bars, [], at(300))
    for name, expected in oracle(bars).items():
        assert feature(vector, name) == pytest.approx(expected, rel=1e-7, abs=1e-9), name


def test_indicators_match_ta_lib_on_the_whole_window() -> None:
    bars = make_bars(walk(300, seed=3))
    vector = market_vector(bars, [], at(300))
    high, low, close = bars.high, bars.low, bars.close
    upper, _, lower = talib.BBANDS(close, 20, 2.0, 2.0)
    expected = {
        "rsi_14": talib.RSI(close, 14)[-1],
        "natr_14": talib.NATR(high, low, close, 14)[-1],
        "adx_14": talib.ADX(high, low, close, 14)[-1],
        "macd_histogram_atr": talib.MACD(close, 12, 26, 9)[2][-1] / talib.ATR(high, low, close, 14)[-1],
        "percent_b_20": (close[-1] - lower[-1]) / (upper[-1] - lower[-1]),
        "cci_20": talib.CCI(high, low, close, 20)[-1],
    }
    for name, value in expected.items():
        assert feature(vector, name) == pytest.approx(value, rel=1e-6), name


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


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(1e-6, 1e7), min_size=0, max_size=80),
    st.lists(st.floats(0, 1e9), min_size=80, max_size=80),
    st.integers(0, 120),
)
def test_features_are_finite_or_missing(closes: list[float], volumes: list[float], late: int) -> None:
    vector = market_vector(make_bars(closes, volumes=volumes), [BOOK], at(len(closes) + late))
    assert vector.shape == (len(MARKET_NAMES),)
    assert not np.isinf(vector).any()


def test_a_flat_market_is_neither_oversold_nor_an_error() -> None:
    vector = market_vector(Bars.from_rows("BTC-USD", flat_rows(100)), [], at(100))
    assert feature(vector, "rsi_14") == 50.0
    assert feature(vector, "ewma_variance_99") == 0.0
    assert math.isnan(feature(vector, "percent_b_20"))
    assert math.isnan(feature(vector, "log_volume_12"))


def flat_rows(length: int) -> list[tuple[object, ...]]:
    seconds = [START + timedelta(seconds=index) for index in range(length)]
    return [(second, 5.0, 5.0, 5.0, 5.0, 0.0, 0.0, 1, 5.0, second) for second in seconds]


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


def test_books_match_hand_computation() -> None:
    vector = market_vector(Bars.empty("BTC-USD"), [BOOK], START)
    expected = {
        "relative_spread": 2.0,
        "imbalance_1": 0.5,
        "imbalance_5": -1 / 23,
        "microprice_offset": ((9999 * 1 + 10001 * 3) / 4 / 10000 - 1) * 1e4,
        "depth_bid_10bp": 4.0,
        "depth_ask_10bp": 3.0,
        "book_slope": (11 / 20 + 12 / 20) / 2,
    }
    assert sorted(expected) == sorted(BOOK_FEATURES)
    for name, value in expected.items():
        assert feature(vector, name) == pytest.approx(value), name


def test_books_of_all_venues_count_and_unusable_ones_do_not() -> None:
    other = book([("9990", "5")], [("10000.5", "6")], venue="coinbase")
    halted = book([("9999.9", "50")], [("10000", "60")], venue="bitstamp", status=MarketStatus.HALTED)
    one_sided = book([("9999.9", "50")], [], venue="gemini")
    vector = market_vector(Bars.empty("BTC-USD"), [BOOK, other, halted, one_sided], START)
    assert feature(vector, "relative_spread") == pytest.approx(1.5 / 9999.75 * 1e4)
    assert feature(vector, "imbalance_1") == pytest.approx((8 - 7) / 15)
    elsewhere = market_vector(Bars.empty("ETH-USD"), [BOOK], START)
    assert math.isnan(feature(elsewhere, "relative_spread"))


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
