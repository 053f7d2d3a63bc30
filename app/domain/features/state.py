"""The latest bars and books of many instruments, held ready for their vectors."""

import math
from collections.abc import Iterable, Sequence
from datetime import datetime

import numpy as np

from app.domain.bars import WINDOW, Bars, BoolArray, FloatArray, IntArray
from app.domain.compiled import compiled
from app.domain.features.books import BOOK_VALUES, book_values, read_books, usable_books
from app.domain.features.rows import (
    BAR_VALUES,
    BODY,
    CLOSE,
    COLUMNS,
    COUNT,
    DIRECTION,
    HIGH,
    IS_FILL,
    KEPT,
    LAST_AT,
    LOW,
    MARKS,
    NOTIONAL,
    RETURN,
    ROWS,
    RUN,
    SPAN,
    START,
    TRUE_RANGE,
    VOLUME,
    bar_values,
    extend,
    push,
)
from app.domain.features.vectors import WIDTH, write_vector
from app.domain.market import OrderBook

LOOKBACK = 60
"""How many bars behind the newest a moment may lie and still be answered."""

CAPACITY = 660
FEWEST_KEPT = WINDOW + 2 * LOOKBACK
CACHE_LINE = 8
"""How many numbers come with one that is read."""

STAGGER = 60
"""Buffers keep a different number of rows each, so that not all of them make room at the same bar."""


@compiled("void(float64[:, :, ::1], int64[:, ::1], int64[::1], float64[:, ::1], float64, boolean[::1])")
def push_many(
    rows: FloatArray, marks: IntArray, slots: IntArray, bars: FloatArray, interval: float, accepted: BoolArray
) -> None:
    """Add bars to the instruments in given slots, and say of each whether it was the newest."""
    for i in range(len(slots)):
        accepted[i] = push(rows[slots[i]], marks[slots[i]], bars[i], False, interval)


@compiled("float64(float64[:, ::1], int64)")
def touch(rows: FloatArray, stop: int) -> float:
    """Read one number of every cache line of a window. The reads overlap, as those of the features cannot."""
    a = b = c = d = e = 0.0
    for i in range(max(0, stop - WINDOW), stop, CACHE_LINE):
        a += rows[CLOSE, i]
        b += rows[RETURN, i]
        c += rows[TRUE_RANGE, i]
        d += rows[DIRECTION, i]
        e += rows[VOLUME, i]
    for i in range(max(0, stop - 60), stop, CACHE_LINE):
        a += rows[NOTIONAL, i]
        b += rows[SPAN, i]
        c += rows[BODY, i]
    if stop > 0:
        d += rows[START, stop - 1] + rows[HIGH, stop - 1] + rows[LOW, stop - 1] + rows[COUNT, stop - 1]
        e += rows[LAST_AT, stop - 1] + rows[IS_FILL, stop - 1] + rows[RUN, stop - 1]
    return a + b + c + d + e


@compiled(
    "int64(float64[:, :, ::1], int64[:, ::1], int64[::1], float64, float64, float64[:, ::1], float64[:, ::1],"
    "float64[::1])"
)
def write_vectors(
    rows: FloatArray,
    marks: IntArray,
    slots: IntArray,
    as_of: float,
    interval: float,
    books: FloatArray,
    out: FloatArray,
    touched: FloatArray,
) -> int:
    """Write the vectors of the instruments in given slots; return the first that reaches too far back, or -1.

    What is written to `touched` has no meaning: it keeps the compiler from leaving out the reads.
    """
    for i in range(len(slots)):
        slot = slots[i]
        touched[0] = touch(rows[slot], marks[slot, ROWS])
        if not write_vector(rows[slot], marks[slot], as_of, interval, books[slot], out[i]):
            return i
    return -1


@compiled("void(float64[:, ::1], int64[:, ::1], int64[::1], int64[::1], float64[:, ::1])")
def read_books_of_many(
    levels: FloatArray, bounds: IntArray, slots: IntArray, counts: IntArray, out: FloatArray
) -> None:
    """Read the books of several instruments, which follow one another as `counts` says."""
    first = 0
    for i in range(len(slots)):
        out[slots[i], :] = math.nan
        if counts[i] > 0:
            read_books(levels, bounds[first : first + counts[i]], out[slots[i]])
        first += counts[i]


class VectorState:
    """Vectors of many instruments after every bar. They equal `market_vector` on the same bars, bit for bit.

    Instruments are addressed by slot, which `slots` looks up; stored bars bring back all that is kept but the books.
    Not for two threads at once.
    """

    def __init__(self, interval_s: int = 1) -> None:
        self.interval_s = interval_s
        self._places: dict[str, int] = {}
        self._rows = np.empty((0, COLUMNS, CAPACITY))
        self._marks = np.zeros((0, MARKS), dtype=np.int64)
        self._books = np.empty((0, BOOK_VALUES))

    @property
    def instruments(self) -> tuple[str, ...]:
        """The instruments held, in the order of their slots."""
        return tuple(self._places)

    def slots(self, instruments: Iterable[str]) -> IntArray:
        """Look up where instruments are held; KeyError for one that was never loaded."""
        return np.array([self._places[instrument] for instrument in instruments], dtype=np.int64)

    def load(self, instrument: str, bars: Bars) -> int:
        """Rebuild an instrument from its stored bars, or add a new one; return its slot. Its books stay."""
        if bars.interval_s != self.interval_s:
            raise ValueError(f"bars of {bars.interval_s} s do not go with bars of {self.interval_s} s")
        slot = self._places.setdefault(instrument, len(self._places))
        if slot == len(self._rows):
            self._grow()
        self._marks[slot] = 0
        self._marks[slot, KEPT] = FEWEST_KEPT + slot * 29 % STAGGER
        extend(self._rows[slot], self._marks[slot], bar_values(bars), bars.is_gap_fill, float(self.interval_s))
        return slot

    def append(self, slots: IntArray, bars: FloatArray) -> BoolArray:
        """Add one new bar for each slot, as rows of `BAR_COLUMNS` with times in seconds since 1970.

        Returns which were accepted. One that is not newer than its instrument's last corrects what went before:
        load that instrument again.
        """
        self._check(slots)
        values = np.ascontiguousarray(bars, dtype=np.float64)
        if values.shape != (len(slots), BAR_VALUES):
            raise ValueError(f"{len(slots)} bars of {BAR_VALUES} numbers are needed, not {values.shape}")
        accepted = np.empty(len(slots), dtype=np.bool_)
        push_many(self._rows, self._marks, slots, values, float(self.interval_s), accepted)
        return accepted

    def set_books(self, instrument: str, books: Sequence[OrderBook]) -> None:
        """Take an instrument's books of now; those that do not trade or are one-sided count for nothing."""
        self._books[self._places[instrument]] = book_values(usable_books(instrument, books))

    def set_levels(self, slots: IntArray, levels: FloatArray, bounds: IntArray, counts: IntArray) -> None:
        """Take the books of many instruments at once, as prices and sizes and bounds of `book_levels`.

        `counts` says how many of the books belong to each slot; an instrument without a book has none from now on.
        """
        self._check(slots)
        if len(counts) != len(slots) or counts.sum() != len(bounds):
            raise ValueError(f"{len(slots)} slots with {counts.sum()} books do not go with {len(bounds)} bounds")
        if len(bounds) and (bounds.min() < 0 or bounds.max() > len(levels) or np.diff(bounds).min() < 1):
            raise ValueError("each book needs a bid and an ask among the levels")
        read_books_of_many(levels, bounds, slots, counts, self._books)

    def vectors(self, as_of: datetime, slots: IntArray | None = None) -> FloatArray:
        """Compute the vectors known at `as_of`, one row for each slot: all of them unless told.

        Raises ValueError when that is more than `LOOKBACK` bars behind what an instrument holds.
        """
        chosen = np.arange(len(self._places)) if slots is None else slots
        self._check(chosen)
        out = np.empty((len(chosen), WIDTH))
        refused = write_vectors(
            self._rows,
            self._marks,
            chosen,
            as_of.timestamp(),
            float(self.interval_s),
            self._books,
            out,
            np.empty(1),
        )
        if refused >= 0:
            instrument = self.instruments[int(chosen[refused])]
            raise ValueError(f"{instrument} no longer holds the bars before {as_of:%Y-%m-%dT%H:%M:%SZ}: load them")
        return out

    def _grow(self) -> None:
        more = max(16, len(self._rows))
        self._rows = np.concatenate((self._rows, np.empty((more, COLUMNS, CAPACITY))))
        self._marks = np.concatenate((self._marks, np.zeros((more, MARKS), dtype=np.int64)))
        self._books = np.concatenate((self._books, np.full((more, BOOK_VALUES), math.nan)))

    def _check(self, slots: IntArray) -> None:
        # Kernels look nothing up twice: what is out of bounds there is another instrument's memory.
        if len(slots) and not (slots.min() >= 0 and slots.max() < len(self._places)):
            raise ValueError(f"slots must lie below {len(self._places)}")
