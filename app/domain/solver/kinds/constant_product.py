"""Two reserves whose product never falls: `out = y * c / (x + c)` for an amount `c` after the fee."""

from decimal import Decimal

import numpy as np

from app.domain.market import ConstantProduct
from app.domain.solver.kinds.base import POWERED, Floats
from app.domain.solver.kinds.pool import PoolExchange, PoolState, kept_of
from app.domain.solver.kinds.whole import WholePool
from app.domain.solver.sides import Units, usable
from app.domain.values import Asset


class ConstantProductState(PoolState):
    """A constant-product pool as the legs so far have left it."""

    __slots__ = ()

    def forward(self, gives: Asset, takes: Asset, counted: Decimal) -> tuple[Decimal, Decimal]:
        """Return what an amount brings, fee already off, and the price afterwards, given per taken."""
        held, paid = self.reserves[gives], self.reserves[takes]
        full = held + counted
        return paid * counted / full, full * full / (held * paid)

    def backward(self, gives: Asset, takes: Asset, out: Decimal) -> Decimal:
        """Return what must be counted in, fee off, for an amount to come out."""
        return self.reserves[gives] * out / (self.reserves[takes] - out)

    def given_per_taken(self, gives: Asset, takes: Asset) -> Decimal:
        """Return the price of an infinitesimal trade, fee excluded."""
        return self.reserves[gives] / self.reserves[takes]


class ConstantProductExchange(PoolExchange):
    """A constant-product pool arranged for the solver."""

    def __init__(self, market: ConstantProduct) -> None:
        """Arrange both directions."""
        super().__init__(market)
        self.market = market
        self._start = ConstantProductState(market)

    def state(self) -> ConstantProductState:
        """Return the pool's state before any leg."""
        return self._start.copy()

    def whole(self, gives: Asset, takes: Asset, units: Units) -> WholePool:
        """Return the direction reckoned in whole units."""
        reserves = self.market.reserves
        return WholePool(
            reserves[gives], reserves[takes], kept_of(self.market.fee_bps), units,
            per_taken=self.base(gives, takes) == takes,
        )  # fmt: skip

    def edges(self, gives: Asset, takes: Asset) -> Floats:
        """Return the direction's one segment."""
        held, paid = float(self.market.reserves[gives]), float(self.market.reserves[takes])
        kept = float(kept_of(self.market.fee_bps))
        return np.array([[POWERED, paid * kept / held, np.inf, paid, held, paid, kept, 1.0, 0.0, 0.0, 0.0]])


def arrange_constant_product(market: ConstantProduct) -> ConstantProductExchange | None:
    """Arrange a pool of two reserves, or return None when one is empty."""
    ready = len(market.reserves) == 2 and usable(kept_of(market.fee_bps), *market.reserves.values())
    return ConstantProductExchange(market) if ready else None
