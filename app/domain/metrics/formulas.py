"""Those of the `ta.*` metrics that need no more than a formula over the window's last bars, or that TA-Lib lacks.

Some that TA-Lib has are here because it takes small numbers for none: it finds no Bollinger band below a deviation of
1e-7 and no money flow below 1, whatever the price; and its variance, a difference of large sums, loses digits.
"""

import math

import numpy as np

from app.domain.bars import FloatArray
from app.domain.compiled import compiled
from app.domain.metrics.seconds import ROUNDING

(
    SMA,
    MOM,
    ROC,
    ROR,
    AROR,
    BBANDS_UPPER,
    BBANDS_LOWER,
    PPSR_PP,
    PPSR_R1,
    PPSR_S1,
    PPSR_R2,
    PPSR_S2,
    PPSR_R3,
    PPSR_S3,
    STOK,
    STO_EMA,
    STO_SMA,
    MASS_INDEX,
    VORTEX_PLUS,
    VORTEX_MINUS,
    KST,
    TSI,
    MFI,
    FORCE,
    EOM,
    CCI,
    COPP,
    KELCH_UPPER,
    KELCH_MIDDLE,
    KELCH_LOWER,
    ULTOSC,
    DONCH_UPPER,
    DONCH_MIDDLE,
    DONCH_LOWER,
) = range(34)
CLOSES_DIFFER, PRICES_DIFFER, HAS_VOLUME = range(34, 37)
"""Whether the window moved or traded at all: without, some of TA-Lib's results mean nothing."""
RESULTS = 37


@compiled("float64(float64[::1], int64, int64)")
def mean_of(values: FloatArray, first: int, stop: int) -> float:
    """Return the mean of values [first, stop)."""
    total = 0.0
    for i in range(first, stop):
        total += values[i]
    return total / (stop - first)


@compiled("int64(float64[::1], int64, int64, float64[::1])")
def smooth(values: FloatArray, first: int, period: int, out: FloatArray) -> int:
    """Write the exponential mean of values [first, end), begun at a plain mean as TA-Lib does; answers where."""
    begin = first + period - 1
    if begin >= len(values):
        return len(values)
    level = mean_of(values, first, begin + 1)
    out[begin] = level
    weight = 2.0 / (period + 1)
    for i in range(begin + 1, len(values)):
        level += weight * (values[i] - level)
        out[i] = level
    return begin


@compiled("float64(float64[::1], int64, int64)")
def change(close: FloatArray, i: int, bars: int) -> float:
    """Return the rate of change in per cent."""
    return 100.0 * float(close[i] / close[i - bars] - 1.0)


@compiled("float64(float64[::1], int64, int64)")
def mean_change(close: FloatArray, bars: int, period: int) -> float:
    """Return the mean of the latest rates of change."""
    total = 0.0
    for i in range(len(close) - period, len(close)):
        total += change(close, i, bars)
    return total / period


@compiled("float64(float64[::1], float64[::1], float64[::1], int64)")
def true_range(high: FloatArray, low: FloatArray, close: FloatArray, i: int) -> float:
    """Return a bar's range together with the step from the bar before."""
    return float(max(high[i], close[i - 1]) - min(low[i], close[i - 1]))


@compiled("void(float64[::1], float64[::1], float64[::1], float64[::1])")
def channels(high: FloatArray, low: FloatArray, close: FloatArray, out: FloatArray) -> None:
    """Compute what the last 20 bars hold."""
    n = len(close)
    first = n - 20
    if first < 0:
        return
    mean = mean_of(close, first, n)
    squares = typical = ranges = 0.0
    top, bottom = high[first], low[first]
    highest_typical, lowest_typical = -math.inf, math.inf
    for i in range(first, n):
        squares += (close[i] - mean) ** 2
        level = (high[i] + low[i] + close[i]) / 3.0
        typical += level
        highest_typical, lowest_typical = max(highest_typical, level), min(lowest_typical, level)
        ranges += high[i] - low[i]
        top, bottom = max(top, high[i]), min(bottom, low[i])
    deviation = math.sqrt(squares / 20.0)
    out[SMA] = mean
    out[BBANDS_UPPER] = mean + 2.0 * deviation
    out[BBANDS_LOWER] = mean - 2.0 * deviation
    middle, width = typical / 20.0, ranges / 20.0
    out[KELCH_UPPER] = middle + width
    out[KELCH_MIDDLE] = middle
    out[KELCH_LOWER] = middle - width
    out[DONCH_UPPER] = top
    out[DONCH_MIDDLE] = 0.5 * (top + bottom)
    out[DONCH_LOWER] = bottom
    # Rounding alone would give equal prices a deviation from their mean, and an index of ±67.
    if highest_typical - lowest_typical > ROUNDING * highest_typical:
        distance = 0.0
        for i in range(first, n):
            distance += abs((high[i] + low[i] + close[i]) / 3.0 - middle)
        newest = (high[n - 1] + low[n - 1] + close[n - 1]) / 3.0
        out[CCI] = (newest - middle) / (0.015 * (distance / 20.0))


@compiled("void(float64[::1], float64[::1])")
def returns(close: FloatArray, out: FloatArray) -> None:
    """Compute momentum and what smooths rates of change."""
    n = len(close)
    if n >= 11:
        out[MOM] = close[n - 1] - close[n - 11]
        out[ROC] = change(close, n - 1, 10)
        out[ROR] = close[n - 1] / close[n - 11] - 1.0
        total = 0.0
        for i in range(n - 10, n):
            total += close[i] / close[i - 1] - 1.0
        out[AROR] = total / 10.0
    if n >= 24:
        total = 0.0
        for place in range(10):
            i = n - 10 + place
            total += (place + 1) * (change(close, i, 14) + change(close, i, 11))
        out[COPP] = total / 55.0
    if n >= 45:
        out[KST] = (
            mean_change(close, 10, 10)
            + 2.0 * mean_change(close, 15, 10)
            + 3.0 * mean_change(close, 20, 10)
            + 4.0 * mean_change(close, 30, 15)
        )


@compiled("void(float64[::1], float64[::1], float64[::1], float64[::1])")
def pivots(high: FloatArray, low: FloatArray, close: FloatArray, out: FloatArray) -> None:
    """Compute the pivot points of the previous bar."""
    i = len(close) - 2
    if i < 0:
        return
    pivot = (high[i] + low[i] + close[i]) / 3.0
    out[PPSR_PP] = pivot
    out[PPSR_R1] = 2.0 * pivot - low[i]
    out[PPSR_S1] = 2.0 * pivot - high[i]
    out[PPSR_R2] = pivot + high[i] - low[i]
    out[PPSR_S2] = pivot - high[i] + low[i]
    out[PPSR_R3] = high[i] + 2.0 * (pivot - low[i])
    out[PPSR_S3] = low[i] - 2.0 * (high[i] - pivot)


@compiled("void(float64[::1], float64[::1], float64[::1], float64[::1])")
def stochastics(high: FloatArray, low: FloatArray, close: FloatArray, out: FloatArray) -> None:
    """Compute %K and both its means; smoothing begins anew after bars between which nothing moved."""
    n = len(close)
    place = np.empty(n)
    moved_since = 13
    for i in range(13, n):
        top, bottom = high[i], low[i]
        for j in range(i - 13, i):
            top, bottom = max(top, high[j]), min(bottom, low[j])
        if top > bottom:
            place[i] = 100.0 * ((close[i] - bottom) / (top - bottom))
        else:
            moved_since = i + 1
    if moved_since < n:
        out[STOK] = place[n - 1]
    if moved_since + 2 < n:
        out[STO_SMA] = mean_of(place, n - 3, n)
        smoothed = np.empty(n)
        smooth(place, moved_since, 3, smoothed)
        out[STO_EMA] = smoothed[n - 1]


@compiled("void(float64[::1], float64[::1], float64[::1], float64[::1])")
def ranges_and_changes(high: FloatArray, low: FloatArray, close: FloatArray, out: FloatArray) -> None:
    """Compute the mass index, the vortex, the true strength index and the ultimate oscillator."""
    n = len(close)
    values, once, twice = np.empty(n), np.empty(n), np.empty(n)
    if n >= 41:
        for i in range(n):
            values[i] = high[i] - low[i]
        begin = smooth(values, 0, 9, once)
        smooth(once, begin, 9, twice)
        total = 0.0
        for i in range(n - 25, n):
            total += once[i] / twice[i] if twice[i] > 0.0 else math.nan
        out[MASS_INDEX] = total
    if n >= 15:
        rise = fall = span = 0.0
        for i in range(n - 14, n):
            rise += abs(high[i] - low[i - 1])
            fall += abs(low[i] - high[i - 1])
            span += true_range(high, low, close, i)
        if span > 0.0:
            out[VORTEX_PLUS] = rise / span
            out[VORTEX_MINUS] = fall / span
    if n >= 29:
        total = pressure = span = 0.0
        for back in range(1, 29):
            i = n - back
            pressure += close[i] - min(low[i], close[i - 1])
            span += true_range(high, low, close, i)
            if back == 7 or back == 14 or back == 28:
                total += 28.0 / back * (pressure / span) if span > 0.0 else math.nan
        out[ULTOSC] = 100.0 * total / 7.0
    if n >= 38:
        for i in range(1, n):
            values[i] = close[i] - close[i - 1]
        begin = smooth(values, 1, 25, once)
        smooth(once, begin, 13, twice)
        changes = twice[n - 1]
        for i in range(1, n):
            values[i] = abs(values[i])
        begin = smooth(values, 1, 25, once)
        smooth(once, begin, 13, twice)
        if twice[n - 1] > 0.0:
            out[TSI] = 100.0 * (changes / twice[n - 1])


@compiled("void(float64[::1], float64[::1], float64[::1], float64[::1], float64[::1])")
def flows(high: FloatArray, low: FloatArray, close: FloatArray, volume: FloatArray, out: FloatArray) -> None:
    """Compute the money flow index, the force index and the ease of movement."""
    n = len(close)
    if n >= 15:
        inflow = outflow = ease = 0.0
        before = (high[n - 15] + low[n - 15] + close[n - 15]) / 3.0
        for i in range(n - 14, n):
            typical = (high[i] + low[i] + close[i]) / 3.0
            # Bars of other prices may share a typical price, but for its last digit.
            if typical - before > ROUNDING * typical:
                inflow += typical * volume[i]
            elif before - typical > ROUNDING * typical:
                outflow += typical * volume[i]
            before = typical
            step = 0.5 * ((high[i] + low[i]) - (high[i - 1] + low[i - 1]))
            ease += step * (high[i] - low[i]) / volume[i] if volume[i] > 0.0 else math.nan
        if inflow + outflow > 0.0:
            out[MFI] = 100.0 * (inflow / (inflow + outflow))
        out[EOM] = ease / 14.0
    if n >= 14:
        values, smoothed = np.empty(n), np.empty(n)
        for i in range(1, n):
            values[i] = (close[i] - close[i - 1]) * volume[i]
        smooth(values, 1, 13, smoothed)
        out[FORCE] = smoothed[n - 1]


@compiled("void(float64[::1], float64[::1], float64[::1], float64[::1], float64[::1])")
def apply_formulas(high: FloatArray, low: FloatArray, close: FloatArray, volume: FloatArray, out: FloatArray) -> None:
    """Compute everything of this module for one window; NaN where there is no value."""
    out[:] = math.nan
    if len(close) == 0:
        return
    top, bottom, highest, lowest, traded = high[0], low[0], close[0], close[0], 0.0
    for i in range(len(close)):
        top, bottom = max(top, high[i]), min(bottom, low[i])
        highest, lowest = max(highest, close[i]), min(lowest, close[i])
        traded += volume[i]
    out[CLOSES_DIFFER] = 1.0 if highest - lowest > ROUNDING * highest else 0.0
    out[PRICES_DIFFER] = 1.0 if top - bottom > ROUNDING * top else 0.0
    out[HAS_VOLUME] = 1.0 if traded > 0.0 else 0.0
    channels(high, low, close, out)
    returns(close, out)
    pivots(high, low, close, out)
    stochastics(high, low, close, out)
    ranges_and_changes(high, low, close, out)
    if traded > 0.0:
        flows(high, low, close, volume, out)
