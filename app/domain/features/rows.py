"""Bars in the form that the features are computed from: consecutive rows, silence filled, what is expensive kept.

A run of rows has one for every interval. A row says what its bar held and what each later window needs of it: the log
return and the true range since the row before, and the squared logs of its own range and body. Whatever computes a
feature reads a window of these rows, so that a bar means the same whether it came alone or with a history.
"""

import math

import numpy as np
import numpy.typing as npt

from app.domain.bars import FILL_LIMIT_S, Bars, BoolArray, FloatArray
from app.domain.compiled import compiled

Marks = npt.NDArray[np.int64]

BP = 1e4

START, CLOSE, HIGH, LOW, VOLUME, NOTIONAL, COUNT, LAST_AT, IS_FILL, RUN = range(10)
RETURN, TRUE_RANGE, DIRECTION, SPAN, BODY = range(10, 15)
COLUMNS = 15
"""RUN counts the rows of the run so far; DIRECTION is the directional movement, below zero when downwards."""

ROWS, BARS, KEPT, DROPPED = range(4)
MARKS = 4
"""Marks of a buffer: rows in it, rows up to its last bar, rows that stay when it is full, whether any were dropped."""

_START, _OPEN, _HIGH, _LOW, _CLOSE, _VOLUME, _NOTIONAL, _COUNT, _PRICE_SUM, _LAST_AT = range(10)
BAR_VALUES = 10
"""A bar as numbers, in the order of `BAR_COLUMNS`."""


@compiled("int64(float64)")
def most_fills(interval: float) -> int:
    """Return how many intervals of silence are filled."""
    return int(FILL_LIMIT_S // interval)


@compiled("float64(float64, float64)")
def log_ratio(a: float, b: float) -> float:
    """Return log(a/b); a price that is not above zero has none."""
    if a == b:
        return 0.0
    return math.log(a / b) if a > 0.0 and b > 0.0 else math.nan


@compiled("void(float64[:, ::1], int64)")
def relate(rows: FloatArray, i: int) -> None:
    """Compare a row with the one before."""
    close, before = rows[CLOSE, i], rows[CLOSE, i - 1]
    rows[RETURN, i] = log_ratio(close, before) * BP
    high, low = rows[HIGH, i], rows[LOW, i]
    rows[TRUE_RANGE, i] = max(high, before) - min(low, before)
    up, down = high - rows[HIGH, i - 1], rows[LOW, i - 1] - low
    direction = 0.0
    if down > 0.0 and up < down:
        direction = -down
    elif up > 0.0 and up > down:
        direction = up
    rows[DIRECTION, i] = direction


@compiled("void(float64[:, ::1], int64, int64, float64)")
def fill(rows: FloatArray, first: int, stop: int, interval: float) -> None:
    """Repeat the close of the row before `first` up to `stop`."""
    for i in range(first, stop):
        close = rows[CLOSE, i - 1]
        rows[START, i] = rows[START, i - 1] + interval
        rows[CLOSE, i] = close
        rows[HIGH, i] = close
        rows[LOW, i] = close
        rows[VOLUME, i] = 0.0
        rows[NOTIONAL, i] = 0.0
        rows[COUNT, i] = 0.0
        rows[LAST_AT, i] = rows[LAST_AT, i - 1]
        rows[IS_FILL, i] = 1.0
        rows[RUN, i] = rows[RUN, i - 1] + 1.0
        rows[SPAN, i] = 0.0
        rows[BODY, i] = 0.0
        relate(rows, i)


@compiled("void(float64[:, ::1], int64[::1])")
def drop_oldest(rows: FloatArray, marks: Marks) -> None:
    """Move the newest rows to the front of the buffer."""
    shift = marks[ROWS] - marks[KEPT]
    for column in range(COLUMNS):
        for i in range(marks[KEPT]):
            rows[column, i] = rows[column, i + shift]
    marks[ROWS] -= shift
    marks[BARS] -= shift
    marks[DROPPED] = 1


@compiled("boolean(float64[:, ::1], int64[::1], float64[::1], boolean, float64)")
def push(rows: FloatArray, marks: Marks, bar: FloatArray, is_fill: bool, interval: float) -> bool:
    """Add a bar behind the rows; refuse one that does not start after the last."""
    most = most_fills(interval)
    place, run = marks[BARS], 1.0
    if place > 0:
        silent = int((bar[_START] - rows[START, place - 1]) / interval + 0.5) - 1
        if silent < 0:
            return False
        if max(marks[ROWS], place + most) >= rows.shape[1]:
            drop_oldest(rows, marks)
            place = marks[BARS]
        filled = marks[ROWS]
        marks[ROWS] = place + min(silent, most)
        fill(rows, filled, marks[ROWS], interval)
        place = marks[ROWS]
        if silent <= most:
            run = rows[RUN, place - 1] + 1.0
    close, high, low = bar[_CLOSE], bar[_HIGH], bar[_LOW]
    rows[START, place] = bar[_START]
    rows[CLOSE, place] = close
    rows[HIGH, place] = high
    rows[LOW, place] = low
    rows[VOLUME, place] = bar[_VOLUME]
    rows[NOTIONAL, place] = bar[_NOTIONAL]
    rows[COUNT, place] = bar[_COUNT]
    rows[LAST_AT, place] = bar[_LAST_AT]
    rows[IS_FILL, place] = 1.0 if is_fill else 0.0
    rows[RUN, place] = run
    span, body = log_ratio(high, low), log_ratio(close, bar[_OPEN])
    rows[SPAN, place] = span * span
    rows[BODY, place] = body * body
    if place > 0:
        relate(rows, place)
    marks[ROWS] = marks[BARS] = place + 1
    return True


@compiled("void(float64[:, ::1], int64[::1], float64[:, ::1], boolean[::1], float64)")
def extend(rows: FloatArray, marks: Marks, bars: FloatArray, is_fill: BoolArray, interval: float) -> None:
    """Add bars, oldest first; one that starts where another did is left out."""
    for i in range(bars.shape[0]):
        push(rows, marks, bars[i], is_fill[i], interval)


@compiled("void(float64[:, ::1], int64[::1], float64, float64)")
def settle(rows: FloatArray, marks: Marks, end: float, interval: float) -> None:
    """Fill the silence since the last bar, as far as it is filled at all and known before `end`."""
    place = marks[BARS]
    if place == 0:
        return
    silent = int((end - rows[START, place - 1]) / interval + 0.5) - 1
    stop = place + min(silent, most_fills(interval))
    if stop <= marks[ROWS]:
        return
    if stop > rows.shape[1]:
        stop -= marks[ROWS] - marks[KEPT]
        drop_oldest(rows, marks)
    fill(rows, marks[ROWS], stop, interval)
    marks[ROWS] = stop


@compiled("int64(float64[:, ::1], int64[::1], float64)")
def last_row(rows: FloatArray, marks: Marks, start: float) -> int:
    """Find the last row that starts no later; -1 without one."""
    low, high = -1, int(marks[ROWS])
    if high > 0 and rows[START, high - 1] <= start:
        return high - 1
    while high - low > 1:
        between = (low + high) >> 1
        if rows[START, between] <= start:
            low = between
        else:
            high = between
    return low


def bar_values(bars: Bars) -> FloatArray:
    """Return bars as numbers, one row each."""
    columns = (
        bars.start,
        bars.open,
        bars.high,
        bars.low,
        bars.close,
        bars.volume,
        bars.notional,
        bars.count,
        bars.price_sum,
        bars.last_at,
    )
    values = np.empty((len(bars), BAR_VALUES))
    for place, column in enumerate(columns):
        values[:, place] = column
    return values


def rows_of(bars: Bars) -> tuple[FloatArray, Marks]:
    """Arrange a whole history, with room for the silence after it."""
    most = most_fills(float(bars.interval_s))
    silent = np.diff(bars.start) / bars.interval_s
    rows = np.empty((COLUMNS, len(bars) + int(np.minimum(silent, most).sum()) + most + 1))
    marks = np.zeros(MARKS, dtype=np.int64)
    extend(rows, marks, bar_values(bars), bars.is_gap_fill, float(bars.interval_s))
    return rows, marks
