"""When there is something to measure: the ends of the intervals that hold a price, or follow one closely."""

import numpy as np

from app.domain.bars import FILL_LIMIT_S, WINDOW, FloatArray


def moments(starts: FloatArray, interval_s: int, after: float, until: float) -> FloatArray:
    """List the ends of intervals in (after, until] whose window holds any bar, in order.

    `starts` are those of the bars, ascending. A bar counts for as long as silence behind it is filled.
    """
    points = points_of(interval_s)
    # Bars further back have no say; of a long history only the end is looked at.
    first, stop = np.searchsorted(starts, [after - points * interval_s, until])
    starts = starts[first : stop + 1]
    filled = np.full(len(starts), points)
    filled[:-1] = np.minimum((starts[1:] - starts[:-1]) / interval_s, points)
    place = np.arange(filled.sum()) - np.repeat(np.cumsum(filled) - filled, filled)
    ends = np.repeat(starts, filled) + (place + 1.0) * interval_s
    first, stop = np.searchsorted(ends, [after, until], side="right")
    chosen: FloatArray = ends[first:stop]
    return chosen


def points_of(interval_s: int) -> int:
    """Return how many moments in a row one bar may have a say in while silence follows it."""
    return FILL_LIMIT_S // interval_s + 1


def context_s(interval_s: int) -> int:
    """Return how many seconds before a moment the oldest bar may start that its window depends on."""
    # The close of a bar before the window fills what is silent at its beginning.
    return WINDOW * interval_s + FILL_LIMIT_S + interval_s
