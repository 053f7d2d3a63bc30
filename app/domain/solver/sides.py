"""One direction of one market: arrays for the kernels and exact fills in `decimal`."""

from bisect import bisect_left, bisect_right
from copy import copy
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import accumulate
from operator import mul
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from app.domain.market import ConstantProduct, OrderBook
from app.domain.solver.exact import (
    BASIS_POINTS,
    LEAST,
    MOST,
    ONE,
    ZERO,
    ceil_to,
    common_step,
    down,
    fee_up,
    floor_to,
    short_down,
    short_up,
    up,
)
from app.domain.values import Amount, Asset

Floats = npt.NDArray[np.float64]

NEGLIGIBLE = Decimal("1e-12")
LEVEL_FIELDS = 5
NO_LEVELS: Floats = np.empty((0, LEVEL_FIELDS))
LEAST_KEPT = Decimal("1e-18")
FINEST_TICK = Decimal("1e-60")
"""A tick finer than this share of the price cannot be told from none."""

LARGEST_EXPONENT = 60
"""Beyond 10 to this power an amount no longer fits the exact context with its decimals."""


def usable(*amounts: Decimal) -> bool:
    """Say whether numbers are positive and of a size that the exact context can reckon with."""
    return all(amount > 0 and abs(amount.adjusted()) < LARGEST_EXPONENT for amount in amounts)


class Units(NamedTuple):
    """The smallest amounts of the asset given and of the asset taken."""

    given: Decimal
    taken: Decimal


class Fill(NamedTuple):
    """An exact exchange with one market; `limit_price` is the worst price touched, fee excluded."""

    sends: Decimal
    receives: Decimal
    fee: Decimal
    limit_price: Decimal


def charged(cost: Amount | None) -> Amount | None:
    """Return a fixed cost that is one."""
    return cost if cost is not None and cost.amount else None


class BookSide:
    """The bids or the asks of a book, as whoever takes from them sees it.

    A row of `levels` holds: amount out per amount in, amount in, amount out, and what the better levels take
    in and give out. Amounts in and out include the fee; `base` amounts are what lots and minimums bind.
    Levels from the first one on that is too large or too small to compute with are left out.
    """

    __slots__ = (
        "_limits", "blocked", "buys", "cum_base", "cum_notional", "fee", "fee_asset", "fixed_cost", "levels", "lot",
        "market", "min_base", "min_in", "multiple", "prices", "sizes", "step", "tick",
    )  # fmt: skip

    prices: tuple[Decimal, ...]
    sizes: tuple[Decimal, ...]
    cum_base: tuple[Decimal, ...]
    cum_notional: tuple[Decimal, ...]
    step: Decimal
    lot: Decimal | None
    min_base: Decimal
    min_in: float
    blocked: str | None

    def __init__(self, market: OrderBook, *, buys: bool) -> None:
        """Arrange one side, its steps left to `on_grid`; runs in the exact context."""
        self.market = market
        self.buys = buys
        self.fixed_cost = charged(market.fixed_cost)
        self.fee = market.fee_bps / BASIS_POINTS
        self.multiple = ONE + self.fee if buys else ONE - self.fee
        self.fee_asset = market.quote
        levels = [level for level in (market.asks if buys else market.bids) if level[0] > 0 and level[1] > 0]
        levels.sort(key=lambda level: level[0], reverse=not buys)
        prices = [price for price, _ in levels]
        sizes = [size for _, size in levels]
        cum_base = [ZERO, *accumulate(sizes)]
        cum_notional = [ZERO, *accumulate(map(mul, prices, sizes))]
        count = self._representable(prices, cum_base, cum_notional)
        self.prices, self.sizes = tuple(prices[:count]), tuple(sizes[:count])
        self.cum_base, self.cum_notional = tuple(cum_base[: count + 1]), tuple(cum_notional[: count + 1])
        self.levels = self._arrange()
        tick = market.tick_size
        self.tick = tick if tick and count and tick > max(prices[0], prices[count - 1]) * FINEST_TICK else None
        self._limits: dict[int, Decimal] = {}

    def _representable(self, prices: list[Decimal], cum_base: list[Decimal], cum_notional: list[Decimal]) -> int:
        if not prices or self.multiple < LEAST_KEPT:
            return 0
        dearer = max(self.multiple, ONE)

        def fits(level: int) -> bool:
            return LEAST < prices[level] < MOST > max(cum_base[level + 1], cum_notional[level + 1] * dearer)

        if fits(0) and fits(len(prices) - 1):
            return len(prices)
        return next((level for level in range(len(prices)) if not fits(level)), 0)

    def on_grid(self, unit: Decimal) -> Self:
        """Return this side with the steps that its lots and the base asset's unit leave together."""
        side = copy(self)
        lot = self.market.lot_size
        together = common_step(lot, unit) if lot else unit
        side.lot = together if together != unit else None
        side.step = side.lot or unit
        side.min_base, side.blocked = side._minimum()
        side.min_in = float(side._notional(side.min_base) * side.multiple if side.buys else side.min_base)
        return side

    def _arrange(self) -> Floats:
        if not self.prices:
            return NO_LEVELS
        price = np.array([float(value) for value in self.prices])
        size = np.array([float(value) for value in self.sizes])
        rows = np.empty((len(price), LEVEL_FIELDS))
        money = price * size * float(self.multiple)
        rows[:, 1], rows[:, 2] = (money, size) if self.buys else (size, money)
        unit_price = price * float(self.multiple)
        rows[:, 0] = 1.0 / unit_price if self.buys else unit_price
        rows[0, 3:] = 0.0
        np.cumsum(rows[:-1, 1:3], axis=0, out=rows[1:, 3:])
        return rows

    def _minimum(self) -> tuple[Decimal, str | None]:
        wanted = self.market.min_quantity or ZERO
        notional = self.market.min_notional or ZERO
        if self.step > self.cum_base[-1]:
            return ZERO, "lot_size" if self.lot is not None else "liquidity"
        if wanted > self.cum_base[-1]:
            return ZERO, "min_quantity"
        if notional > self.cum_notional[-1]:
            return ZERO, "min_notional"
        name = "min_quantity"
        if notional:
            reached = max(bisect_left(self.cum_notional, notional) - 1, 0)
            base = self.cum_base[reached] + (notional - self.cum_notional[reached]) / self.prices[reached]
            if base > wanted:
                wanted, name = base, "min_notional"
        wanted = ceil_to(wanted, self.step)
        return (ZERO, name) if wanted > self.cum_base[-1] else (wanted, None)

    @property
    def best_price(self) -> Decimal | None:
        """The price of the first level, fee excluded."""
        return self.prices[0] if self.prices else None

    def _notional(self, base: Decimal) -> Decimal:
        touched = max(bisect_left(self.cum_base, base) - 1, 0)
        if not self.prices:
            return ZERO
        return self.cum_notional[touched] + (base - self.cum_base[touched]) * self.prices[touched]

    def _base_for(self, notional: Decimal) -> Decimal:
        if notional >= self.cum_notional[-1]:
            return self.cum_base[-1]
        reached = bisect_right(self.cum_notional, notional) - 1
        return self.cum_base[reached] + (notional - self.cum_notional[reached]) / self.prices[reached]

    def _floor(self, base: Decimal) -> Decimal:
        return down(base, self.step) if self.lot is None else floor_to(base, self.lot)

    def _ceil(self, base: Decimal) -> Decimal:
        return up(base, self.step) if self.lot is None else ceil_to(base, self.lot)

    def fill(self, base: Decimal, units: Units) -> Fill:
        """Exchange an exact base quantity that the book holds."""
        touched = bisect_left(self.cum_base, base) - 1
        price = self.prices[touched]
        notional = self.cum_notional[touched] + (base - self.cum_base[touched]) * price
        if self.tick is not None:
            price = self._limit(touched, self.tick)
        if self.buys:
            return Fill(
                up(notional * self.multiple, units.given), base, fee_up(notional * self.fee, units.given), price
            )
        return Fill(base, down(notional * self.multiple, units.taken), fee_up(notional * self.fee, units.taken), price)

    def _limit(self, touched: int, tick: Decimal) -> Decimal:
        known = self._limits.get(touched)
        if known is None:
            # Two threads may round the same price at once; they come to the same result.
            round_to = ceil_to if self.buys else floor_to
            known = self._limits[touched] = round_to(self.prices[touched], tick)
        return known

    def _worthwhile(self, base: Decimal, units: Units) -> Fill | None:
        if base <= ZERO:
            return None
        fill = self.fill(base, units)
        return fill if fill.receives > ZERO and fill.sends > ZERO else None

    def take(self, reached: int, fraction: float, units: Units) -> Fill | None:
        """Fill `reached` whole levels and a fraction of the next, on the market's steps."""
        base = self.cum_base[reached]
        if fraction > 0.0 and reached < len(self.sizes):
            base += self.sizes[reached] * Decimal(repr(fraction))
        lot = self.lot
        base = down(base, self.step) if lot is None else (base / lot).to_integral_value(ROUND_HALF_EVEN) * lot
        base = max(base, self.min_base)
        if base > self.cum_base[-1]:
            base = self._floor(self.cum_base[-1])
        return self._worthwhile(base, units)

    def spend(self, amount: Decimal, units: Units) -> Fill | None:
        """Send at most `amount`: the largest fill that it pays for."""
        wanted = self._base_for(amount / self.multiple) if self.buys else min(amount, self.cum_base[-1])
        fill = self._worthwhile(self._floor(wanted), units)
        if fill is None:
            return None
        unspent = amount - fill.sends
        # A remainder that buys nothing at the asset's precision is paid, so that sums come out round.
        if (
            self.buys
            and self.lot is None
            and 0 < unspent <= amount * NEGLIGIBLE
            and down(amount, units.given) == amount
        ):
            return fill._replace(sends=amount)
        return fill

    def obtain(self, target: Decimal, units: Units) -> Fill | None:
        """Receive at least `target`: the cheapest fill, or None when the book is too thin."""
        base = self._ceil(target if self.buys else self._base_for(target / self.multiple))
        if base > self.cum_base[-1]:
            base = self._floor(self.cum_base[-1])
        fill = self._worthwhile(base, units)
        if fill is None or fill.receives < target:
            return None
        if self.lot is None and self.buys:
            paid_for = self._floor(self._base_for(fill.sends / self.multiple))
            if paid_for - base > base * NEGLIGIBLE:
                return self.fill(paid_for, units)
        elif self.lot is None and fill.receives - target <= target * NEGLIGIBLE:
            return fill._replace(receives=target)
        return fill

    @property
    def least_base(self) -> Decimal:
        """The smallest base quantity this side trades at all."""
        return max(self.min_base, self.step)


class PoolSide:
    """One direction through a constant-product pool."""

    __slots__ = ("buys", "depth_in", "depth_out", "fee", "fee_asset", "fixed_cost", "market", "multiple")

    levels: Floats = NO_LEVELS
    lot: Decimal | None = None
    min_base: Decimal = ZERO
    min_in: float = 0.0
    blocked: str | None = None

    def __init__(self, market: ConstantProduct, gives: Asset, takes: Asset, *, buys: bool) -> None:
        """Arrange one direction; `buys` says that the asset taken is the base."""
        self.market = market
        self.buys = buys
        self.fixed_cost = charged(market.fixed_cost)
        self.fee = market.fee_bps / BASIS_POINTS
        self.multiple = ONE - self.fee
        self.fee_asset = gives
        self.depth_in = market.reserves[gives]
        self.depth_out = market.reserves[takes]

    @property
    def usable(self) -> bool:
        """Say whether the pool gives anything and its numbers can be computed with."""
        depths = (self.depth_in, self.depth_out)
        return min(depths) > LEAST and max(depths) < MOST and LEAST_KEPT < self.multiple < MOST

    @property
    def best_price(self) -> Decimal:
        """The price of an infinitesimal trade, fee excluded."""
        if self.buys:
            return short_down(self.depth_in / self.depth_out)
        return short_down(self.depth_out / self.depth_in)

    def _forward(self, sends: Decimal) -> Decimal:
        counted = sends * self.multiple
        return self.depth_out * counted / (self.depth_in + counted)

    def _filled(self, sends: Decimal, receives: Decimal, units: Units) -> Fill:
        counted = self.depth_in + sends * self.multiple
        touched = counted * counted / (self.depth_in * self.depth_out)
        limit = short_up(touched) if self.buys else short_down(ONE / touched)
        return Fill(sends, receives, fee_up(sends * self.fee, units.given), limit)

    def send(self, amount: float, units: Units) -> Fill | None:
        """Send an amount that the kernel chose."""
        return self.spend(Decimal(repr(amount)), units)

    def spend(self, amount: Decimal, units: Units) -> Fill | None:
        """Send `amount`, rounded down to the asset's precision."""
        if amount > MOST:
            return None
        sends = down(amount, units.given)
        if sends <= 0:
            return None
        receives = down(self._forward(sends), units.taken)
        return self._filled(sends, receives, units) if receives > 0 else None

    def obtain(self, target: Decimal, units: Units) -> Fill | None:
        """Receive at least `target`, or None when the reserve does not hold it."""
        if target >= self.depth_out or target <= 0:
            return None
        needed = self.depth_in * target / ((self.depth_out - target) * self.multiple)
        if needed > MOST:
            return None
        sends = up(needed, units.given)
        receives = down(self._forward(sends), units.taken)
        if receives - target <= target * NEGLIGIBLE:
            receives = target
        return self._filled(sends, receives, units)


Side = BookSide | PoolSide
