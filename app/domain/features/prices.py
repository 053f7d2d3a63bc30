"""Features of one instrument's bars. A feature whose history is too short, or that has no meaning, stays NaN.

Indicators begin as TA-Lib's do, at the first bar of the window, and agree with it. Two things differ, so that a price
may have any scale: deviations are taken around the last price, which keeps their digits, and nothing but zero is zero.
"""

import math

import numpy as np

from app.domain.bars import WINDOW, FloatArray
from app.domain.compiled import compiled
from app.domain.features.catalog import MARKET_INDEX
from app.domain.features.rows import (
    BODY,
    BP,
    CLOSE,
    COUNT,
    DIRECTION,
    HIGH,
    LOW,
    NOTIONAL,
    RETURN,
    SPAN,
    TRUE_RANGE,
    VOLUME,
)
from app.domain.features.sums import squares, total

LEAST_EWMA_RETURNS = 12
LEAST_NOTIONAL = 1e-12
FOUR_LOG_2 = 4 * math.log(2)
BODY_WEIGHT = 2 * math.log(2) - 1

LOG_RETURN_1 = MARKET_INDEX["log_return_1"]
LOG_RETURN_5 = MARKET_INDEX["log_return_5"]
LOG_RETURN_20 = MARKET_INDEX["log_return_20"]
LOG_RETURN_60 = MARKET_INDEX["log_return_60"]
REALISED_VOLATILITY_12 = MARKET_INDEX["realised_volatility_12"]
REALISED_VOLATILITY_48 = MARKET_INDEX["realised_volatility_48"]
REALISED_VOLATILITY_288 = MARKET_INDEX["realised_volatility_288"]
EWMA_VARIANCE_94 = MARKET_INDEX["ewma_variance_94"]
EWMA_VARIANCE_99 = MARKET_INDEX["ewma_variance_99"]
PARKINSON_48 = MARKET_INDEX["parkinson_48"]
GARMAN_KLASS_48 = MARKET_INDEX["garman_klass_48"]
JUMP_SHARE_48 = MARKET_INDEX["jump_share_48"]
SKEWNESS_48 = MARKET_INDEX["skewness_48"]
RSI_14 = MARKET_INDEX["rsi_14"]
MACD_HISTOGRAM_ATR = MARKET_INDEX["macd_histogram_atr"]
NATR_14 = MARKET_INDEX["natr_14"]
ADX_14 = MARKET_INDEX["adx_14"]
PERCENT_B_20 = MARKET_INDEX["percent_b_20"]
CCI_20 = MARKET_INDEX["cci_20"]
CMF_20 = MARKET_INDEX["cmf_20"]
VWAP_DISTANCE_60 = MARKET_INDEX["vwap_distance_60"]
DONCHIAN_POSITION_20 = MARKET_INDEX["donchian_position_20"]
LOG_VOLUME_1 = MARKET_INDEX["log_volume_1"]
LOG_VOLUME_12 = MARKET_INDEX["log_volume_12"]
LOG_VOLUME_288 = MARKET_INDEX["log_volume_288"]
RELATIVE_VOLUME = MARKET_INDEX["relative_volume"]
AMIHUD_48 = MARKET_INDEX["amihud_48"]
TRADE_COUNT_12 = MARKET_INDEX["trade_count_12"]
ORDER_FLOW_48 = MARKET_INDEX["order_flow_48"]
ROLL_SPREAD_48 = MARKET_INDEX["roll_spread_48"]
KYLE_LAMBDA_48 = MARKET_INDEX["kyle_lambda_48"]

WILDER = 14
FADING = 1 - 1 / WILDER
FAST, SLOW, SIGNAL = 12, 26, 9
MACD_BEGINS = SLOW + SIGNAL - 1


def _ageing(decay: float) -> FloatArray:
    return decay ** np.arange(WINDOW)[::-1].astype(np.float64)


def _macd_after(fast: float, slow: float, signal: float) -> FloatArray:
    # What averages that then meet nothing but zeros leave of the histogram, newest last as the closes are.
    left = np.empty(WINDOW)
    for age in range(WINDOW):
        left[WINDOW - 1 - age] = fast - slow - signal
        fast, slow = fast * (1 - 2 / (FAST + 1)), slow * (1 - 2 / (SLOW + 1))
        signal += 2 / (SIGNAL + 1) * (fast - slow - signal)
    return left


WEIGHTS_94, WEIGHTS_99, WEIGHTS_WILDER = _ageing(0.94), _ageing(0.99), _ageing(FADING) / WILDER
SUMS_94, SUMS_99 = WEIGHTS_94[::-1].cumsum(), WEIGHTS_99[::-1].cumsum()
_ONE_FAST, _ONE_SLOW = 2 / (FAST + 1), 2 / (SLOW + 1)
WEIGHTS_MACD = _macd_after(_ONE_FAST, _ONE_SLOW, 2 / (SIGNAL + 1) * (_ONE_FAST - _ONE_SLOW))
LEFT_OF_FAST, LEFT_OF_SLOW, LEFT_OF_SIGNAL = _macd_after(1, 0, 0), _macd_after(0, 1, 0), _macd_after(0, 0, 1)


@compiled("void(float64[::1], float64[::1])")
def _returns(close: FloatArray, out: FloatArray) -> None:
    n = len(close)
    for bars, place in ((1, LOG_RETURN_1), (5, LOG_RETURN_5), (20, LOG_RETURN_20), (60, LOG_RETURN_60)):
        if n > bars:
            before = close[n - 1 - bars]
            if close[n - 1] > 0.0 and before > 0.0:
                out[place] = math.log(close[n - 1] / before) * BP


@compiled("void(float64[::1], float64[::1])")
def _volatility(returns: FloatArray, out: FloatArray) -> None:
    n = len(returns)
    if n < LEAST_EWMA_RETURNS:
        return
    last_12 = squares(returns[n - 12 :])
    out[REALISED_VOLATILITY_12] = math.sqrt(last_12 / 12)
    if n >= 48:
        last_48 = last_12 + squares(returns[n - 48 : n - 12])
        out[REALISED_VOLATILITY_48] = math.sqrt(last_48 / 48)
        if n >= 288:
            out[REALISED_VOLATILITY_288] = math.sqrt((last_48 + squares(returns[n - 288 : n - 48])) / 288)
    slow = fast = slow_2 = fast_2 = 0.0
    odd = n % 2
    if odd:
        slow = returns[0] * returns[0] * WEIGHTS_99[WINDOW - n]
        fast = returns[0] * returns[0] * WEIGHTS_94[WINDOW - n]
    for i in range(odd, n, 2):
        square, square_2 = returns[i] * returns[i], returns[i + 1] * returns[i + 1]
        slow += square * WEIGHTS_99[WINDOW - n + i]
        fast += square * WEIGHTS_94[WINDOW - n + i]
        slow_2 += square_2 * WEIGHTS_99[WINDOW - n + i + 1]
        fast_2 += square_2 * WEIGHTS_94[WINDOW - n + i + 1]
    out[EWMA_VARIANCE_94] = (fast + fast_2) / SUMS_94[n - 1]
    out[EWMA_VARIANCE_99] = (slow + slow_2) / SUMS_99[n - 1]


@compiled("void(float64[::1], float64[::1], float64[::1])")
def _ranges(span: FloatArray, body: FloatArray, out: FloatArray) -> None:
    n = len(span)
    spans = total(span)
    out[PARKINSON_48] = math.sqrt(spans / (FOUR_LOG_2 * n)) * BP
    out[GARMAN_KLASS_48] = math.sqrt(max(0.0, (0.5 * spans - BODY_WEIGHT * total(body)) / n)) * BP


@compiled("void(float64[::1], float64[::1])")
def _shape(returns: FloatArray, out: FloatArray) -> None:
    n = len(returns)
    variance = squares(returns) / n
    if not variance > 0.0:
        return
    mean = total(returns) / n
    before = returns[0]
    off_before = before - mean
    second, third, product, bipower = off_before * off_before, off_before * off_before * off_before, 0.0, 0.0
    for i in range(1, n):
        now = returns[i]
        off = now - mean
        square = off * off
        second += square
        third += square * off
        product += off * off_before
        bipower += abs(now * before)
        before, off_before = now, off
    out[JUMP_SHARE_48] = 1 - math.pi / 2 * bipower / (n - 1) / variance
    scale = second / n * math.sqrt(second / n)
    if scale > 0.0:
        out[SKEWNESS_48] = third / n / scale
    out[ROLL_SPREAD_48] = 2 * math.sqrt(max(0.0, -product / (n - 1)))


@compiled("void(float64[::1], float64[::1], float64[::1], float64[::1])")
def _flow(returns: FloatArray, volume: FloatArray, notional: FloatArray, out: FloatArray) -> None:
    n = len(returns)
    rising = moved = spread = ratios = 0.0
    traded = 0
    for i in range(n):
        move, traded_volume = returns[i], volume[i]
        sign = 0.0
        if move > 0.0:
            sign = 1.0
        elif move < 0.0:
            sign = -1.0
        rising += sign * traded_volume
        moved += sign * traded_volume * move
        spread += sign * sign * traded_volume * traded_volume
        if notional[i] > LEAST_NOTIONAL:
            ratios += abs(move) / notional[i]
            traded += 1
    volumes = total(volume)
    if volumes > 0.0:
        out[ORDER_FLOW_48] = rising / volumes
        if spread > 0.0:
            out[KYLE_LAMBDA_48] = moved / spread * volumes / n
    if traded:
        out[AMIHUD_48] = ratios / traded * 1e6


@compiled("void(float64[::1], float64[::1])")
def _strength(close: FloatArray, out: FloatArray) -> None:
    n = len(close)
    begun = WILDER + 1
    net = close[WILDER] - close[0]
    size = 0.0
    for i in range(1, begun):
        size += abs(close[i] - close[i - 1])
    net *= WEIGHTS_WILDER[WINDOW - n + WILDER]
    size *= WEIGHTS_WILDER[WINDOW - n + WILDER]
    net_2 = size_2 = 0.0
    for i in range(begun, n - 1, 2):
        move, move_2 = close[i] - close[i - 1], close[i + 1] - close[i]
        net += WEIGHTS_WILDER[WINDOW - n + i] * move
        size += WEIGHTS_WILDER[WINDOW - n + i] * abs(move)
        net_2 += WEIGHTS_WILDER[WINDOW - n + i + 1] * move_2
        size_2 += WEIGHTS_WILDER[WINDOW - n + i + 1] * abs(move_2)
    if (n - begun) % 2:
        move = close[n - 1] - close[n - 2]
        net += WEIGHTS_WILDER[WINDOW - n + n - 1] * move
        size += WEIGHTS_WILDER[WINDOW - n + n - 1] * abs(move)
    size += size_2
    out[RSI_14] = 50 * (1 + (net + net_2) / size) if size > 0.0 else 50.0


@compiled("float64(float64[::1])")
def _wilder(x: FloatArray) -> float:
    # The first value is of no bar's: it compares with one before the window.
    n = len(x)
    begun = WILDER + 1
    a, b = total(x[1:begun]) * WEIGHTS_WILDER[WINDOW - n + WILDER], 0.0
    if (n - begun) % 2:
        a += x[begun] * WEIGHTS_WILDER[WINDOW - n + begun]
        begun += 1
    for i in range(begun, n, 2):
        a += x[i] * WEIGHTS_WILDER[WINDOW - n + i]
        b += x[i + 1] * WEIGHTS_WILDER[WINDOW - n + i + 1]
    return float(a + b)


@compiled("float64(float64[::1])")
def _macd_histogram(close: FloatArray) -> float:
    n = len(close)
    base = close[n - 1]
    fast = slow = 0.0
    for i in range(SLOW - FAST):
        slow += close[i] - base
    for i in range(SLOW - FAST, SLOW):
        fast += close[i] - base
    slow, fast = (slow + fast) / SLOW, fast / FAST
    signal = fast - slow
    for i in range(SLOW, MACD_BEGINS):
        fast += (close[i] - base - fast) * (2 / (FAST + 1))
        slow += (close[i] - base - slow) * (2 / (SLOW + 1))
        signal += fast - slow
    signal /= SIGNAL
    left = WINDOW - 1 - (n - MACD_BEGINS)
    a, b = LEFT_OF_FAST[left] * fast + LEFT_OF_SLOW[left] * slow + LEFT_OF_SIGNAL[left] * signal, 0.0
    # The last bar is the base, and adds nothing.
    for i in range(MACD_BEGINS, n - 1, 2):
        a += (close[i] - base) * WEIGHTS_MACD[WINDOW - n + i]
        b += (close[i + 1] - base) * WEIGHTS_MACD[WINDOW - n + i + 1]
    return float(a + b)


@compiled("float64(float64[::1])")
def _directional(direction: FloatArray) -> float:
    # |x| + x and |x| - x are twice the movement up and down, without a branch to mispredict; the index is a ratio.
    up = down = index = 0.0
    for i in range(1, WILDER):
        move = direction[i]
        up += abs(move) + move
        down += abs(move) - move
    for i in range(WILDER, 2 * WILDER):
        move = direction[i]
        up = up * FADING + (abs(move) + move)
        down = down * FADING + (abs(move) - move)
        if up + down > 0.0:
            index += abs(up - down) / (up + down)
    index /= WILDER
    for i in range(2 * WILDER, len(direction)):
        move = direction[i]
        up = up * FADING + (abs(move) + move)
        down = down * FADING + (abs(move) - move)
        if up + down > 0.0:
            index = index * FADING + abs(up - down) / (up + down) * (1 - FADING)
    return 100 * index


@compiled("void(float64[::1], float64[::1], float64[::1], float64[::1])")
def _bands(high: FloatArray, low: FloatArray, close: FloatArray, out: FloatArray) -> None:
    n = len(close)
    last = close[n - 1]
    last_typical = (high[n - 1] + low[n - 1] + last) / 3
    drift = square = typical = 0.0
    # Around the last price: a mean of squares minus a squared mean then loses no digits.
    for i in range(n):
        off = close[i] - last
        drift += off
        square += off * off
        typical += (high[i] + low[i] + close[i]) / 3 - last_typical
    deviation = math.sqrt(max(0.0, square / n - (drift / n) ** 2))
    if deviation > 0.0:
        out[PERCENT_B_20] = 0.5 - drift / n / (4 * deviation)
    typical /= n
    spread = 0.0
    for i in range(n):
        spread += abs((high[i] + low[i] + close[i]) / 3 - last_typical - typical)
    out[CCI_20] = -typical / (0.015 * spread / n) if spread > 0.0 else 0.0


@compiled("void(float64[::1], float64[::1], float64[::1], float64[::1], float64[::1])")
def _place(high: FloatArray, low: FloatArray, close: FloatArray, volume: FloatArray, out: FloatArray) -> None:
    n = len(close)
    top, bottom, money = high[0], low[0], 0.0
    for i in range(n):
        top, bottom = max(top, high[i]), min(bottom, low[i])
        span = high[i] - low[i]
        if span > 0.0:
            money += (2 * close[i] - high[i] - low[i]) / span * volume[i]
    volumes = total(volume)
    if volumes > 0.0:
        out[CMF_20] = money / volumes
    if top > bottom:
        out[DONCHIAN_POSITION_20] = (close[n - 1] - bottom) / (top - bottom)


@compiled("void(float64[::1], float64[::1])")
def _volume(volume: FloatArray, out: FloatArray) -> None:
    n = len(volume)
    if volume[n - 1] > 0.0:
        out[LOG_VOLUME_1] = math.log(volume[n - 1])
    if n >= 12:
        last_12 = total(volume[n - 12 :])
        if last_12 > 0.0:
            out[LOG_VOLUME_12] = math.log(last_12 / 12)
        if n >= 288:
            last_288 = last_12 + total(volume[n - 288 : n - 12])
            if last_288 > 0.0:
                out[LOG_VOLUME_288] = math.log(last_288 / 288)
                out[RELATIVE_VOLUME] = (last_12 / 12) / (last_288 / 288)


@compiled("void(float64, float64[::1], float64[::1], float64[::1], float64[::1])")
def _vwap(close: float, returns: FloatArray, volume: FloatArray, notional: FloatArray, out: FloatArray) -> None:
    n = len(volume)
    log_off = drift = square = 0.0
    for i in range(n - 1, 0, -1):
        log_off -= returns[i] / BP
        drift += log_off
        square += log_off * log_off
    deviation = math.sqrt(max(0.0, square / n - (drift / n) ** 2))
    volumes, notionals = total(volume), total(notional)
    if volumes > 0.0 and notionals > 0.0 and deviation > 0.0 and close > 0.0:
        out[VWAP_DISTANCE_60] = -math.log(notionals / volumes / close) / deviation


@compiled("void(float64[:, ::1], int64, int64, float64[::1])")
def price_features(rows: FloatArray, first: int, stop: int, out: FloatArray) -> None:
    """Write what a window of consecutive rows holds."""
    close = rows[CLOSE, first:stop]
    returns = rows[RETURN, first + 1 : stop]
    n = len(close)
    _returns(close, out)
    _volatility(returns, out)
    if n >= 48:
        _ranges(rows[SPAN, stop - 48 : stop], rows[BODY, stop - 48 : stop], out)
    if n > 48:
        recent = returns[n - 49 :]
        _shape(recent, out)
        _flow(recent, rows[VOLUME, stop - 48 : stop], rows[NOTIONAL, stop - 48 : stop], out)
    if n > WILDER:
        _strength(close, out)
        true_range = _wilder(rows[TRUE_RANGE, first:stop])
        out[NATR_14] = true_range / close[n - 1] * 100 if close[n - 1] > 0.0 else math.nan
        if n >= MACD_BEGINS:
            if true_range > 0.0:
                out[MACD_HISTOGRAM_ATR] = _macd_histogram(close) / true_range
            out[ADX_14] = _directional(rows[DIRECTION, first:stop])
    if n >= 20:
        begin = stop - 20
        high, low, close_20 = rows[HIGH, begin:stop], rows[LOW, begin:stop], rows[CLOSE, begin:stop]
        _bands(high, low, close_20, out)
        _place(high, low, close_20, rows[VOLUME, begin:stop], out)
    _volume(rows[VOLUME, first:stop], out)
    if n >= 12:
        out[TRADE_COUNT_12] = total(rows[COUNT, stop - 12 : stop]) / 12
    if n >= 60:
        begin = stop - 60
        _vwap(close[n - 1], rows[RETURN, begin:stop], rows[VOLUME, begin:stop], rows[NOTIONAL, begin:stop], out)
