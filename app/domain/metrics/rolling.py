"""Statistics of the last n rows of a column; each row is computed on its own, so where a column begins changes no bit.

A row without n known values has no value. Deviation, skewness and kurtosis are the unbiased ones of a sample.
"""

import math

import numpy as np

from app.domain.bars import FloatArray
from app.domain.compiled import compiled

MEAN, STD, MIN, MAX, MEDIAN, SKEW, KURTOSIS, RANK = range(8)
LEAST_ROWS = (1, 2, 1, 1, 1, 3, 4, 1)
"""How many rows each of them needs."""


@compiled("float64(float64[::1], int64)")
def statistic(rows: FloatArray, kind: int) -> float:
    """Return one statistic of known values that are not all equal."""
    n = len(rows)
    if kind == MEDIAN:
        return float(np.median(rows))
    if kind == RANK:
        below = equal = 0.0
        for value in rows:
            if value < rows[n - 1]:
                below += 1.0
            elif value == rows[n - 1]:
                equal += 1.0
        return below + 0.5 * (equal + 1.0)
    total = 0.0
    for value in rows:
        total += value
    mean = total / n
    if kind == MEAN:
        return mean
    second = third = fourth = 0.0
    for value in rows:
        distance = value - mean
        square = distance * distance
        second += square
        third += square * distance
        fourth += square * square
    if kind == STD:
        return math.sqrt(second / (n - 1))
    variance = second / n
    if variance <= 0.0:
        return math.nan
    if kind == SKEW:
        return float(math.sqrt(n * (n - 1.0)) / (n - 2.0) * (third / n / variance**1.5))
    excess = fourth / n / variance**2 - 3.0
    return float((n - 1.0) / ((n - 2.0) * (n - 3.0)) * ((n + 1.0) * excess + 6.0))


@compiled("void(float64[::1], int64, int64, float64[::1])")
def roll(column: FloatArray, n: int, kind: int, out: FloatArray) -> None:
    """Write a statistic of each row and the n − 1 before it."""
    for row in range(len(column)):
        out[row] = math.nan
        if row + 1 < n:
            continue
        lowest, highest = math.inf, -math.inf
        is_known = True
        for i in range(row + 1 - n, row + 1):
            is_known = is_known and math.isfinite(column[i])
            lowest, highest = min(lowest, column[i]), max(highest, column[i])
        if not is_known:
            continue
        if kind == MIN:
            out[row] = lowest
        elif kind == MAX:
            out[row] = highest
        elif lowest == highest and kind != RANK:
            # Rounding would give equal values a deviation, and that a skewness.
            out[row] = lowest if kind in (MEAN, MEDIAN) else 0.0 if kind == STD else math.nan
        else:
            out[row] = statistic(column[row + 1 - n : row + 1], kind)


@compiled("void(float64[::1], float64[::1], int64, float64[::1])")
def correlate(column: FloatArray, other: FloatArray, n: int, out: FloatArray) -> None:
    """Write Pearson's correlation of each row of two columns and the n − 1 before it."""
    for row in range(len(column)):
        out[row] = math.nan
        if row + 1 < n:
            continue
        first = row + 1 - n
        total = other_total = 0.0
        varies = other_varies = False
        for i in range(first, row + 1):
            total += column[i]
            other_total += other[i]
            varies = varies or column[i] != column[first]
            other_varies = other_varies or other[i] != other[first]
        if not (math.isfinite(total) and math.isfinite(other_total) and varies and other_varies):
            continue
        mean, other_mean = total / n, other_total / n
        both = square = other_square = 0.0
        for i in range(first, row + 1):
            distance, other_distance = column[i] - mean, other[i] - other_mean
            both += distance * other_distance
            square += distance * distance
            other_square += other_distance * other_distance
        if square > 0.0 and other_square > 0.0:
            out[row] = max(-1.0, min(1.0, both / math.sqrt(square) / math.sqrt(other_square)))
