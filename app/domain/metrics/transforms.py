"""Transforms of columns: row t is made of rows up to t, and has no value where those have none."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from app.domain.bars import FloatArray, IntArray
from app.domain.metrics import rolling

DAY_S = 86_400
Dates = npt.NDArray[np.datetime64]
Statistic = Callable[[FloatArray, int], FloatArray]


def lag(column: FloatArray, n: int) -> FloatArray:
    """Return the value n rows before."""
    before = np.full(len(column), np.nan)
    before[n:] = column[: max(0, len(column) - n)]
    return before


def diff(column: FloatArray, n: int) -> FloatArray:
    """Return the value minus the one n rows before."""
    return column - lag(column, n)


def ratio(column: FloatArray, other: FloatArray) -> FloatArray:
    """Return one column over another; nothing over zero."""
    quotient = np.full(len(column), np.nan)
    with np.errstate(over="ignore", under="ignore"):
        np.divide(column, other, out=quotient, where=other != 0.0)
    return known(quotient)


def known(column: FloatArray) -> FloatArray:
    """Return a column with NaN in place of infinities."""
    return np.where(np.isfinite(column), column, np.nan)


def rolling_mean(column: FloatArray, n: int) -> FloatArray:
    """Return the mean of the last n rows."""
    return _roll(column, n, rolling.MEAN)


def rolling_std(column: FloatArray, n: int) -> FloatArray:
    """Return the sample standard deviation (n − 1) of the last n rows."""
    return _roll(column, n, rolling.STD)


def rolling_min(column: FloatArray, n: int) -> FloatArray:
    """Return the least of the last n rows."""
    return _roll(column, n, rolling.MIN)


def rolling_max(column: FloatArray, n: int) -> FloatArray:
    """Return the greatest of the last n rows."""
    return _roll(column, n, rolling.MAX)


def rolling_median(column: FloatArray, n: int) -> FloatArray:
    """Return the median of the last n rows."""
    return _roll(column, n, rolling.MEDIAN)


def rolling_skew(column: FloatArray, n: int) -> FloatArray:
    """Return the unbiased skewness of the last n rows; none of equal ones."""
    return _roll(column, n, rolling.SKEW)


def rolling_kurtosis(column: FloatArray, n: int) -> FloatArray:
    """Return the unbiased excess kurtosis of the last n rows; none of equal ones."""
    return _roll(column, n, rolling.KURTOSIS)


def rolling_rank(column: FloatArray, n: int) -> FloatArray:
    """Return the rank of a row among the last n, from 1 for the least; equal ones share their mean rank."""
    return _roll(column, n, rolling.RANK)


def rolling_corr(column: FloatArray, other: FloatArray, n: int) -> FloatArray:
    """Return Pearson's correlation of the last n rows; none of a column of equal ones."""
    out = np.empty(len(column))
    rolling.correlate(np.ascontiguousarray(column), np.ascontiguousarray(other), n, out)
    return out


def one_hot(column: FloatArray, category: float) -> FloatArray:
    """Return 1 where the value is the category, 0 where it is another."""
    return np.where(np.isnan(column), np.nan, (column == category).astype(np.float64))


def date_part(seconds: FloatArray, part: str) -> FloatArray:
    """Return a part of the date or time (UTC) of seconds since 1970."""
    return DATE_PARTS[part](np.floor(seconds).astype(np.int64)).astype(np.float64)


STATISTICS: Mapping[str, tuple[Statistic, int]] = {
    "rolling_mean": (rolling_mean, rolling.LEAST_ROWS[rolling.MEAN]),
    "rolling_std": (rolling_std, rolling.LEAST_ROWS[rolling.STD]),
    "rolling_min": (rolling_min, rolling.LEAST_ROWS[rolling.MIN]),
    "rolling_max": (rolling_max, rolling.LEAST_ROWS[rolling.MAX]),
    "rolling_median": (rolling_median, rolling.LEAST_ROWS[rolling.MEDIAN]),
    "rolling_skew": (rolling_skew, rolling.LEAST_ROWS[rolling.SKEW]),
    "rolling_kurtosis": (rolling_kurtosis, rolling.LEAST_ROWS[rolling.KURTOSIS]),
    "rolling_rank": (rolling_rank, rolling.LEAST_ROWS[rolling.RANK]),
}
"""The statistics of one column by name, and how many rows each needs."""


def _roll(column: FloatArray, n: int, kind: int) -> FloatArray:
    out = np.full(len(column), np.nan)
    if n >= rolling.LEAST_ROWS[kind]:
        rolling.roll(np.ascontiguousarray(column), n, kind, out)
    return out


def _dates(seconds: IntArray) -> Dates:
    return (seconds // DAY_S).astype("datetime64[D]")


def _months(seconds: IntArray) -> IntArray:
    return _dates(seconds).astype("datetime64[M]").astype(np.int64)


def _days_since(seconds: IntArray, unit: str) -> IntArray:
    dates = _dates(seconds)
    first = dates.astype(f"datetime64[{unit}]").astype("datetime64[D]")
    return np.asarray((dates - first).astype(np.int64) + 1)


def _day_of_week(seconds: IntArray) -> IntArray:
    # 1 January 1970 was a Thursday.
    return (seconds // DAY_S + 3) % 7


DATE_PARTS: Mapping[str, Callable[[IntArray], npt.NDArray[Any]]] = {
    "second": lambda seconds: seconds % 60,
    "minute": lambda seconds: seconds // 60 % 60,
    "hour": lambda seconds: seconds // 3600 % 24,
    "day_of_week": _day_of_week,
    "is_weekend": lambda seconds: _day_of_week(seconds) >= 5,
    "day": lambda seconds: _days_since(seconds, "M"),
    "day_of_year": lambda seconds: _days_since(seconds, "Y"),
    "month": lambda seconds: _months(seconds) % 12 + 1,
    "quarter": lambda seconds: _months(seconds) % 12 // 3 + 1,
    "year": lambda seconds: _months(seconds) // 12 + 1970,
}
"""The parts of a date and time by name; the week begins with Monday, 0."""
