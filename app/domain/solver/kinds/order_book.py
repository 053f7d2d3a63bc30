"""Bids and asks: every level a straight stretch; lots, ticks and minimums hold for each fill."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

import numpy as np

from app.domain.market import OrderBook
from app.domain.solver.exact import ONE, ZERO, down, unit
from app.domain.solver.kinds.base import (
    CAP,
    CAP_OUT,
    DEPTH_IN,
    DEPTH_OUT,
    KEPT,
    LINEAR,
    RATE,
    SEGMENT_FIELDS,
    SHAPE,
    Direction,
    Floats,
)
from app.domain.solver.kinds.whole import WholeBook, can_be_whole
from app.domain.solver.sides import LARGEST_EXPONENT, BookSide, Fill, Units
from app.domain.values import DEFAULT_DECIMALS, Asset


class OrderBookState:
    """Both sides of a book as the legs so far have left them."""

    __slots__ = ("_asks", "_asks_taken", "_bids", "_bids_taken", "_unit")

    def __init__(self, asks: BookSide, bids: BookSide, unit: Decimal) -> None:
        """Start from both sides whole; `unit` is the smallest amount of the base asset."""
        self._asks, self._bids = asks, bids
        self._unit = unit
        self._asks_taken = self._bids_taken = ZERO

    def copy(self) -> "OrderBookState":
        """Return the same state, to be changed on its own."""
        other = OrderBookState(self._asks, self._bids, self._unit)
        other._asks_taken, other._bids_taken = self._asks_taken, self._bids_taken
        return other

    def send(self, gives: Asset, takes: Asset, amount: Decimal, units: Units) -> Fill | None:
        """Send at most `amount`: the largest fill on the book's steps that it pays for."""
        side = self._side(gives)
        if not side.prices or side.blocked is not None or amount <= 0 or amount.adjusted() >= LARGEST_EXPONENT:
            return None
        return self._apply(side, side.spend(down(amount, units.given), units))

    def obtain(self, gives: Asset, takes: Asset, target: Decimal, units: Units) -> Fill | None:
        """Receive at least `target`: the cheapest fill on the book's steps, or None when the book is too thin."""
        side = self._side(gives)
        if not side.prices or side.blocked is not None or target <= 0:
            return None
        fill = side.obtain(target, units)
        if fill is not None and _base_of(side, fill) < side.min_base:
            fill = side.take(0, 0.0, units)
        return self._apply(side, fill)

    def rate(self, gives: Asset, takes: Asset) -> Decimal:
        """Return what the next infinitesimal amount would bring, fee included; zero when nothing is left."""
        side = self._side(gives)
        if not side.prices:
            return ZERO
        return ONE / (side.prices[0] * side.multiple) if side.buys else side.prices[0] * side.multiple

    def price(self, gives: Asset, takes: Asset) -> Decimal | None:
        """Return the first level's price, in the book's quote."""
        return self._side(gives).best_price

    def _side(self, gives: Asset) -> BookSide:
        if gives == self._asks.market.quote:
            if self._asks_taken:
                self._asks, self._asks_taken = _without(self._asks, self._asks_taken, self._unit), ZERO
            return self._asks
        if self._bids_taken:
            self._bids, self._bids_taken = _without(self._bids, self._bids_taken, self._unit), ZERO
        return self._bids

    def _apply(self, side: BookSide, fill: Fill | None) -> Fill | None:
        if fill is None or _base_of(side, fill) < side.min_base:
            return None
        if side.buys:
            self._asks_taken = fill.receives
        else:
            self._bids_taken = fill.sends
        return fill


def _without(side: BookSide, taken: Decimal, unit: Decimal) -> BookSide:
    levels = []
    for price, size in zip(side.prices, side.sizes, strict=True):
        used = min(taken, size)
        taken -= used
        if used < size:
            levels.append((price, size - used))
    if side.buys:
        return BookSide(replace(side.market, asks=tuple(levels)), buys=True).on_grid(unit)
    return BookSide(replace(side.market, bids=tuple(levels)), buys=False).on_grid(unit)


def _base_of(side: BookSide, fill: Fill) -> Decimal:
    return fill.receives if side.buys else fill.sends


class OrderBookExchange:
    """A book arranged for the solver; runs in the exact context."""

    shares = False

    def __init__(self, market: OrderBook, unit: Decimal) -> None:
        """Arrange both sides on the base asset's unit and list those that hold enough for their own minimum."""
        self.market = market
        self._unit = unit
        self._asks, self._bids = (BookSide(market, buys=buys).on_grid(unit) for buys in (True, False))
        usable = [side for side in (self._asks, self._bids) if side.prices and side.blocked is None]
        self.directions: tuple[Direction, ...] = tuple(
            (market.quote, market.base) if side.buys else (market.base, market.quote) for side in usable
        )

    def base(self, gives: Asset, takes: Asset) -> Asset:
        """Return the book's base, which prices are per unit of."""
        return self.market.base

    def fee_asset(self, gives: Asset, takes: Asset) -> Asset:
        """Return the quote, which the taker's fee is in."""
        return self.market.quote

    def state(self) -> OrderBookState:
        """Return both sides whole."""
        return OrderBookState(self._asks, self._bids, self._unit)

    def side(self, gives: Asset) -> BookSide:
        """Return the side that takes an asset, with its lots and minimums."""
        return self._asks if gives == self.market.quote else self._bids

    def whole(self, gives: Asset, takes: Asset, units: Units) -> WholeBook | None:
        """Return the side reckoned in whole units where it has no lots and minimums."""
        side = self.side(gives)
        unit = units.taken if side.buys else units.given
        return WholeBook(side, units) if can_be_whole(side) and side.step == unit else None

    def edges(self, gives: Asset, takes: Asset) -> Floats:
        """Return one segment for every level."""
        levels = self.side(gives).levels
        rows = np.zeros((len(levels), SEGMENT_FIELDS))
        rows[:, SHAPE] = LINEAR
        rows[:, RATE] = levels[:, 0]
        rows[:, CAP] = rows[:, DEPTH_IN] = levels[:, 1]
        rows[:, CAP_OUT] = rows[:, DEPTH_OUT] = levels[:, 2]
        rows[:, KEPT] = 1.0
        return rows


def arrange_order_book(market: OrderBook, decimals: Mapping[Asset, int]) -> OrderBookExchange | None:
    """Arrange a book, or return None when neither side can trade."""
    exchange = OrderBookExchange(market, unit(decimals.get(market.base, DEFAULT_DECIMALS)))
    return exchange if exchange.directions else None
