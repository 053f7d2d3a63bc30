"""StableSwap over two to eight reserves, scaled by rates: `Ann S + D = Ann D + D ** (n + 1) / (n ** n P)`.

On balances in units of `D` the two that move obey `X + Y + shift = bend / (X Y)`, a quadratic in either.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple, Self

import numpy as np

from app.domain.market import Stable
from app.domain.solver.exact import ONE, ZERO
from app.domain.solver.kinds.base import (
    BEND,
    CAP,
    CAP_OUT,
    DEPTH_IN,
    DEPTH_OUT,
    KEPT,
    NEAR_IN,
    NEAR_OUT,
    RATE,
    SEGMENT_FIELDS,
    SHAPE,
    STABLE,
    Floats,
)
from app.domain.solver.kinds.pool import PoolExchange, PoolState, kept_of
from app.domain.solver.sides import Fill, Units, usable
from app.domain.values import Asset

SETTLED = ONE - Decimal("1e-80")


def invariant(balances: Iterable[Decimal], amplified: Decimal) -> Decimal:
    """Solve for `D` with `amplified` = Ann.

    `D ** (n + 1) / (n ** n P) + (Ann - 1) D - Ann S` is convex and, by the means' inequality, not negative at `S`, so
    that Newton's steps from there fall onto its one positive root and never pass it.
    """
    scaled = tuple(balances)
    count = len(scaled)
    total = sum(scaled, ZERO)
    solution = total
    while True:
        product = solution
        for balance in scaled:
            product = product * solution / (balance * count)
        improved = (
            (amplified * total + count * product) * solution / ((amplified - 1) * solution + (count + 1) * product)
        )
        if improved >= solution * SETTLED:
            return improved
        solution = improved


class Curve(NamedTuple):
    """The balances of one direction in units of the invariant, what bends the curve, and the units."""

    near_in: Decimal
    near_out: Decimal
    bend: Decimal
    unit_in: Decimal
    unit_out: Decimal

    def fall(self, grown: Decimal) -> tuple[Decimal, Decimal]:
        """Return how far the balance taken falls when the balance given grows, and what is left of it."""
        near_in, near_out, bend = self.near_in, self.near_out, self.bend
        after_in = near_in + grown
        kept_share = bend * near_in / after_in
        lean = bend + grown - near_out
        root = (lean * lean + 4 * near_out * kept_share).sqrt()
        drop = 2 * near_out * grown * (1 + bend / after_in) / (bend + grown + near_out + root)
        return drop, 2 * near_out * kept_share / (lean + root) if lean > 0 else (root - lean) / 2

    def growth(self, drop: Decimal) -> Decimal:
        """Return how far the balance given must grow for the balance taken to fall."""
        near_in, near_out, bend = self.near_in, self.near_out, self.bend
        half = bend - drop + near_in
        product = near_in * drop * (1 + bend / (near_out - drop))
        root = (half * half + 4 * product).sqrt()
        return 2 * product / (half + root) if half > 0 else (root - half) / 2

    def given_per_taken(self, after_in: Decimal, after_out: Decimal) -> Decimal:
        """Return the price somewhere on the curve, fee excluded."""
        curve = self.bend * self.near_in * self.near_out / (after_in * after_out)
        return (1 + curve / after_out) * self.unit_in / ((1 + curve / after_in) * self.unit_out)


class StableState(PoolState):
    """A StableSwap pool as the legs so far have left it."""

    __slots__ = ("amplified", "rates", "whole")

    whole: Decimal | None

    def __init__(self, market: Stable, whole: Decimal) -> None:
        """Start from the reserves as stated and their invariant."""
        super().__init__(market)
        self.rates = {asset: market.rates.get(asset, ONE) for asset in market.reserves}
        self.amplified = market.amplification * len(market.reserves)
        self.whole = whole

    def copy(self) -> Self:
        """Return the same state, to be changed on its own."""
        other = super().copy()
        other.rates, other.amplified, other.whole = self.rates, self.amplified, self.whole
        return other

    def curve(self, gives: Asset, takes: Asset) -> Curve:
        """Arrange one direction."""
        rates, count = self.rates, len(self.rates)
        if self.whole is None:
            self.whole = invariant((amount * rates[asset] for asset, amount in self.reserves.items()), self.amplified)
        whole = self.whole
        bend = ONE / self.amplified
        for asset, amount in self.reserves.items():
            bend = bend * whole / (amount * rates[asset] * count)
        near_in = self.reserves[gives] * rates[gives] / whole
        near_out = self.reserves[takes] * rates[takes] / whole
        return Curve(near_in, near_out, bend, whole / rates[gives], whole / rates[takes])

    def forward(self, gives: Asset, takes: Asset, counted: Decimal) -> tuple[Decimal, Decimal]:
        """Return what an amount brings, fee already off, and the price afterwards, given per taken."""
        curve = self.curve(gives, takes)
        grown = counted / curve.unit_in
        drop, left = curve.fall(grown)
        return drop * curve.unit_out, curve.given_per_taken(curve.near_in + grown, left)

    def backward(self, gives: Asset, takes: Asset, out: Decimal) -> Decimal:
        """Return what must be counted in, fee off, for an amount to come out."""
        curve = self.curve(gives, takes)
        return curve.growth(out / curve.unit_out) * curve.unit_in

    def given_per_taken(self, gives: Asset, takes: Asset) -> Decimal:
        """Return the price of an infinitesimal trade, fee excluded."""
        curve = self.curve(gives, takes)
        return curve.given_per_taken(curve.near_in, curve.near_out)

    def _apply(
        self, gives: Asset, takes: Asset, sends: Decimal, receives: Decimal, after: Decimal, units: Units
    ) -> Fill:
        # The fee and the rounding stay in the pool and raise its invariant.
        self.whole = None
        return super()._apply(gives, takes, sends, receives, after, units)


class StableExchange(PoolExchange):
    """A StableSwap pool arranged for the solver."""

    def __init__(self, market: Stable) -> None:
        """Arrange every direction; runs in the exact context."""
        super().__init__(market)
        self.market = market
        amplified = market.amplification * len(market.reserves)
        scaled = (amount * market.rates.get(asset, ONE) for asset, amount in market.reserves.items())
        self._start = StableState(market, invariant(scaled, amplified))

    def state(self) -> StableState:
        """Return the pool's state before any leg."""
        return self._start.copy()

    def edges(self, gives: Asset, takes: Asset) -> Floats:
        """Return the direction's one segment."""
        curve = self._start.curve(gives, takes)
        row = np.zeros((1, SEGMENT_FIELDS))
        row[0, SHAPE] = STABLE
        row[0, RATE] = float(self._start.rate(gives, takes))
        row[0, CAP] = np.inf
        row[0, CAP_OUT] = float(self.market.reserves[takes])
        row[0, DEPTH_IN], row[0, DEPTH_OUT] = float(curve.unit_in), float(curve.unit_out)
        row[0, KEPT] = float(kept_of(self.market.fee_bps))
        row[0, NEAR_IN], row[0, NEAR_OUT] = float(curve.near_in), float(curve.near_out)
        row[0, BEND] = float(curve.bend)
        return row


def arrange_stable(market: Stable) -> StableExchange | None:
    """Arrange a StableSwap pool, or return None when a reserve is empty or a number out of bounds."""
    rates = (market.rates.get(asset, ONE) for asset in market.reserves)
    ready = usable(kept_of(market.fee_bps), market.amplification, *market.reserves.values(), *rates)
    return StableExchange(market) if ready and len(market.reserves) > 1 else None
