"""The ticks of two dealers, and what they add up to, in whole numbers and without the product's code."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

DATA = Path(__file__).parent.parent / "data"
SHIFT_H = {"fxcm": 5, "oanda": 0}
DEALERS = tuple(SHIFT_H)
WINDOW, FILLED_S = 300, 60
_POINTS = 100_000


def file_of(dealer: str) -> Path:
    """Find the file of a dealer."""
    return DATA / f"eurusd-{dealer}.csv.gz"


@dataclass(frozen=True, slots=True)
class Ticks:
    """Distinct ticks by time and price: microseconds since 1970, the dealer's place, bid + ask in points."""

    at: IntArray
    dealer: IntArray
    points: IntArray

    @property
    def price(self) -> FloatArray:
        """The middles: quotients of whole numbers, and so the floats that are nearest to them."""
        return self.points / (2 * _POINTS)


def read_ticks() -> tuple[Ticks, int]:
    """Read both files; answers the ticks and how many rows there are with those that say the same again."""
    parts: list[IntArray] = []
    for place, dealer in enumerate(DEALERS):
        rows = np.loadtxt(file_of(dealer), delimiter=",", skiprows=1)
        at = rows[:, 0].astype(np.int64) * 1_000 + SHIFT_H[dealer] * 3_600_000_000
        points = np.rint(rows[:, 1:] * _POINTS).astype(np.int64).sum(axis=1)
        parts.append(np.stack([at, points, np.full(len(at), place)], axis=1))
    every = np.concatenate(parts)
    distinct = np.unique(every, axis=0)
    return Ticks(distinct[:, 0], distinct[:, 2], distinct[:, 1]), len(every)


@dataclass(frozen=True, slots=True)
class Candles:
    """What the ticks of each interval add up to; only intervals that have any."""

    interval_s: int
    start: IntArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    price_sum: FloatArray
    count: IntArray
    first_at: IntArray
    last_at: IntArray


def add_up(ticks: Ticks, interval_s: int) -> Candles:
    """Add ticks up."""
    number = ticks.at // (interval_s * 1_000_000)
    _, first, count = np.unique(number, return_index=True, return_counts=True)
    last = first + count - 1
    price = ticks.price
    return Candles(
        interval_s,
        number[first] * interval_s,
        price[first],
        np.maximum.reduceat(price, first),
        np.minimum.reduceat(price, first),
        price[last],
        np.add.reduceat(ticks.points, first) / (2 * _POINTS),
        count,
        ticks.at[first],
        ticks.at[last],
    )


class Grid:
    """Every interval from the first candle on, silent ones filled, and the window that each moment looks at."""

    def __init__(self, candles: Candles) -> None:
        step = candles.interval_s
        self._candles = candles
        self._begin = int(candles.start[0])
        place = (candles.start - self._begin) // step
        size = int(place[-1]) + 1 + FILLED_S // step
        self._place = np.arange(size)
        self._source = np.repeat(np.arange(len(place)), np.diff(np.append(place, size)))
        silent = self._place - place[self._source]
        self._is_filled = silent > 0
        is_known = silent <= FILLED_S // step
        self._run = np.maximum.accumulate(np.where(is_known, 0, self._place + 1))
        self.moments: IntArray = self._begin + (self._place[is_known] + 1) * step

    def window(self, moment: int) -> dict[str, Any]:
        """Return the columns of the window that ends at a moment."""
        stop = (moment - self._begin) // self._candles.interval_s
        window = slice(max(int(self._run[stop - 1]), stop - WINDOW), stop)
        source, is_filled, candles = self._source[window], self._is_filled[window], self._candles
        close = candles.close[source]
        columns = {name: np.where(is_filled, close, getattr(candles, name)[source]) for name in ("open", "high", "low")}
        amounts = {name: np.where(is_filled, 0.0, getattr(candles, name)[source]) for name in ("count", "price_sum")}
        silent = np.zeros(len(close))
        return columns | amounts | {"close": close, "volume": silent, "notional": silent, "is_filled": is_filled}
