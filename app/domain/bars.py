"""Prices as they arrive (ticks), and what they add up to over an interval (bars)."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from app.domain.times import moment_of

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

WINDOW = 300
FILL_LIMIT_S = 60
MAX_INTERVAL_S = 86_400
BAR_COLUMNS = ("start", "open", "high", "low", "close", "volume", "notional", "count", "price_sum", "last_at")


@dataclass(frozen=True, slots=True)
class Tick:
    """One price seen at one source."""

    instrument: str
    price: float
    size: float
    at: datetime
    source: str


@dataclass(frozen=True, slots=True)
class Bar:
    """What an instrument's ticks of one interval add up to; `notional` is the sum of price times size."""

    instrument: str
    start: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float
    notional: float
    count: int
    first_at: datetime
    last_at: datetime
    price_sum: float


def aggregate(ticks: Iterable[Tick], interval_s: int = 1) -> list[Bar]:
    """Add ticks up to bars, ordered by instrument and start. The order of the ticks does not matter."""
    groups: defaultdict[tuple[str, int], list[Tick]] = defaultdict(list)
    for tick in ticks:
        groups[tick.instrument, int(tick.at.timestamp() // interval_s)].append(tick)
    return [_bar(groups[key], key[1] * interval_s) for key in sorted(groups)]


@dataclass(frozen=True, slots=True, eq=False)
class Bars:
    """Bars of one instrument as arrays, oldest first; times are seconds since 1970."""

    instrument: str
    interval_s: int
    start: FloatArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    notional: FloatArray
    count: FloatArray
    price_sum: FloatArray
    last_at: FloatArray
    is_gap_fill: BoolArray

    @classmethod
    def from_rows(cls, instrument: str, rows: Sequence[Sequence[Any]], interval_s: int = 1) -> "Bars":
        """Read rows whose columns are `BAR_COLUMNS`, in any order of time."""
        if not rows:
            return cls.empty(instrument, interval_s)
        columns = list(zip(*rows, strict=True))
        start = _seconds(columns[0])
        order = np.argsort(start, kind="stable")
        open_, high, low, close, volume, notional, count, price_sum = (
            np.array(column, dtype=np.float64)[order] for column in columns[1:9]
        )
        return cls(
            instrument=instrument,
            interval_s=interval_s,
            start=start[order],
            open=open_,
            high=high,
            low=low,
            close=close,
            volume=volume,
            notional=notional,
            count=count,
            price_sum=price_sum,
            last_at=_seconds(columns[9])[order],
            is_gap_fill=np.zeros(len(start), dtype=np.bool_),
        )

    @classmethod
    def from_columns(cls, instrument: str, columns: Mapping[str, FloatArray], interval_s: int = 1) -> "Bars":
        """Take the columns named in `BAR_COLUMNS`, oldest first, none of them filled."""
        is_gap_fill = np.zeros(len(columns["start"]), dtype=np.bool_)
        return cls(instrument, interval_s, **columns, is_gap_fill=is_gap_fill)

    @classmethod
    def from_bars(cls, instrument: str, bars: Iterable[Bar], interval_s: int = 1) -> "Bars":
        """Take the bars of one instrument out of a list."""
        rows = [tuple(getattr(bar, column) for column in BAR_COLUMNS) for bar in bars if bar.instrument == instrument]
        return cls.from_rows(instrument, rows, interval_s)

    @classmethod
    def empty(cls, instrument: str, interval_s: int = 1) -> "Bars":
        """Return no bars at all."""
        none = np.empty(0)
        flags = np.empty(0, dtype=np.bool_)
        return cls(instrument, interval_s, none, none, none, none, none, none, none, none, none, none, flags)

    def __len__(self) -> int:
        return len(self.start)

    @property
    def newest_at(self) -> datetime | None:
        """The start of the newest bar, if there is any."""
        return moment_of(float(self.start[-1])) if len(self.start) else None

    def last(self, n: int) -> "Bars":
        """Return the last n bars."""
        return self._slice(max(0, len(self) - n), len(self))

    def followed_by(self, later: "Bars") -> "Bars":
        """Put later bars behind these."""
        if not len(self) or not len(later):
            return later if len(later) else self
        columns = (*BAR_COLUMNS, "is_gap_fill")
        joined = {name: np.concatenate((getattr(self, name), getattr(later, name))) for name in columns}
        return Bars(self.instrument, self.interval_s, **joined)

    def between(self, begin_s: float, end_s: float) -> "Bars":
        """Return the bars that start in [begin_s, end_s)."""
        return self._slice(*(int(stop) for stop in self.start.searchsorted([begin_s, end_s])))

    def window(self, as_of: datetime, size: int = WINDOW) -> "Bars":
        """Return up to `size` consecutive bars that were complete at `as_of`.

        Silence of at most `FILL_LIMIT_S` repeats the last close and is flagged; a longer one ends the window.
        """
        seconds = as_of.timestamp()
        end = seconds // self.interval_s * self.interval_s
        stop = int(self.start.searchsorted(end - self.interval_s, side="right"))
        first = max(0, stop - size)
        reach = FILL_LIMIT_S + self.interval_s
        if stop == 0 or end - self.start[stop - 1] > reach:
            return self._slice(0, 0)
        if end - self.start[first] == (stop - first) * self.interval_s:
            return self._slice(first, stop)
        start = self.start[first:stop]
        breaks = np.flatnonzero(start[1:] - start[:-1] > reach)
        if len(breaks):
            first += int(breaks[-1]) + 1
        run = self._slice(first, stop)
        if end - run.start[0] == len(run) * self.interval_s:
            return run
        return run._filled(end, size)

    def _filled(self, end: float, size: int) -> "Bars":
        begin = max(float(self.start[0]), end - size * self.interval_s)
        grid = np.arange(begin, end, self.interval_s)
        source = self.start.searchsorted(grid, side="right") - 1
        is_fill = self.start[source] != grid
        silent = np.flatnonzero(is_fill)
        close = self.close[source]
        open_, high, low = self.open[source], self.high[source], self.low[source]
        for price in (open_, high, low):
            price[silent] = close[silent]
        volume, notional = self.volume[source], self.notional[source]
        count, price_sum = self.count[source], self.price_sum[source]
        for amount in (volume, notional, count, price_sum):
            amount[silent] = 0.0
        return Bars(
            self.instrument,
            self.interval_s,
            grid,
            open_,
            high,
            low,
            close,
            volume,
            notional,
            count,
            price_sum,
            self.last_at[source],
            is_fill | self.is_gap_fill[source],
        )

    def _slice(self, first: int, stop: int) -> "Bars":
        return Bars(
            self.instrument,
            self.interval_s,
            self.start[first:stop],
            self.open[first:stop],
            self.high[first:stop],
            self.low[first:stop],
            self.close[first:stop],
            self.volume[first:stop],
            self.notional[first:stop],
            self.count[first:stop],
            self.price_sum[first:stop],
            self.last_at[first:stop],
            self.is_gap_fill[first:stop],
        )


def _bar(ticks: list[Tick], start: int) -> Bar:
    prices = [tick.price for tick in ticks]
    first_at, open_ = min((tick.at, tick.price) for tick in ticks)
    last_at, close = max((tick.at, tick.price) for tick in ticks)
    return Bar(
        instrument=ticks[0].instrument,
        start=moment_of(start),
        open=open_,
        high=max(prices),
        low=min(prices),
        close=close,
        volume=math.fsum(tick.size for tick in ticks),
        notional=math.fsum(tick.price * tick.size for tick in ticks),
        count=len(ticks),
        first_at=first_at,
        last_at=last_at,
        price_sum=math.fsum(prices),
    )


def _seconds(times: Sequence[Any]) -> FloatArray:
    if isinstance(times[0], datetime):
        times = [time.timestamp() for time in times]
    return np.array(times, dtype=np.float64)
