"""The `ta.*` metrics that pandas does not give at once, of one window, from TA-Lib's own functions."""

import numpy as np
import talib

from app.domain.bars import FloatArray


def indicators_by_talib(high: FloatArray, low: FloatArray, close: FloatArray) -> dict[str, float]:
    """Compute those that need no volume, of one window of at least 60 bars."""
    lines = talib.MACD(close, 12, 26, 9)
    series = {
        "ta.atr_14": talib.ATR(high, low, close, 14),
        "ta.trix_15": talib.TRIX(close, 15),
        "ta.adx_14": talib.ADX(high, low, close, 14),
        "ta.rsi_14": talib.RSI(close, 14),
        "ta.cci_20": talib.CCI(high, low, close, 20),
        "ta.ultosc": talib.ULTOSC(high, low, close, 7, 14, 28),
        "ta.copp": talib.WMA(talib.ROC(close, 14) + talib.ROC(close, 11), 10),
        "ta.sto_ema": _mean(talib.STOCHF(high, low, close, 14, 1)[0], 3),
        "ta.tsi_25_13": 100 * _twice(np.diff(close), 25, 13) / _twice(np.abs(np.diff(close)), 25, 13),
        "ta.mass_index": _mass_index(high - low),
        **dict(zip(("ta.macd_line", "ta.macd_signal", "ta.macd_histogram"), lines, strict=True)),
    }
    return {name: float(values[-1]) for name, values in series.items()} | _pivots(high[-2], low[-2], close[-2])


def _mean(values: FloatArray, period: int) -> FloatArray:
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        return values
    return np.asarray(talib.EMA(values[known[0] :], period))


def _twice(values: FloatArray, first: int, second: int) -> FloatArray:
    return _mean(_mean(values, first), second)[-1:]


def _mass_index(widths: FloatArray) -> FloatArray:
    once = _mean(widths, 9)
    twice = _mean(once, 9)
    return np.asarray(talib.SUM(once[-25:] / twice[-25:], 25))


def _pivots(high: float, low: float, close: float) -> dict[str, float]:
    pivot = (high + low + close) / 3
    return {
        "ta.ppsr_pp": pivot,
        "ta.ppsr_r1": 2 * pivot - low,
        "ta.ppsr_s1": 2 * pivot - high,
        "ta.ppsr_r2": pivot + (high - low),
        "ta.ppsr_s2": pivot - (high - low),
        "ta.ppsr_r3": high + 2 * (pivot - low),
        "ta.ppsr_s3": low - 2 * (high - pivot),
    }
