"""What is expected of a market, and the baselines that answer where no model can."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np

from app.domain.bars import Bars, FloatArray
from app.domain.features.catalog import MARKET_INDEX
from app.domain.schedule.outlook import PRIOR_ANNUAL_VOLATILITY, YEAR_S
from app.domain.trade import Trade
from app.domain.values import Asset

ModelName = Literal["volatility", "volume", "drift", "anomaly", "regime"]
ServedBy = Literal["model", "baseline"]

MODEL_NAMES: tuple[ModelName, ...] = ("volatility", "volume", "drift", "anomaly", "regime")
REGIMES = ("calm", "normal", "turbulent")
NO_HISTORY = "no_history"
NO_MODEL = "no_model"
MODEL_ERROR = "model_error"
MODEL_REFUSED = "model_refused"
NOT_FINITE = "not_finite"
OUT_OF_DISTRIBUTION = "out_of_distribution"

VARIANCE_FLOOR_BP2 = 1e-6
ANOMALY_THRESHOLD = 1.0
SEEKS_THE_UNUSUAL: frozenset[ModelName] = frozenset({"anomaly"})
"""Models for which an input unlike their training is the finding, not a reason to keep silent."""

_ANOMALY_QUANTILE = 0.99
_ANOMALY_MULTIPLE = 3.0
_MAX_LOG = 50.0

# A model that imputes would answer even for an empty vector; these tell history from none.
_NEEDED: dict[ModelName, str] = {
    "volatility": "ewma_variance_99",
    "volume": "log_volume_12",
    "drift": "ewma_variance_99",
    "anomaly": "ewma_variance_99",
    "regime": "ewma_variance_99",
}


@dataclass(frozen=True, slots=True)
class ServedModel:
    """Which version answered under a name; a baseline has version 0 and a reason."""

    name: ModelName
    version: int
    served_by: ServedBy
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class MarketForecast:
    """What holds for every trade on an instrument until its next bar.

    `sigma` is the deviation of the log price per root second, `volume_per_s` is in base.
    """

    instrument: str
    bar_time: datetime | None
    sigma: float
    volume_per_s: float | None
    drift_bps_per_s: float
    anomaly_score: float | None
    regime: str
    models: tuple[ServedModel, ...]


@dataclass(frozen=True, slots=True)
class Volatility:
    """Deviation per root second, per root year, and over the trade's horizon in basis points."""

    per_sqrt_second: float
    annualised: float
    horizon_s: float
    expected_sd_bps: float


@dataclass(frozen=True, slots=True)
class Volume:
    """Base volume per second and over the trade's horizon; None when it is unknown."""

    per_second: float | None
    expected: float | None
    asset: Asset
    horizon_s: float
    participation: float | None


@dataclass(frozen=True, slots=True)
class Drift:
    """Expected change of the price over the trade's horizon."""

    bps: float
    horizon_s: float


@dataclass(frozen=True, slots=True)
class Anomaly:
    """How unusual the market looks; the score is None without history."""

    score: float | None
    threshold: float
    is_anomaly: bool


@dataclass(frozen=True, slots=True)
class Regime:
    """Which of `REGIMES` the market is in, or `unknown`."""

    label: str


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is expected of the market over one trade."""

    volatility: Volatility
    volume: Volume
    drift: Drift
    anomaly: Anomaly
    regime: Regime
    models: tuple[ServedModel, ...]


def for_trade(market: MarketForecast, trade: Trade) -> Forecast:
    """Apply the trade's terms to its market's forecast. An immediate trade looks one second ahead."""
    horizon_s = max(1.0, trade.schedule.horizon_s)
    rate = market.volume_per_s
    expected = None if rate is None else rate * horizon_s
    in_base = trade.quantity_asset == trade.instrument.base
    participation = float(trade.quantity) / expected if expected and in_base else math.inf
    return Forecast(
        volatility=Volatility(
            per_sqrt_second=market.sigma,
            annualised=market.sigma * math.sqrt(YEAR_S),
            horizon_s=horizon_s,
            expected_sd_bps=market.sigma * math.sqrt(horizon_s) * 1e4,
        ),
        volume=Volume(
            per_second=rate,
            expected=expected,
            asset=trade.instrument.base,
            horizon_s=horizon_s,
            participation=participation if math.isfinite(participation) else None,
        ),
        drift=Drift(bps=market.drift_bps_per_s * horizon_s, horizon_s=horizon_s),
        anomaly=Anomaly(
            score=market.anomaly_score,
            threshold=ANOMALY_THRESHOLD,
            is_anomaly=market.anomaly_score is not None and market.anomaly_score > ANOMALY_THRESHOLD,
        ),
        regime=Regime(market.regime),
        models=market.models,
    )


def document(forecast: Forecast) -> dict[str, Any]:
    """Return the forecast as the contract's JSON shows it; numbers are finite or null."""
    volatility, volume, drift, anomaly = (
        forecast.volatility,
        forecast.volume,
        forecast.drift,
        forecast.anomaly,
    )
    return {
        "volatility": {
            "per_sqrt_second": volatility.per_sqrt_second,
            "annualised": volatility.annualised,
            "horizon_s": volatility.horizon_s,
            "expected_sd_bps": volatility.expected_sd_bps,
        },
        "volume": {
            "per_second": volume.per_second,
            "expected": volume.expected,
            "asset": volume.asset,
            "horizon_s": volume.horizon_s,
            "participation": volume.participation,
        },
        "drift": {"bps": drift.bps, "horizon_s": drift.horizon_s},
        "anomaly": {
            "score": anomaly.score,
            "threshold": anomaly.threshold,
            "is_anomaly": anomaly.is_anomaly,
        },
        "regime": {"label": forecast.regime.label},
        "models": [
            {"name": model.name, "version": model.version, "served_by": model.served_by, "reason": model.reason}
            for model in forecast.models
        ],
    }


def has_history(name: ModelName, vector: FloatArray) -> bool:
    """Say whether a market vector holds what a model cannot do without."""
    return not math.isnan(vector[MARKET_INDEX[_NEEDED[name]]])


def is_plausible(name: ModelName, value: float) -> bool:
    """Say whether a model's raw output is a number that its unit allows."""
    if not math.isfinite(value):
        return False
    if name == "regime":
        return 0 <= round(value) < len(REGIMES)
    if name == "anomaly":
        return value >= 0.0
    return abs(value) <= _MAX_LOG


def baseline(name: ModelName, bars: Bars, vector: FloatArray) -> float | None:
    """Answer in a model's place and unit, from what history there is; None where there is too little.

    volatility: log of EWMA(.99) variance in bp² a bar · volume: log of the last bars' mean volume · drift: zero ·
    anomaly: last return over three times the window's 99 % quantile · regime: short against long volatility.
    """
    if name == "volatility":
        value = _log_variance(bars, vector)
    elif name == "volume":
        value = _log_volume(bars, vector)
    elif name == "drift":
        value = 0.0
    elif name == "anomaly":
        value = anomaly_ratio(bars, vector)
    else:
        value = _regime(vector)
    return value if value is not None and math.isfinite(value) else None


def assemble(
    bars: Bars, bar_time: datetime | None, outputs: Mapping[ModelName, float | None], models: tuple[ServedModel, ...]
) -> MarketForecast:
    """Turn raw outputs, of models or baselines, into quantities."""
    log_variance, log_volume = outputs["volatility"], outputs["volume"]
    regime = outputs["regime"]
    if log_variance is None:
        sigma = PRIOR_ANNUAL_VOLATILITY / math.sqrt(YEAR_S)
    else:
        sigma = math.exp(log_variance / 2) / 1e4 / math.sqrt(bars.interval_s)
    return MarketForecast(
        instrument=bars.instrument,
        bar_time=bar_time,
        sigma=sigma,
        volume_per_s=None if log_volume is None else math.exp(log_volume) / bars.interval_s,
        drift_bps_per_s=outputs["drift"] or 0.0,
        anomaly_score=outputs["anomaly"],
        regime="unknown" if regime is None else REGIMES[round(regime)],
        models=models,
    )


def anomaly_ratio(bars: Bars, vector: FloatArray) -> float | None:
    """Return the last return against the window's 99 % quantile; above 1 is unusual."""
    last = float(vector[MARKET_INDEX["log_return_1"]])
    close = bars.close[-300:]
    if math.isnan(last) or len(close) < 30:
        return None
    usual = float(np.quantile(np.abs(np.diff(np.log(close))), _ANOMALY_QUANTILE)) * 1e4
    return abs(last) / max(usual * _ANOMALY_MULTIPLE, math.sqrt(VARIANCE_FLOOR_BP2))


def _log_variance(bars: Bars, vector: FloatArray) -> float | None:
    variance = float(vector[MARKET_INDEX["ewma_variance_99"]])
    if not math.isnan(variance):
        return math.log(max(variance, VARIANCE_FLOOR_BP2))
    if len(bars) < 2:
        return None
    # Bars too far apart for a window still say how far the price went in how much time.
    moves = np.diff(np.log(bars.close)) * 1e4
    elapsed = max(1.0, (float(bars.start[-1]) - float(bars.start[0])) / bars.interval_s)
    return math.log(max(float(moves @ moves) / elapsed, VARIANCE_FLOOR_BP2))


def _log_volume(bars: Bars, vector: FloatArray) -> float | None:
    for feature in ("log_volume_288", "log_volume_12"):
        value = float(vector[MARKET_INDEX[feature]])
        if not math.isnan(value):
            return value
    total = float(bars.volume.sum())
    if total <= 0.0:
        return None
    elapsed = (float(bars.start[-1]) - float(bars.start[0])) / bars.interval_s + 1
    return math.log(total) - math.log(elapsed)


def _regime(vector: FloatArray) -> float | None:
    short, long = (float(vector[MARKET_INDEX[f"realised_volatility_{bars}"]]) for bars in (48, 288))
    if math.isnan(short) or math.isnan(long):
        return None
    return 0.0 if short < 0.6 * long else 2.0 if short > 1.6 * long else 1.0
