"""Liquidity in price ranges, as Uniswap v3 keeps it: constant product on virtual reserves between two boundaries.

With `s` the root of the price of asset0 in asset1, liquidity `L` holds virtually `L / s` of asset0 and `L * s` of
asset1.
"""

from collections.abc import Mapping
from decimal import Context, Decimal
from functools import lru_cache
from itertools import accumulate

import numpy as np

from app.domain.market import Concentrated
from app.domain.solver.exact import EXACT, ONE, ZERO, down, fee_up, up
from app.domain.solver.kinds.base import (
    CAP,
    CAP_OUT,
    DEPTH_IN,
    DEPTH_OUT,
    KEPT,
    NO_SEGMENTS,
    POWER,
    POWERED,
    RATE,
    SEGMENT_FIELDS,
    SHAPE,
    Direction,
    Floats,
)
from app.domain.solver.kinds.pool import kept_of, payable, stated_limit
from app.domain.solver.sides import LARGEST_EXPONENT, NEGLIGIBLE, Fill, Units, usable
from app.domain.values import Asset

OUTERMOST = 887_272
"""Where prices end, both ways; liquidity that no boundary takes away reaches there."""
STEP = Decimal("1.0001")
HALF_STEP = float(STEP.ln() / 2)
ENDLESS = 1e12
"""A range whose ends are this many times apart takes, for floats, any amount."""

_ROOTS = Context(prec=64, rounding=EXACT.rounding, Emin=EXACT.Emin, Emax=EXACT.Emax)


@lru_cache(maxsize=1 << 16)
def boundary(index: int, shift: int) -> Decimal:
    """Return the root of the price at a tick; `shift` is the decimals of asset0 less those of asset1."""
    return _ROOTS.sqrt(_ROOTS.power(STEP, index).scaleb(shift, EXACT))


class ConcentratedState:
    """A concentrated pool as the legs so far have left it; its fee is kept apart from the liquidity."""

    __slots__ = ("_exchange", "_liquidity", "_place", "_root")

    def __init__(self, exchange: "ConcentratedExchange", root: Decimal, liquidity: Decimal, place: int) -> None:
        """Start where the price stands; `place` counts the boundaries at or below it."""
        self._exchange = exchange
        self._root = root
        self._liquidity = liquidity
        self._place = place

    def copy(self) -> "ConcentratedState":
        """Return the same state, to be changed on its own."""
        return ConcentratedState(self._exchange, self._root, self._liquidity, self._place)

    def send(self, gives: Asset, takes: Asset, amount: Decimal, units: Units) -> Fill | None:
        """Send at most `amount`; less where the ranges end before."""
        if amount.adjusted() >= LARGEST_EXPONENT:
            return None
        kept = self._exchange.kept
        sends = down(amount, units.given)
        if sends <= 0:
            return None
        after = self.copy()
        counted = sends * kept
        left, out = after._walk(gives == self._exchange.market.asset0, counted)
        if left > 0:
            sends = min(sends, up((counted - left) / kept, units.given))
        receives = down(out, units.taken)
        return self._take_over(after, gives, sends, receives, units) if receives > 0 else None

    def obtain(self, gives: Asset, takes: Asset, target: Decimal, units: Units) -> Fill | None:
        """Receive at least `target`, or None when the ranges do not hold it."""
        if target <= 0:
            return None
        falls = gives == self._exchange.market.asset0
        reached = self.copy()
        counted = reached._walk_back(falls, target)
        sends = None if counted is None else payable(counted, self._exchange.kept, units.given)
        if sends is None:
            return None
        after = self.copy()
        _, out = after._walk(falls, sends * self._exchange.kept)
        receives = down(out, units.taken)
        if receives - target <= target * NEGLIGIBLE:
            receives = target
        return self._take_over(after, gives, sends, receives, units)

    def rate(self, gives: Asset, takes: Asset) -> Decimal:
        """Return what the next infinitesimal amount would bring, fee included; zero when nothing is left."""
        falls = gives == self._exchange.market.asset0
        ahead = self.copy()
        if not ahead._reach_liquidity(falls):
            return ZERO
        square = ahead._root * ahead._root
        return self._exchange.kept * square if falls else self._exchange.kept / square

    def price(self, gives: Asset, takes: Asset) -> Decimal | None:
        """Return the price of an infinitesimal trade, fee excluded, in asset1 per asset0; None when empty."""
        ahead = self.copy()
        falls = gives == self._exchange.market.asset0
        return ahead._root * ahead._root if ahead._reach_liquidity(falls) else None

    def _take_over(
        self, after: "ConcentratedState", gives: Asset, sends: Decimal, receives: Decimal, units: Units
    ) -> Fill:
        self._root, self._liquidity, self._place = after._root, after._liquidity, after._place
        square = self._root * self._root
        falls = gives == self._exchange.market.asset0
        limit = stated_limit(ONE / square if falls else square, per_taken=not falls)
        return Fill(sends, receives, fee_up(sends * (ONE - self._exchange.kept), units.given), limit)

    def _ahead(self, falls: bool) -> Decimal | None:
        """Return the next boundary in the price's way, or None beyond the last."""
        exchange = self._exchange
        if falls:
            limit = exchange.boundary(self._place - 1)
            return limit if self._place > 0 or limit < self._root else None
        limit = exchange.boundary(self._place)
        return limit if self._place < len(exchange.market.ticks) or limit > self._root else None

    def _cross(self, falls: bool, limit: Decimal) -> bool:
        ticks = self._exchange.market.ticks
        self._root = limit
        if falls:
            if self._place == 0:
                return False
            self._place -= 1
            self._liquidity -= ticks[self._place].liquidity_net
        else:
            if self._place == len(ticks):
                return False
            self._liquidity += ticks[self._place].liquidity_net
            self._place += 1
        return True

    def _reach_liquidity(self, falls: bool) -> bool:
        """Pass over boundaries and empty ranges; stay where the price is when nothing comes after them."""
        root, liquidity, place = self._root, self._liquidity, self._place
        while (limit := self._ahead(falls)) is not None:
            if self._liquidity > 0 and limit != self._root:
                return True
            if not self._cross(falls, limit):
                break
        self._root, self._liquidity, self._place = root, liquidity, place
        return False

    def _walk(self, falls: bool, counted: Decimal) -> tuple[Decimal, Decimal]:
        """Move the price by an amount in; return what was not taken and what came out."""
        out = ZERO
        while counted > 0 and self._reach_liquidity(falls):
            limit, root, liquidity = self._ahead(falls), self._root, self._liquidity
            assert limit is not None
            room = liquidity * ((root - limit) / (root * limit) if falls else limit - root)
            if counted < room:
                if falls:
                    full = liquidity + counted * root
                    out += liquidity * root * root * counted / full
                    self._root = liquidity * root / full
                else:
                    self._root = root + counted / liquidity
                    out += counted / (root * self._root)
                return ZERO, out
            out += liquidity * (root - limit if falls else (limit - root) / (root * limit))
            counted -= room
            self._root = limit
        return counted, out

    def _walk_back(self, falls: bool, target: Decimal) -> Decimal | None:
        """Move the price until an amount has come out; return what had to be counted in."""
        counted = ZERO
        while target > 0:
            if not self._reach_liquidity(falls):
                return None
            limit, root, liquidity = self._ahead(falls), self._root, self._liquidity
            assert limit is not None
            held = liquidity * (root - limit if falls else (limit - root) / (root * limit))
            if target < held:
                if falls:
                    return counted + target / (root * (root - target / liquidity))
                return counted + target * root * root * liquidity / (liquidity - target * root)
            counted += liquidity * ((root - limit) / (root * limit) if falls else limit - root)
            target -= held
            self._root = limit
        return counted


class ConcentratedExchange:
    """A concentrated pool arranged for the solver; runs in the exact context."""

    shares = False

    def __init__(self, market: Concentrated, shift: int) -> None:
        """Find the price among the boundaries."""
        self.market = market
        self.kept = kept_of(market.fee_bps)
        self._shift = shift
        low, high = 0, len(market.ticks)
        while low < high:
            middle = (low + high) // 2
            if self.boundary(middle) <= market.sqrt_price:
                low = middle + 1
            else:
                high = middle
        self._place = low
        both = ((market.asset0, market.asset1), (market.asset1, market.asset0))
        self.directions: tuple[Direction, ...] = tuple(
            (gives, takes) for gives, takes in both if self.state()._reach_liquidity(gives == market.asset0)
        )

    def boundary(self, place: int) -> Decimal:
        """Return the root of the price at a boundary by its place; outside of all places prices end."""
        ticks = self.market.ticks
        index = -OUTERMOST if place < 0 else ticks[place].index if place < len(ticks) else OUTERMOST
        return boundary(index, self._shift)

    def base(self, gives: Asset, takes: Asset) -> Asset:
        """Return asset0, which prices are per unit of."""
        return self.market.asset0

    def fee_asset(self, gives: Asset, takes: Asset) -> Asset:
        """Return the asset given: pools take their fee on the amount in."""
        return gives

    def state(self) -> ConcentratedState:
        """Return the pool's state before any leg."""
        return ConcentratedState(self, self.market.sqrt_price, self.market.liquidity, self._place)

    def whole(self, gives: Asset, takes: Asset, units: Units) -> None:
        """Return None: fills are no matter of integers."""
        return

    def edges(self, gives: Asset, takes: Asset) -> Floats:
        """Return one segment for every range with liquidity in the price's way."""
        if (gives, takes) not in self.directions:
            return NO_SEGMENTS
        falls = gives == self.market.asset0
        starts, widths, liquidity = self._ranges(falls)
        used = (liquidity > 0.0) & (widths > 0.0)
        start, width, liquid = starts[used], widths[used], liquidity[used]
        kept = float(self.kept)
        rows = np.zeros((len(start), SEGMENT_FIELDS))
        rows[:, SHAPE] = POWERED
        rows[:, POWER] = 1.0
        rows[:, KEPT] = kept
        rows[:, DEPTH_IN] = liquid / start if falls else liquid * start
        rows[:, DEPTH_OUT] = liquid * start if falls else liquid / start
        rows[:, RATE] = kept * rows[:, DEPTH_OUT] / rows[:, DEPTH_IN]
        with np.errstate(over="ignore"):
            reach = np.expm1(width)
        rows[:, CAP] = np.where(reach < ENDLESS, rows[:, DEPTH_IN] * reach / kept, np.inf)
        rows[:, CAP_OUT] = rows[:, DEPTH_OUT] * -np.expm1(-width)
        return rows

    def _ranges(self, falls: bool) -> tuple[Floats, Floats, Floats]:
        """Return where each range starts, the logarithm of its width and its liquidity."""
        market, place = self.market, self._place
        ahead = market.ticks[:place][::-1] if falls else market.ticks[place:]
        indices = np.array([tick.index for tick in ahead] + [-OUTERMOST if falls else OUTERMOST], dtype=np.float64)
        nets = (-tick.liquidity_net if falls else tick.liquidity_net for tick in ahead)
        # Summed as stated: in floats a deep range would swallow a shallow one after it.
        liquidity = np.array([float(total) for total in accumulate(nets, initial=market.liquidity)])
        starts = np.empty(len(indices))
        starts[0] = float(market.sqrt_price)
        starts[1:] = np.exp(indices[:-1] * HALF_STEP) * 10.0 ** (self._shift / 2)
        widths = np.empty(len(indices))
        first = self.boundary(place - 1 if falls else place)
        widths[0] = float(abs((first / market.sqrt_price).ln()))
        widths[1:] = np.abs(np.diff(indices)) * HALF_STEP
        return starts, widths, liquidity


def arrange_concentrated(market: Concentrated, decimals: Mapping[Asset, int]) -> ConcentratedExchange | None:
    """Arrange a concentrated pool, or return None when it is empty or its assets' decimals are not stated."""
    zero, one = decimals.get(market.asset0), decimals.get(market.asset1)
    if zero is None or one is None or not usable(market.sqrt_price, kept_of(market.fee_bps)):
        return None
    sizes = (market.liquidity, *(tick.liquidity_net for tick in market.ticks))
    if any(size.adjusted() >= LARGEST_EXPONENT for size in sizes):
        return None
    exchange = ConcentratedExchange(market, zero - one)
    return exchange if exchange.directions else None
