"""What every kind of market offers the solver: exact fills in `decimal` and the same curve in floats."""

from decimal import Decimal
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from app.domain.market import Market
from app.domain.solver.kinds.whole import Whole
from app.domain.solver.sides import Fill, Units
from app.domain.values import Asset

Floats = npt.NDArray[np.float64]
Direction = tuple[Asset, Asset]
"""The asset that a trader gives, and the asset that the trader takes."""

SHAPE, RATE, CAP, CAP_OUT, DEPTH_IN, DEPTH_OUT, KEPT, POWER, NEAR_IN, NEAR_OUT, BEND = range(11)
SEGMENT_FIELDS = 11
"""Columns of a segment, a concave stretch of an exchange function from zero to its cap.

With `x` in and `u = KEPT * x / DEPTH_IN`, a segment gives
LINEAR  `RATE * x`,
POWER   `DEPTH_OUT * (1 - (1 + u) ** -POWER)`,
STABLE  `DEPTH_OUT * drop(u)`, the drop of StableSwap on balances in units of the invariant: NEAR_IN and NEAR_OUT are
the two that move, BEND is the invariant's term that bends the curve.
RATE is the marginal rate at zero, CAP the most that goes in (infinite where nothing ends the curve), CAP_OUT what
comes out there. To state amounts in other units multiply DEPTH_IN and CAP by the unit of the asset given, DEPTH_OUT
and CAP_OUT by the unit of the asset taken, RATE by their ratio; nothing else has units.
"""
LINEAR, POWERED, STABLE = 0.0, 1.0, 2.0

NO_SEGMENTS: Floats = np.empty((0, SEGMENT_FIELDS))


class State(Protocol):
    """A market as the legs so far have left it; every call runs in the exact context."""

    def send(self, gives: Asset, takes: Asset, amount: Decimal, units: Units) -> Fill | None:
        """Send at most `amount` and apply it: what went in and came out, or None (unchanged) when nothing can.

        `sends` falls short of `amount` where the market takes no more or its steps do not meet it.
        """
        ...

    def obtain(self, gives: Asset, takes: Asset, target: Decimal, units: Units) -> Fill | None:
        """Receive at least `target` for the least and apply it, or None (unchanged) when it is not to be had."""
        ...

    def rate(self, gives: Asset, takes: Asset) -> Decimal:
        """Return what the next infinitesimal amount would bring, fee included; zero when nothing is left."""
        ...

    def price(self, gives: Asset, takes: Asset) -> Decimal | None:
        """Return the price of an infinitesimal trade, fee excluded, per unit of `Exchange.base`; None when empty."""
        ...

    def copy(self) -> Self:
        """Return the same state, to be changed on its own."""
        ...


class Exchange(Protocol):
    """One market arranged for the solver; immutable and shared between threads."""

    @property
    def market(self) -> Market:
        """The market as stated."""
        ...

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Every ordered pair that it can exchange now."""
        ...

    @property
    def shares(self) -> bool:
        """Say whether several pairs draw on the same reserves, so that one pair's fill moves another's price."""
        ...

    def base(self, gives: Asset, takes: Asset) -> Asset:
        """Return which of the two a price is per unit of; `limit_price` of a fill is stated so."""
        ...

    def fee_asset(self, gives: Asset, takes: Asset) -> Asset:
        """Return the asset that the fee of a fill is in."""
        ...

    def state(self) -> State:
        """Return the market's state before any leg."""
        ...

    def edges(self, gives: Asset, takes: Asset) -> Floats:
        """Return the direction's segments, best first, one row each; fees included, lots and minimums not."""
        ...

    def whole(self, gives: Asset, takes: Asset, units: Units) -> Whole | None:
        """Return the direction reckoned in whole units, or None where fills are no matter of integers."""
        ...
