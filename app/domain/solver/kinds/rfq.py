"""A maker's firm quote: one price up to a size, until it expires.

`price` is what the maker takes per unit of what it gives, and `max_size` is in what it gives.
"""

from decimal import Decimal

import numpy as np

from app.domain.market import Rfq
from app.domain.solver.exact import ONE, ZERO, down, fee_up, up
from app.domain.solver.kinds.base import LINEAR, Direction, Floats
from app.domain.solver.kinds.pool import kept_of
from app.domain.solver.sides import LARGEST_EXPONENT, Fill, Units, usable
from app.domain.values import Asset


class RfqState:
    """A quote as the legs so far have left it."""

    __slots__ = ("_kept", "_left", "_price")

    def __init__(self, price: Decimal, kept: Decimal, left: Decimal) -> None:
        """Start with what the maker still gives."""
        self._price = price
        self._kept = kept
        self._left = left

    def copy(self) -> "RfqState":
        """Return the same state, to be changed on its own."""
        return RfqState(self._price, self._kept, self._left)

    def send(self, gives: Asset, takes: Asset, amount: Decimal, units: Units) -> Fill | None:
        """Send at most `amount`; less where the quote's size ends before."""
        if amount.adjusted() >= LARGEST_EXPONENT:
            return None
        sends = down(amount, units.given)
        receives = down(min(sends * self._kept / self._price, self._left), units.taken)
        if receives <= 0:
            return None
        if receives >= down(self._left, units.taken):
            sends = min(sends, up(receives * self._price / self._kept, units.given))
        return self._apply(sends, receives, units)

    def obtain(self, gives: Asset, takes: Asset, target: Decimal, units: Units) -> Fill | None:
        """Receive at least `target`, or None when the quote's size does not hold it."""
        if target <= 0 or target > self._left:
            return None
        sends = up(target * self._price / self._kept, units.given)
        receives = down(min(sends * self._kept / self._price, self._left), units.taken)
        return self._apply(sends, max(receives, target), units)

    def rate(self, gives: Asset, takes: Asset) -> Decimal:
        """Return what the next infinitesimal amount would bring, fee included; zero when nothing is left."""
        return self._kept / self._price if self._left > 0 else ZERO

    def price(self, gives: Asset, takes: Asset) -> Decimal | None:
        """Return the quoted price; None when nothing is left."""
        return self._price if self._left > 0 else None

    def _apply(self, sends: Decimal, receives: Decimal, units: Units) -> Fill:
        self._left -= receives
        return Fill(sends, receives, fee_up(sends * (ONE - self._kept), units.given), self._price)


class RfqExchange:
    """A maker's quote arranged for the solver; runs in the exact context."""

    shares = False

    def __init__(self, market: Rfq) -> None:
        """Arrange the one direction: a trader gives what the maker takes."""
        self.market = market
        self.directions: tuple[Direction, ...] = ((market.takes, market.gives),)
        self._kept = kept_of(market.fee_bps)

    def base(self, gives: Asset, takes: Asset) -> Asset:
        """Return the asset that the maker gives, which its price is per unit of."""
        return self.market.gives

    def fee_asset(self, gives: Asset, takes: Asset) -> Asset:
        """Return the asset given: the fee is on the amount in."""
        return gives

    def state(self) -> RfqState:
        """Return the whole quote."""
        return RfqState(self.market.price, self._kept, self.market.max_size)

    def whole(self, gives: Asset, takes: Asset, units: Units) -> None:
        """Return None: fills are no matter of integers."""
        return

    def edges(self, gives: Asset, takes: Asset) -> Floats:
        """Return the quote as one segment."""
        rate, size = float(self._kept / self.market.price), float(self.market.max_size)
        cap = float(self.market.max_size * self.market.price / self._kept)
        return np.array([[LINEAR, rate, cap, size, cap, size, float(self._kept), 0.0, 0.0, 0.0, 0.0]])


def arrange_rfq(market: Rfq) -> RfqExchange | None:
    """Arrange a quote, or return None when it offers nothing."""
    ready = usable(market.price, market.max_size, kept_of(market.fee_bps))
    return RfqExchange(market) if ready else None
