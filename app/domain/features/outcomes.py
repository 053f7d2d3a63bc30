"""What came after a bar: the labels of training, which no vector may ever see."""

import math
from collections.abc import Sequence

import numpy as np

from app.domain.bars import Bars, FloatArray, IntArray
from app.domain.compiled import compiled
from app.domain.features.rows import (
    BP,
    CLOSE,
    RETURN,
    ROWS,
    RUN,
    VOLUME,
    Marks,
    last_row,
    log_ratio,
    rows_of,
    settle,
)
from app.domain.features.sums import squares, total

OUTCOME_NAMES = ("log_return", "realised_volatility", "volume")
"""Log return in bp; root mean square of one bar's log returns in bp; volume in base."""

OUTCOMES = len(OUTCOME_NAMES)


@compiled("void(float64[:, ::1], int64[::1], float64[::1], int64[::1], float64[:, :, ::1])")
def write_outcomes(rows: FloatArray, marks: Marks, starts: FloatArray, horizons: IntArray, out: FloatArray) -> None:
    """Write what followed the bars that start at given times, over horizons counted in bars."""
    stop = marks[ROWS]
    for i in range(len(starts)):
        place = last_row(rows, marks, starts[i])
        for k in range(len(horizons)):
            end = place + horizons[k]
            # A run that begins between the two means that nobody knows what the price was when it ended.
            if end >= stop or rows[RUN, end] <= horizons[k]:
                continue
            out[i, k, 0] = log_ratio(rows[CLOSE, end], rows[CLOSE, place]) * BP
            out[i, k, 1] = math.sqrt(squares(rows[RETURN, place + 1 : end + 1]) / horizons[k])
            out[i, k, 2] = total(rows[VOLUME, place + 1 : end + 1])


def outcomes_after(bars: Bars, starts: FloatArray, horizons: Sequence[int], as_of: float) -> FloatArray:
    """Compute [starts × horizons × `OUTCOME_NAMES`] of what followed the bars, real or filled, that start then.

    Times are seconds since 1970; horizons count bars. An outcome is NaN until its last bar is complete at `as_of`, and
    for ever where a silence too long to be filled lies in between.
    """
    if any(horizon < 1 for horizon in horizons):
        raise ValueError("a horizon is one bar at least")
    interval = float(bars.interval_s)
    end = as_of // interval * interval
    rows, marks = rows_of(bars.between(-math.inf, end))
    settle(rows, marks, end, interval)
    out = np.full((len(starts), len(horizons), OUTCOMES), math.nan)
    is_complete = starts < end
    found = out[is_complete]
    write_outcomes(rows, marks, starts[is_complete], np.array(horizons, dtype=np.int64), found)
    out[is_complete] = found
    return out
