"""The windows of a history, cut once for many moments."""

from dataclasses import dataclass

import numpy as np

from app.domain.bars import BAR_COLUMNS, FILL_LIMIT_S, WINDOW, Bars, FloatArray, IntArray
from app.domain.metrics.indicators import Prices

_COLUMNS = (*BAR_COLUMNS, "is_gap_fill")


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Filled bars, and where in them the window of each moment begins and ends."""

    bars: Bars
    first: IntArray
    stop: IntArray

    @classmethod
    def of(cls, window: Bars) -> "Windows":
        """Take a window that is cut already."""
        return cls(window, np.zeros(1, dtype=np.int64), np.array([len(window)]))

    @classmethod
    def cut(cls, bars: Bars, as_ofs: FloatArray) -> "Windows":
        """Cut what `Bars.window` would give at each of these seconds since 1970, in any order."""
        empty = np.zeros(len(as_ofs), dtype=np.int64)
        if len(bars) == 0 or len(as_ofs) == 0:
            return cls(bars, empty, empty)
        step = bars.interval_s
        ends = as_ofs // step * step
        # Only what some window reads: from the oldest bar of the earliest on.
        oldest = int(bars.start.searchsorted(ends.min() - step, side="right")) - WINDOW
        bars = bars.between(float(bars.start[max(0, oldest)]), float(ends.max()))
        if len(bars) == 0:
            return cls(bars, empty, empty)
        filled, run_first = _fill(bars)
        stop = filled.start.searchsorted(ends - step, side="right")
        newest = np.maximum(stop - 1, 0)
        is_known = (stop > 0) & (filled.start[newest] == ends - step)
        first = np.maximum(run_first[newest], stop - WINDOW)
        return cls(filled, np.where(is_known, first, 0), np.where(is_known, stop, 0))

    def __len__(self) -> int:
        return len(self.first)

    def prices(self, index: int) -> Prices:
        """Return what the indicators read of one window."""
        window = slice(self.first[index], self.stop[index])
        bars = self.bars
        return Prices(bars.high[window], bars.low[window], bars.close[window], bars.volume[window])

    def newest(self, column: str) -> FloatArray:
        """Return one column of each window's newest bar; NaN where there is none."""
        values = np.full(len(self), np.nan)
        has_bars = self.stop > self.first
        values[has_bars] = getattr(self.bars, column)[self.stop[has_bars] - 1]
        return values

    def whole(self, index: int) -> Bars:
        """Return one window whose arrays can't be written to."""
        window = slice(self.first[index], self.stop[index])
        columns = {name: getattr(self.bars, name)[window] for name in _COLUMNS}
        for column in columns.values():
            column.flags.writeable = False
        return Bars(self.bars.instrument, self.bars.interval_s, **columns)


def _fill(bars: Bars) -> tuple[Bars, IntArray]:
    step = bars.interval_s
    ahead = np.append(bars.start[1:], np.inf) - bars.start
    most = FILL_LIMIT_S // step + 1
    # A silence too long to be filled up is filled as far as a window may end in it.
    points = np.minimum(np.where(ahead <= FILL_LIMIT_S + step, ahead / step, most), most).astype(np.int64)
    source = np.repeat(np.arange(len(bars)), points)
    place = np.arange(len(source)) - np.repeat(np.cumsum(points) - points, points)
    breaks = np.flatnonzero(ahead[:-1] > FILL_LIMIT_S + step) + 1
    run = np.zeros(len(bars), dtype=np.int64)
    run[breaks] = (np.cumsum(points) - points)[breaks]
    run_first = np.maximum.accumulate(run)[source]
    gap = place > 0
    close = bars.close[source]
    return (
        Bars(
            instrument=bars.instrument,
            interval_s=step,
            start=bars.start[source] + place * step,
            open=np.where(gap, close, bars.open[source]),
            high=np.where(gap, close, bars.high[source]),
            low=np.where(gap, close, bars.low[source]),
            close=close,
            volume=np.where(gap, 0.0, bars.volume[source]),
            notional=np.where(gap, 0.0, bars.notional[source]),
            count=np.where(gap, 0.0, bars.count[source]),
            price_sum=np.where(gap, 0.0, bars.price_sum[source]),
            last_at=bars.last_at[source],
            is_gap_fill=gap,
        ),
        run_first,
    )
