"""Features of one instrument's bars. A feature whose history is too short is left out, never zero."""

import math

import numpy as np
import talib

from app.domain.bars import WINDOW, Bars, FloatArray

BP = 1e4
MIN_EWMA_RETURNS = 12
_WEIGHTS = {decay: decay ** np.arange(WINDOW)[::-1].astype(np.float64) for decay in (0.94, 0.99)}
_WEIGHT_SUMS = {decay: weights[::-1].cumsum() for decay, weights in _WEIGHTS.items()}
_LEAST_NOTIONAL = 1e-12
_FOUR_LOG_2 = 4 * math.log(2)

Values = dict[str, float]


def price_features(window: Bars) -> Values:
    """Compute what consecutive bars hold."""
    values: Values = {}
    if len(window) == 0:
        return values
    log_close = np.log(window.close)
    returns = (log_close[1:] - log_close[:-1]) * BP
    for bars in (1, 5, 20, 60):
        if len(returns) >= bars:
            values[f"log_return_{bars}"] = float(log_close[-1] - log_close[-1 - bars]) * BP
    _volatility(values, returns)
    if len(window) >= 48:
        _ranges(values, window.last(48))
    if len(returns) >= 48:
        _shape(values, returns[-48:])
        _flow(values, returns[-48:], window.last(48))
    _indicators(values, window)
    _place(values, window, log_close)
    _volume(values, window)
    return values


def ewma_variance(returns: FloatArray, decay: float) -> float:
    """Return the weighted mean of squared returns, the newest weighing most."""
    n = min(len(returns), WINDOW)
    recent = returns[-n:]
    return float(_WEIGHTS[decay][-n:] @ (recent * recent)) / float(_WEIGHT_SUMS[decay][n - 1])


def _volatility(values: Values, returns: FloatArray) -> None:
    for bars in (12, 48, 288):
        if len(returns) >= bars:
            recent = returns[-bars:]
            values[f"realised_volatility_{bars}"] = math.sqrt(float(recent @ recent) / bars)
    if len(returns) >= MIN_EWMA_RETURNS:
        values["ewma_variance_94"] = ewma_variance(returns, 0.94)
        values["ewma_variance_99"] = ewma_variance(returns, 0.99)


def _ranges(values: Values, window: Bars) -> None:
    span = np.log(window.high / window.low)
    body = np.log(window.close / window.open)
    span_sum, body_sum, n = float(span @ span), float(body @ body), len(window)
    values["parkinson_48"] = math.sqrt(span_sum / (_FOUR_LOG_2 * n)) * BP
    garman_klass = (0.5 * span_sum - (2 * math.log(2) - 1) * body_sum) / n
    values["garman_klass_48"] = math.sqrt(max(0.0, garman_klass)) * BP


def _shape(values: Values, returns: FloatArray) -> None:
    n = len(returns)
    variance = float(returns @ returns) / n
    if variance <= 0.0:
        return
    size = np.abs(returns)
    bipower = math.pi / 2 * float(size[1:] @ size[:-1]) / (n - 1)
    values["jump_share_48"] = 1 - bipower / variance
    centred = returns - returns.mean()
    squares = centred * centred
    second = float(squares.sum()) / n
    if second > 0.0:
        values["skewness_48"] = float(squares @ centred) / n / second**1.5
    autocovariance = float(centred[1:] @ centred[:-1]) / (n - 1)
    values["roll_spread_48"] = 2 * math.sqrt(max(0.0, -autocovariance))


def _flow(values: Values, returns: FloatArray, window: Bars) -> None:
    total = float(window.volume.sum())
    if total > 0.0:
        signed = np.sign(returns) * window.volume
        values["order_flow_48"] = float(signed.sum()) / total
        spread = float(signed @ signed)
        if spread > 0.0:
            values["kyle_lambda_48"] = float(signed @ returns) / spread * total / len(window)
    traded = window.notional > _LEAST_NOTIONAL
    if traded.any():
        ratios = np.abs(returns[traded]) / window.notional[traded]
        values["amihud_48"] = float(ratios.mean()) * 1e6


def _indicators(values: Values, window: Bars) -> None:
    n = len(window)
    high, low, close = window.high, window.low, window.close
    if n > 14:
        moved = float(high.max()) > float(low.min())
        values["rsi_14"] = float(talib.RSI(close, 14)[-1]) if moved else 50.0
        values["natr_14"] = float(talib.NATR(high, low, close, 14)[-1])
    if n > 33:
        true_range = values["natr_14"] * float(close[-1]) / 100
        if true_range > 0.0:
            values["macd_histogram_atr"] = float(talib.MACD(close, 12, 26, 9)[2][-1]) / true_range
        values["adx_14"] = float(talib.ADX(high, low, close, 14)[-1])
    if n >= 20:
        upper, _, lower = talib.BBANDS(close[-20:], 20, 2.0, 2.0)
        width = float(upper[-1] - lower[-1])
        if width > 0.0:
            values["percent_b_20"] = float(close[-1] - lower[-1]) / width
        values["cci_20"] = float(talib.CCI(high[-20:], low[-20:], close[-20:], 20)[-1])


def _place(values: Values, window: Bars, log_close: FloatArray) -> None:
    if len(window) < 20:
        return
    recent = window.last(20)
    span = recent.high - recent.low
    volume = float(recent.volume.sum())
    if volume > 0.0:
        flow = (2 * recent.close - recent.high - recent.low) * recent.volume
        money = np.divide(flow, span, out=np.zeros(len(span)), where=span > 0.0)
        values["cmf_20"] = float(money.sum()) / volume
    top, bottom = float(recent.high.max()), float(recent.low.min())
    if top > bottom:
        values["donchian_position_20"] = (float(recent.close[-1]) - bottom) / (top - bottom)
    if len(window) >= 60:
        volume, notional = float(window.volume[-60:].sum()), float(window.notional[-60:].sum())
        recent_log = log_close[-60:]
        deviation = float(recent_log.std())
        if volume > 0.0 and notional > 0.0 and deviation > 0.0:
            values["vwap_distance_60"] = (float(recent_log[-1]) - math.log(notional / volume)) / deviation


def _volume(values: Values, window: Bars) -> None:
    means: dict[int, float] = {}
    for bars in (1, 12, 288):
        if len(window) >= bars:
            means[bars] = float(window.volume[-bars:].sum()) / bars
            if means[bars] > 0.0:
                values[f"log_volume_{bars}"] = math.log(means[bars])
    if means.get(288, 0.0) > 0.0:
        values["relative_volume"] = means[12] / means[288]
    if len(window) >= 12:
        values["trade_count_12"] = float(window.count[-12:].sum()) / 12
