"""Bars together with when they were known, and bars as they were known at an earlier time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from app.domain.bars import BAR_COLUMNS, FILL_LIMIT_S, WINDOW, Bars, FloatArray

KNOWN_COLUMNS = (*BAR_COLUMNS, "known_at")
TICK_COLUMNS = ("at", "price", "size", "known_at")
_AT, _PRICE, _SIZE, _KNOWN_AT = range(len(TICK_COLUMNS))
_COUNT = BAR_COLUMNS.index("count")


@dataclass(frozen=True, slots=True, eq=False)
class KnownBars:
    """Bars of one instrument, and when each was last changed, in seconds since 1970."""

    bars: Bars
    known_at: FloatArray

    @classmethod
    def from_table(cls, instrument: str, table: FloatArray, interval_s: int) -> Self:
        """Take rows of `KNOWN_COLUMNS`, oldest first."""
        columns = {name: np.ascontiguousarray(table[:, place]) for place, name in enumerate(KNOWN_COLUMNS)}
        known_at = columns.pop("known_at")
        return cls(Bars.from_columns(instrument, columns, interval_s), known_at)

    @property
    def table(self) -> FloatArray:
        """Return rows of `KNOWN_COLUMNS`."""
        return np.column_stack([*(getattr(self.bars, name) for name in BAR_COLUMNS), self.known_at])


@dataclass(frozen=True, slots=True, eq=False)
class Ranges:
    """Stretches of time [begin, end) that do not touch, ascending, in seconds since 1970."""

    begins: FloatArray
    ends: FloatArray

    @classmethod
    def joined(cls, begins: FloatArray, ends: FloatArray) -> Self:
        """Join stretches that overlap or touch; both sequences ascend."""
        if len(begins) == 0:
            return cls(begins, ends)
        opens = np.append(True, begins[1:] > ends[:-1])
        return cls(begins[opens], ends[np.append(opens[1:], True)])

    @property
    def seconds(self) -> float:
        """How long they are together."""
        return float((self.ends - self.begins).sum())

    def parts(self, seconds: float) -> tuple["Ranges", "Ranges"]:
        """Split off the first ones, up to so many seconds in all; the rest is the second answer."""
        passed = np.cumsum(self.ends - self.begins)
        whole = int(passed.searchsorted(seconds, side="right"))
        if whole == len(passed):
            return self, Ranges(self.begins[whole:], self.ends[whole:])
        cut = float(self.begins[whole]) + seconds - (float(passed[whole - 1]) if whole else 0.0)
        if cut <= self.begins[whole]:
            return Ranges(self.begins[:whole], self.ends[:whole]), Ranges(self.begins[whole:], self.ends[whole:])
        first = Ranges(self.begins[: whole + 1], np.append(self.ends[:whole], cut))
        return first, Ranges(np.append(cut, self.begins[whole + 1 :]), self.ends[whole:])


def read_by(moments: FloatArray, interval_s: int, rows_before: int = 0) -> Ranges:
    """Tell which bars the windows of ascending moments read, each also `rows_before` intervals earlier."""
    ends = moments // interval_s * interval_s
    reach = (WINDOW + rows_before + 1) * interval_s + FILL_LIMIT_S
    return Ranges.joined((ends - reach) // interval_s * interval_s, ends)


def add_up(instrument: str, ticks: FloatArray, interval_s: int) -> KnownBars:
    """Add ticks up to bars: rows of `TICK_COLUMNS`, ordered by time and then by price, as `aggregate` does."""
    bucket = ticks[:, _AT] // interval_s * interval_s
    opens = np.flatnonzero(np.append(True, bucket[1:] != bucket[:-1])) if len(ticks) else np.empty(0, dtype=np.intp)
    closes = np.append(opens[1:], len(ticks)) if len(ticks) else opens
    notional = ticks[:, _PRICE] * ticks[:, _SIZE]
    table = np.empty((len(opens), len(KNOWN_COLUMNS)))
    for row, (first, stop) in enumerate(zip(opens.tolist(), closes.tolist(), strict=True)):
        prices = ticks[first:stop, _PRICE]
        table[row] = (
            bucket[first],
            prices[0],
            prices.max(),
            prices.min(),
            prices[-1],
            math.fsum(ticks[first:stop, _SIZE]),
            math.fsum(notional[first:stop]),
            stop - first,
            math.fsum(prices),
            ticks[stop - 1, _AT],
            ticks[first:stop, _KNOWN_AT].max(),
        )
    return KnownBars.from_table(instrument, table, interval_s)


def as_known(stored: KnownBars, rebuilt: KnownBars, as_of_s: float) -> KnownBars:
    """Return the bars known at a time: those rebuilt from ticks known then, and those unchanged since.

    A stored bar whose ticks are no longer all there stands for itself; one that changed later is left out.
    """
    before, after = rebuilt.table, stored.table
    place = np.searchsorted(before[:, 0], after[:, 0])
    found = np.full(len(after), -1.0)
    inside = place < len(before)
    same = np.zeros(len(after), dtype=np.bool_)
    same[inside] = before[place[inside], 0] == after[inside, 0]
    found[same] = before[place[same], _COUNT]
    stands = (after[:, -1] <= as_of_s) & (after[:, _COUNT] > found)
    replaced = np.isin(before[:, 0], after[stands, 0])
    table = np.concatenate((before[~replaced], after[stands]))
    table = table[np.argsort(table[:, 0], kind="stable")]
    return KnownBars.from_table(stored.bars.instrument, table, stored.bars.interval_s)


def joined(instrument: str, interval_s: int, parts: Sequence[KnownBars]) -> KnownBars:
    """Put parts of one history together, in their order."""
    if len(parts) == 1:
        return parts[0]
    tables = [part.table for part in parts] or [np.empty((0, len(KNOWN_COLUMNS)))]
    return KnownBars.from_table(instrument, np.concatenate(tables), interval_s)
