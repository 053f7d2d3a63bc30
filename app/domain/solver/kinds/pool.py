"""What the kinds that hold reserves have in common: fees, rounding and the state that legs leave behind."""

from abc import ABC, abstractmethod
from decimal import Decimal
from typing import Self

from app.domain.market import ReservePool
from app.domain.solver.exact import BASIS_POINTS, ONE, down, fee_up, inverse_down, short_up, up
from app.domain.solver.kinds.base import Direction
from app.domain.solver.kinds.whole import Whole
from app.domain.solver.sides import LARGEST_EXPONENT, NEGLIGIBLE, Fill, Units, usable
from app.domain.values import Asset


def kept_of(fee_bps: Decimal) -> Decimal:
    """Return the share of the amount in that a fee leaves."""
    return ONE - fee_bps / BASIS_POINTS


def stated_limit(given_per_taken: Decimal, *, per_taken: bool) -> Decimal:
    """State the worst price touched per unit of the asset taken or of the asset given, never better than it was."""
    return short_up(given_per_taken) if per_taken else inverse_down(given_per_taken)


def payable(counted: Decimal, kept: Decimal, grid: Decimal) -> Decimal | None:
    """Return what must be sent for `counted` to be left after the fee, or None when that has no finite amount."""
    if not counted.is_finite():
        return None
    sends = counted / kept
    return up(sends, grid) if sends.adjusted() < LARGEST_EXPONENT else None


class PoolState(ABC):
    """Reserves as the legs so far have left them; the fee stays in the pool."""

    __slots__ = ("assets", "kept", "reserves")

    def __init__(self, market: ReservePool) -> None:
        """Start from the reserves as stated."""
        self.assets = market.assets
        self.reserves = dict(market.reserves)
        self.kept = kept_of(market.fee_bps)

    @abstractmethod
    def forward(self, gives: Asset, takes: Asset, counted: Decimal) -> tuple[Decimal, Decimal]:
        """Return what an amount brings, fee already off, and the price afterwards, given per taken."""

    @abstractmethod
    def backward(self, gives: Asset, takes: Asset, out: Decimal) -> Decimal:
        """Return what must be counted in, fee off, for less than the whole reserve to come out."""

    @abstractmethod
    def given_per_taken(self, gives: Asset, takes: Asset) -> Decimal:
        """Return the price of an infinitesimal trade, fee excluded."""

    def copy(self) -> Self:
        """Return the same state, to be changed on its own."""
        other = object.__new__(type(self))
        other.assets, other.kept, other.reserves = self.assets, self.kept, dict(self.reserves)
        return other

    def base(self, gives: Asset, takes: Asset) -> Asset:
        """Return which of the two a price is per unit of."""
        return gives if self.assets.index(gives) < self.assets.index(takes) else takes

    def send(self, gives: Asset, takes: Asset, amount: Decimal, units: Units) -> Fill | None:
        """Send an amount, rounded down to the asset's precision."""
        if amount.adjusted() >= LARGEST_EXPONENT:
            return None
        sends = down(amount, units.given)
        if sends <= 0:
            return None
        out, after = self.forward(gives, takes, sends * self.kept)
        receives = self._payable_out(takes, out, units)
        return self._apply(gives, takes, sends, receives, after, units) if receives > 0 else None

    def obtain(self, gives: Asset, takes: Asset, target: Decimal, units: Units) -> Fill | None:
        """Receive at least `target`, or None when the reserve does not hold it."""
        if target <= 0 or target >= self.reserves[takes]:
            return None
        sends = payable(self.backward(gives, takes, target), self.kept, units.given)
        if sends is None:
            return None
        out, after = self.forward(gives, takes, sends * self.kept)
        receives = self._payable_out(takes, out, units)
        if receives - target <= target * NEGLIGIBLE:
            receives = target
        return self._apply(gives, takes, sends, receives, after, units)

    def rate(self, gives: Asset, takes: Asset) -> Decimal:
        """Return what the next infinitesimal amount would bring, fee included."""
        return self.kept / self.given_per_taken(gives, takes)

    def price(self, gives: Asset, takes: Asset) -> Decimal | None:
        """Return the price of an infinitesimal trade, fee excluded, per unit of the base."""
        price = self.given_per_taken(gives, takes)
        return price if self.base(gives, takes) == takes else ONE / price

    def _payable_out(self, takes: Asset, out: Decimal, units: Units) -> Decimal:
        receives = down(out, units.taken)
        # Something always stays behind, even where the context no longer sees it.
        return receives if receives < self.reserves[takes] else receives - units.taken

    def _apply(
        self, gives: Asset, takes: Asset, sends: Decimal, receives: Decimal, after: Decimal, units: Units
    ) -> Fill:
        self.reserves[gives] += sends
        self.reserves[takes] -= receives
        limit = stated_limit(after, per_taken=self.base(gives, takes) == takes)
        return Fill(sends, receives, fee_up(sends * (ONE - self.kept), units.given), limit)


class PoolExchange:
    """A pool arranged for the solver: the directions between those of its reserves that hold something."""

    def __init__(self, market: ReservePool) -> None:
        """List the directions."""
        held = tuple(asset for asset, reserve in market.reserves.items() if usable(reserve))
        self.directions: tuple[Direction, ...] = tuple(
            (gives, takes) for gives in held for takes in held if gives != takes
        )
        self.shares = len(held) > 2
        self._rank = {asset: place for place, asset in enumerate(market.assets)}

    def base(self, gives: Asset, takes: Asset) -> Asset:
        """Return which of the two a price is per unit of: the one that the pool states first."""
        return gives if self._rank[gives] < self._rank[takes] else takes

    def fee_asset(self, gives: Asset, takes: Asset) -> Asset:
        """Return the asset given: pools take their fee on the amount in."""
        return gives

    def whole(self, gives: Asset, takes: Asset, units: Units) -> Whole | None:
        """Return None: most curves are no matter of integers."""
        return None
