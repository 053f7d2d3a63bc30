"""Features of an instrument's order books at one moment."""

import math
from collections.abc import Sequence

import numpy as np

from app.domain.bars import FloatArray, IntArray
from app.domain.compiled import compiled
from app.domain.features.catalog import MARKET_NAMES
from app.domain.market import Level, MarketStatus, OrderBook

BP = 1e4
DEPTH_BP = 10.0
TOP_LEVELS = 5
FRESH_S = 60.0
"""How long a sample of the books counts."""

EDGE = 1e-12
"""What rounding may take from a level that lies just within reach."""

BOOK_NAMES = (
    "relative_spread",
    "imbalance_1",
    "imbalance_5",
    "microprice_offset",
    "depth_bid_10bp",
    "depth_ask_10bp",
    "book_slope",
)
BOOK_VALUES = len(BOOK_NAMES)
SPREAD, IMBALANCE_1, IMBALANCE_5, OFFSET, DEPTH_BID, DEPTH_ASK, SLOPE = range(BOOK_VALUES)
BOOK_PLACES = np.array([MARKET_NAMES.index(name) for name in BOOK_NAMES])
"""Where a market vector holds what the books say."""

BIDS, ASKS, STOP = range(3)
"""Bounds of a book among levels: its first bid, its first ask, and the end of its asks."""


def usable_books(instrument: str, books: Sequence[OrderBook]) -> list[OrderBook]:
    """Keep the trading, two-sided books of an instrument."""
    return [
        book
        for book in books
        if book.status is MarketStatus.TRADING and book.bids and book.asks and f"{book.base}-{book.quote}" == instrument
    ]


def middle(books: Sequence[OrderBook]) -> float:
    """Return the price halfway between the best bid and the best ask of all books."""
    bid = max(book.bids[0][0] for book in books)
    ask = min(book.asks[0][0] for book in books)
    return float(bid + ask) / 2


def book_values(books: Sequence[OrderBook]) -> FloatArray:
    """Compute what usable books of one instrument hold, in the order of `BOOK_NAMES`; NaN without a book."""
    out = np.full(BOOK_VALUES, math.nan)
    if books:
        levels, bounds = book_levels(books)
        read_books(levels, bounds, out)
    return out


def book_levels(books: Sequence[OrderBook]) -> tuple[FloatArray, IntArray]:
    """Return prices and sizes as far as a feature looks, the bids of a book before its asks, and their bounds."""
    mid = middle(books)
    reach = mid * DEPTH_BP / BP * (1 + 1e-6)
    levels: list[tuple[float, float]] = []
    bounds: list[tuple[int, int, int]] = []
    for book in books:
        first = len(levels)
        _near(levels, book.bids, -1.0, mid, reach)
        asks = len(levels)
        _near(levels, book.asks, 1.0, mid, reach)
        bounds.append((first, asks, len(levels)))
    return np.array(levels), np.array(bounds)


def _near(levels: list[tuple[float, float]], side: Sequence[Level], outwards: float, mid: float, reach: float) -> None:
    # Converting decimals is most of the work: stop where no feature looks any further.
    for place, (price, size) in enumerate(side):
        value = float(price)
        if place >= TOP_LEVELS and (value - mid) * outwards > reach:
            break
        levels.append((value, float(size)))


@compiled("float64(float64[:, ::1], int64, int64, float64, float64, float64)")
def _size_within(levels: FloatArray, first: int, stop: int, outwards: float, mid: float, reach: float) -> float:
    size = 0.0
    for place in range(first, stop):
        if (levels[place, 0] - mid) * outwards > reach:
            break
        size += levels[place, 1]
    return size


@compiled("void(float64[:, ::1], int64[:, ::1], float64[::1])")
def read_books(levels: FloatArray, bounds: IntArray, out: FloatArray) -> None:
    """Write what the books of one instrument hold; each has a bid and an ask at least."""
    best_bid, best_ask = 0.0, math.inf
    for book in range(len(bounds)):
        best_bid = max(best_bid, levels[bounds[book, BIDS], 0])
        best_ask = min(best_ask, levels[bounds[book, ASKS], 0])
    mid = (best_bid + best_ask) / 2
    reach = mid * DEPTH_BP / BP + mid * EDGE
    bid_1 = ask_1 = bid_5 = ask_5 = depth_bid = depth_ask = offset = slope = 0.0
    for book in range(len(bounds)):
        bids, asks, stop = bounds[book, BIDS], bounds[book, ASKS], bounds[book, STOP]
        bid, ask = levels[bids, 0], levels[asks, 0]
        bid_size, ask_size = levels[bids, 1], levels[asks, 1]
        own_mid = (bid + ask) / 2
        bid_1 += bid_size
        ask_1 += ask_size
        depth_bid += _size_within(levels, bids, asks, -1.0, mid, reach)
        depth_ask += _size_within(levels, asks, stop, 1.0, mid, reach)
        if bid_size + ask_size > 0.0:
            offset += ((bid * ask_size + ask * bid_size) / (bid_size + ask_size) / own_mid - 1) * BP
        for first, end in ((bids, asks), (asks, stop)):
            last = min(first + TOP_LEVELS, end)
            top = 0.0
            for place in range(first, last):
                top += levels[place, 1]
            slope += top / max(abs(levels[last - 1, 0] / own_mid - 1) * BP, 1e-6)
            if first == bids:
                bid_5 += top
            else:
                ask_5 += top
    out[SPREAD] = (best_ask - best_bid) / mid * BP
    out[OFFSET] = offset / len(bounds)
    out[DEPTH_BID] = depth_bid
    out[DEPTH_ASK] = depth_ask
    out[SLOPE] = slope / (2 * len(bounds))
    if bid_1 + ask_1 > 0.0:
        out[IMBALANCE_1] = (bid_1 - ask_1) / (bid_1 + ask_1)
    if bid_5 + ask_5 > 0.0:
        out[IMBALANCE_5] = (bid_5 - ask_5) / (bid_5 + ask_5)
