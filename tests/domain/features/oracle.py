"""Every feature of prices, computed again from its published formula with numpy, or by TA-Lib on the whole window."""

import math
from itertools import pairwise

import numpy as np
import talib

from app.domain.bars import Bars


def price_oracle(window: Bars) -> dict[str, float]:
    """Compute what a window of consecutive bars holds; what has no value is left out."""
    values: dict[str, float] = {}
    if len(window):
        _returns(values, window)
        _indicators(values, window)
        _volumes(values, window)
    return {name: float(value) for name, value in values.items() if not math.isnan(value)}


def _returns(values: dict[str, float], window: Bars) -> None:
    close = window.close
    r = np.log(close[1:] / close[:-1]) * 1e4
    n = len(r)
    values |= {f"log_return_{k}": 1e4 * math.log(close[-1] / close[-1 - k]) for k in (1, 5, 20, 60) if n >= k}
    values |= {f"realised_volatility_{k}": math.sqrt(np.mean(r[-k:] ** 2)) for k in (12, 48, 288) if n >= k}
    if n >= 12:
        for percent in (94, 99):
            weights = (percent / 100) ** np.arange(n)
            values[f"ewma_variance_{percent}"] = float(np.average(r[::-1] ** 2, weights=weights))
    if len(window) >= 48:
        hl = np.log(window.high[-48:] / window.low[-48:])
        co = np.log(window.close[-48:] / window.open[-48:])
        values["parkinson_48"] = 1e4 * math.sqrt(np.mean(hl**2) / (4 * math.log(2)))
        variance = np.mean(hl**2 / 2 - (2 * math.log(2) - 1) * co**2)
        values["garman_klass_48"] = 1e4 * math.sqrt(max(0.0, float(variance)))
    if n < 48:
        return
    r = r[-48:]
    if np.any(r):
        bipower = math.pi / 2 * sum(abs(a * b) for a, b in pairwise(r)) / 47
        values["jump_share_48"] = 1 - bipower / np.mean(r**2)
        off = r - r.mean()
        values["skewness_48"] = np.mean(off**3) / np.mean(off**2) ** 1.5
        covariance = sum(a * b for a, b in pairwise(off)) / 47
        values["roll_spread_48"] = 2 * math.sqrt(max(0.0, -covariance))
    volume, notional = window.volume[-48:], window.notional[-48:]
    if volume.sum() > 0:
        signed = np.sign(r) * volume / volume.mean()
        values["order_flow_48"] = float(signed.mean())
        if np.any(signed):
            values["kyle_lambda_48"] = np.sum(signed * r) / np.sum(signed**2)
    if np.any(notional > 0):
        values["amihud_48"] = float(1e6 * np.mean(np.abs(r)[notional > 0] / notional[notional > 0]))


def _indicators(values: dict[str, float], window: Bars) -> None:
    high, low, close = window.high, window.low, window.close
    # Where only differences count, prices are moved down to the last: at 64,000 few of TA-Lib's digits are left.
    near = [prices - close[-1] for prices in (high, low, close)]
    n = len(close)
    if n > 14:
        values["rsi_14"] = talib.RSI(close, 14)[-1] if np.any(np.diff(close)) else 50.0
        values["natr_14"] = talib.NATR(high, low, close, 14)[-1]
    if n >= 34:
        true_range = talib.ATR(high, low, close, 14)[-1]
        if true_range > 0:
            values["macd_histogram_atr"] = talib.MACD(near[2], 12, 26, 9)[2][-1] / true_range
        values["adx_14"] = talib.ADX(high, low, close, 14)[-1]
    if n >= 20:
        upper, _, lower = talib.BBANDS(near[2][-20:], 20, 2.0, 2.0)
        if upper[-1] > lower[-1]:
            values["percent_b_20"] = (0.0 - lower[-1]) / (upper[-1] - lower[-1])
        values["cci_20"] = talib.CCI(near[0], near[1], near[2], 20)[-1]
        top, bottom = high[-20:].max(), low[-20:].min()
        if top > bottom:
            values["donchian_position_20"] = (close[-1] - bottom) / (top - bottom)


def _volumes(values: dict[str, float], window: Bars) -> None:
    n = len(window)
    means = {k: window.volume[-k:].mean() for k in (1, 12, 288) if n >= k}
    values |= {f"log_volume_{k}": math.log(mean) for k, mean in means.items() if mean > 0}
    if means.get(288, 0.0) > 0:
        values["relative_volume"] = means[12] / means[288]
    if n >= 12:
        values["trade_count_12"] = window.count[-12:].mean()
    if n >= 20 and window.volume[-20:].sum() > 0:
        high, low, close, volume = (x[-20:] for x in (window.high, window.low, window.close, window.volume))
        span = np.where(high > low, high - low, 1.0)
        place = np.where(high > low, ((close - low) - (high - close)) / span, 0.0)
        values["cmf_20"] = np.sum(place * volume) / volume.sum()
    if n >= 60 and window.volume[-60:].sum() > 0:
        vwap = window.notional[-60:].sum() / window.volume[-60:].sum()
        deviation = np.log(window.close[-60:] / window.close[-1]).std()
        if deviation > 0:
            values["vwap_distance_60"] = math.log(window.close[-1] / vwap) / deviation
