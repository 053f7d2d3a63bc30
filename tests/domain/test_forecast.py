import json
import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.bars import Bars
from app.domain.features.vectors import market_vector
from app.domain.forecast import (
    MODEL_NAMES,
    NO_MODEL,
    MarketForecast,
    ServedModel,
    assemble,
    baseline,
    document,
    for_trade,
    has_history,
    is_plausible,
)
from app.domain.schedule.outlook import YEAR_S
from app.domain.trade import Schedule, Side, Trade
from app.domain.values import Asset, Instrument

START = datetime(2025, 3, 1, 6, tzinfo=UTC)
MODELS = tuple(ServedModel(name, 0, "baseline", NO_MODEL) for name in MODEL_NAMES)


def bars_every(seconds: int, moves_bp: list[float], volume: float = 2.0) -> Bars:
    closes = 100 * np.exp(np.cumsum([0.0, *moves_bp]) / 1e4)
    rows = []
    for index, close in enumerate(closes):
        at = START + timedelta(seconds=index * seconds)
        rows.append((at, close, close, close, close, volume, volume * close, 1, close, at))
    return Bars.from_rows("BTC-USD", rows)


def trade(quantity_asset: str = "BTC", horizon_s: float = 900.0) -> Trade:
    return Trade(
        instrument=Instrument.parse("BTC-USD"),
        side=Side.BUY,
        quantity=Decimal("2.5"),
        quantity_asset=Asset(quantity_asset),
        schedule=Schedule(horizon_s=horizon_s),
    )


def market(anomaly: float | None = 0.5, volume: float | None = 0.1) -> MarketForecast:
    return MarketForecast("BTC-USD", START, 1e-4, volume, 0.0, anomaly, "normal", MODELS)


def baselines(bars: Bars, as_of: datetime) -> MarketForecast:
    vector = market_vector(bars, [], as_of)
    return assemble(bars, None, {name: baseline(name, bars, vector) for name in MODEL_NAMES}, MODELS)


def test_the_horizon_of_the_trade_scales_the_market() -> None:
    forecast = for_trade(market(), trade())
    assert forecast.volatility.expected_sd_bps == pytest.approx(1e-4 * 30 * 1e4)
    assert forecast.volatility.annualised == pytest.approx(1e-4 * math.sqrt(YEAR_S))
    assert forecast.volume.expected == pytest.approx(90.0)
    assert forecast.volume.participation == pytest.approx(2.5 / 90)
    assert forecast.drift.bps == 0.0


def test_an_immediate_trade_looks_one_second_ahead() -> None:
    assert for_trade(market(), trade(horizon_s=0.0)).volatility.horizon_s == 1.0


def test_what_is_unknown_is_null() -> None:
    shown = document(for_trade(market(anomaly=None, volume=None), trade()))
    assert shown["volume"]["expected"] is None
    assert shown["anomaly"] == {"score": None, "threshold": 1.0, "is_anomaly": False}
    assert document(for_trade(market(), trade("USD")))["volume"]["participation"] is None


@pytest.mark.parametrize(("score", "expected"), [(0.99, False), (1.01, True)])
def test_an_anomaly_is_a_score_above_its_threshold(score: float, expected: bool) -> None:
    assert for_trade(market(anomaly=score), trade()).anomaly.is_anomaly is expected


def test_the_document_has_the_shape_of_the_contract() -> None:
    shown = document(for_trade(market(), trade()))
    assert list(shown) == ["volatility", "volume", "drift", "anomaly", "regime", "models"]
    assert [one["name"] for one in shown["models"]] == list(MODEL_NAMES)
    assert shown["models"][0] == {"name": "volatility", "version": 0, "served_by": "baseline", "reason": NO_MODEL}
    assert json.loads(json.dumps(shown, allow_nan=False)) == shown


def test_without_any_history_the_baselines_stay_sensible() -> None:
    bars = Bars.empty("BTC-USD")
    vector = market_vector(bars, [], START)
    assert not any(has_history(name, vector) for name in MODEL_NAMES)
    forecast = baselines(bars, START)
    assert forecast.sigma * math.sqrt(YEAR_S) == pytest.approx(0.5)
    assert (forecast.volume_per_s, forecast.anomaly_score, forecast.regime) == (None, None, "unknown")


def test_baselines_recover_what_the_bars_were_made_of() -> None:
    bars = bars_every(1, [2.0, -2.0] * 150)
    forecast = baselines(bars, START + timedelta(seconds=301))
    assert forecast.sigma == pytest.approx(2e-4, rel=1e-6)
    assert forecast.volume_per_s == pytest.approx(2.0)
    assert forecast.regime == "normal"
    assert forecast.anomaly_score == pytest.approx(1 / 3)


def test_bars_too_sparse_for_features_still_tell_a_volatility() -> None:
    bars = bars_every(100, [20.0, -20.0] * 20, volume=50.0)
    forecast = baselines(bars, START + timedelta(days=1))
    assert forecast.sigma == pytest.approx(20e-4 / 10, rel=1e-6)
    assert forecast.volume_per_s == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize(("quiet", "loud", "regime"), [(4.0, 1.0, "calm"), (1.0, 4.0, "turbulent")])
def test_regimes_compare_short_and_long_volatility(quiet: float, loud: float, regime: str) -> None:
    bars = bars_every(1, [quiet, -quiet] * 126 + [loud, -loud] * 24)
    assert baselines(bars, START + timedelta(seconds=301)).regime == regime


@settings(deadline=None)
@given(st.lists(st.floats(-500, 500), max_size=60), st.integers(1, 200), st.floats(0, 1e9))
def test_every_forecast_can_be_written_as_json(moves: list[float], seconds: int, volume: float) -> None:
    bars = bars_every(seconds, moves, volume)
    as_of = START + timedelta(seconds=seconds * (len(moves) + 1))
    json.dumps(document(for_trade(baselines(bars, as_of), trade())), allow_nan=False)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("volatility", math.nan, False),
        ("volatility", 51.0, False),
        ("volatility", -3.0, True),
        ("anomaly", -0.1, False),
        ("regime", 2.0, True),
        ("regime", 3.0, False),
        ("volume", math.inf, False),
    ],
)
def test_a_models_output_must_make_sense(name: str, value: float, expected: bool) -> None:
    (known,) = [one for one in MODEL_NAMES if one == name]
    assert is_plausible(known, value) is expected
