"""The metrics that pandas computes naturally, over one window at a time as any program recomputing them would."""

from importlib import import_module
from typing import Any

import numpy as np

from app.domain.bars import Bars


def frame_of(window: Bars) -> Any:
    """Put a window into a data frame."""
    columns = ("high", "low", "close", "volume", "notional", "count", "price_sum")
    return import_module("pandas").DataFrame({name: getattr(window, name) for name in columns})


def seconds_by_pandas(frame: Any) -> dict[str, float]:
    """Compute the `ts.*` metrics of one window."""
    close = frame["close"]
    steps = close.diff()
    rises, falls = steps.clip(lower=0).sum(), -steps.clip(upper=0).sum()
    count = frame["count"].sum()
    sma = frame["price_sum"].sum() / count
    ema = close.ewm(alpha=0.5, adjust=False).mean().iloc[-1]
    sd = close.std(ddof=0)
    weights = np.arange(1, len(close) + 1)
    rsi = 100 - 100 / (1 + rises / falls)
    bands = {
        "ts.sma_upper": sma + 2 * sd,
        "ts.sma_lower": sma - 2 * sd,
        "ts.ema_upper": ema + 2 * sd,
        "ts.ema_lower": ema - 2 * sd,
    }
    newest = close.iloc[-1]
    places = [100 * (newest - bands[f"ts.{each}_lower"]) / (4 * sd) for each in ("sma", "ema")]
    return bands | {
        "ts.sma": sma,
        "ts.ema": ema,
        "ts.wma": (close * weights).sum() / weights.sum(),
        "ts.vwap": frame["notional"].sum() / frame["volume"].sum(),
        "ts.sd": sd,
        "ts.log_return": np.log(close).diff().iloc[-1],
        "ts.log_return_300": np.log(newest / close.iloc[0]),
        "ts.up_sum": rises,
        "ts.down_sum": falls,
        "ts.average_gain": rises / (len(close) - 1),
        "ts.average_loss": falls / (len(close) - 1),
        "ts.relative_strength": rises / falls,
        "ts.rsi": rsi,
        "ts.value_in_bounds": float(bands["ts.sma_lower"] <= newest <= bands["ts.sma_upper"]),
        "ts.blended_index": (rsi + sum(places)) / 3,
        "ts.count": count,
    }


def indicators_by_pandas(frame: Any) -> dict[str, float]:
    """Compute those of the `ta.*` metrics that rolling windows give, of one window."""
    high, low, close, volume = (frame[name] for name in ("high", "low", "close", "volume"))
    typical = (high + low + close) / 3
    mean, deviation = close.rolling(20).mean(), close.rolling(20).std(ddof=0)
    true = np.maximum(high, close.shift()) - np.minimum(low, close.shift())
    bottom, top = low.rolling(14).min(), high.rolling(14).max()
    place = 100 * (close - bottom) / (top - bottom)
    flow = typical * volume
    inflow = flow.where(typical.diff() > 0, 0.0).rolling(14).sum()
    outflow = flow.where(typical.diff() < 0, 0.0).rolling(14).sum()
    changes = [100 * close.pct_change(n).rolling(size).mean() for n, size in ((10, 10), (15, 10), (20, 10), (30, 15))]
    middle = (high + low) / 2
    upper, lower = high.rolling(20).max(), low.rolling(20).min()
    width = (high - low).rolling(20).mean()
    series = {
        "ta.sma_20": mean,
        "ta.ema_20": close.ewm(span=20, adjust=False).mean(),
        "ta.mom_10": close.diff(10),
        "ta.roc_10": 100 * close.pct_change(10),
        "ta.ror_10": close.pct_change(10),
        "ta.aror_10": close.pct_change().rolling(10).mean(),
        "ta.bbands_20_upper": mean + 2 * deviation,
        "ta.bbands_20_middle": mean,
        "ta.bbands_20_lower": mean - 2 * deviation,
        "ta.stok": place,
        "ta.sto_sma": place.rolling(3).mean(),
        "ta.vortex_14_plus": (high - low.shift()).abs().rolling(14).sum() / true.rolling(14).sum(),
        "ta.vortex_14_minus": (low - high.shift()).abs().rolling(14).sum() / true.rolling(14).sum(),
        "ta.kst": changes[0] + 2 * changes[1] + 3 * changes[2] + 4 * changes[3],
        "ta.force_13": (close.diff() * volume).ewm(span=13, adjust=False).mean(),
        "ta.eom_14": (middle.diff() * (high - low) / volume).rolling(14).mean(),
        "ta.mfi_14": 100 * inflow / (inflow + outflow),
        "ta.kelch_20_upper": typical.rolling(20).mean() + width,
        "ta.kelch_20_middle": typical.rolling(20).mean(),
        "ta.kelch_20_lower": typical.rolling(20).mean() - width,
        "ta.donch_20_upper": upper,
        "ta.donch_20_middle": (upper + lower) / 2,
        "ta.donch_20_lower": lower,
    }
    return {name: float(values.iloc[-1]) for name, values in series.items()}
