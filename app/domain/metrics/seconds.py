"""The `ts.*` metrics: sums over windows of one-second points, in one pass per window."""

import math

from app.domain.bars import WINDOW, BoolArray, FloatArray, IntArray
from app.domain.compiled import compiled

EMA_WEIGHT = 0.5
BAND_DEVIATIONS = 2.0
ROUNDING = 1e-12
"""The share of a price below which a difference is none; no market moves in steps so small, but arithmetic does."""

(
    SMA,
    EMA,
    WMA,
    VWAP,
    SD,
    LOG_RETURN,
    LOG_RETURN_300,
    UP_SUM,
    DOWN_SUM,
    AVERAGE_GAIN,
    AVERAGE_LOSS,
    RELATIVE_STRENGTH,
    RSI,
    SMA_UPPER,
    SMA_LOWER,
    EMA_UPPER,
    EMA_LOWER,
    VALUE_IN_BOUNDS,
    BLENDED_INDEX,
    COUNT,
    GAP,
) = range(21)
RESULTS = 21
"""The columns of the result, in the order of the catalog."""


@compiled(
    "void(float64[::1], float64[::1], float64[::1], float64[::1], float64[::1], boolean[::1],"
    " int64[::1], int64[::1], float64[:, ::1])"
)
def measure_seconds(
    close: FloatArray,
    price_sum: FloatArray,
    count: FloatArray,
    volume: FloatArray,
    notional: FloatArray,
    is_gap_fill: BoolArray,
    first: IntArray,
    stop: IntArray,
    out: FloatArray,
) -> None:
    """Measure each window [first, stop) of the points into a row of `out`; NaN where there is no value."""
    for window in range(len(first)):
        begin, end = first[window], stop[window]
        row = out[window]
        row[:] = math.nan
        n = end - begin
        if n == 0:
            continue
        last = end - 1
        newest = close[last]
        ticks = prices = traded = paid = closes = weighted = 0.0
        ema = close[begin]
        for i in range(begin, end):
            value = close[i]
            ticks += count[i]
            prices += price_sum[i]
            traded += volume[i]
            paid += notional[i]
            closes += value
            weighted += (i - begin + 1) * value
            ema += EMA_WEIGHT * (value - ema)
        row[COUNT] = ticks
        row[GAP] = 1.0 if is_gap_fill[last] else 0.0
        row[EMA] = ema
        row[WMA] = weighted / (0.5 * n * (n + 1))
        sma = prices / ticks if ticks > 0.0 else math.nan
        row[SMA] = sma
        if traded > 0.0:
            row[VWAP] = paid / traded
        if n < 2:
            continue

        mean = closes / n
        squares = rises = falls = 0.0
        lowest = highest = close[begin]
        for i in range(begin, end):
            squares += (close[i] - mean) ** 2
            lowest, highest = min(lowest, close[i]), max(highest, close[i])
            if i > begin:
                step = close[i] - close[i - 1]
                if step > 0.0:
                    rises += step
                else:
                    falls -= step
        # Equal closes may differ from their own mean in the last digit.
        deviation = math.sqrt(squares / n) if highest > lowest else 0.0
        reach = BAND_DEVIATIONS * deviation
        row[SD] = deviation
        row[LOG_RETURN] = math.log(newest / close[last - 1])
        if n >= WINDOW:
            row[LOG_RETURN_300] = math.log(newest / close[end - WINDOW])
        row[UP_SUM] = rises
        row[DOWN_SUM] = falls
        row[AVERAGE_GAIN] = rises / (n - 1)
        row[AVERAGE_LOSS] = falls / (n - 1)
        if falls > 0.0:
            row[RELATIVE_STRENGTH] = rises / falls
        rsi = 100.0 * (rises / (rises + falls)) if highest > lowest else 50.0
        row[RSI] = rsi
        row[SMA_UPPER] = sma + reach
        row[SMA_LOWER] = sma - reach
        row[EMA_UPPER] = ema + reach
        row[EMA_LOWER] = ema - reach
        if ticks > 0.0:
            row[VALUE_IN_BOUNDS] = 1.0 if abs(newest - sma) <= reach + ROUNDING * newest else 0.0
        if highest - lowest > ROUNDING * highest:
            in_sma_band = 50.0 + 50.0 * (newest - sma) / reach
            in_ema_band = 50.0 + 50.0 * (newest - ema) / reach
            row[BLENDED_INDEX] = (rsi + in_sma_band + in_ema_band) / 3.0
