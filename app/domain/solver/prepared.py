"""Markets made ready for the solver, once per market update and shared by thousands of solves."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import localcontext
from functools import cached_property

from app.domain.market import ConstantProduct, Market, MarketStatus, OrderBook, Rfq
from app.domain.solver.exact import EXACT
from app.domain.solver.kinds.base import Exchange
from app.domain.solver.kinds.registry import KINDS
from app.domain.solver.sides import BookSide, PoolSide, Side
from app.domain.values import Asset, MarketId, Venue


@dataclass(frozen=True, eq=False)
class PreparedMarket:
    """One market with the directions it offers, each arranged when first asked for."""

    market: Market
    _exchanges: dict[tuple[int | None, ...], Exchange | None] = field(default_factory=dict, repr=False)

    @property
    def market_id(self) -> MarketId:
        """The market's id."""
        return self.market.market_id

    @property
    def venue(self) -> Venue:
        """The market's venue."""
        return self.market.venue

    @cached_property
    def trading(self) -> bool:
        """Say whether the market trades at all."""
        return self.market.status is MarketStatus.TRADING

    def open_at(self, as_of: datetime | None) -> bool:
        """Say whether the market trades at a time; without one, nothing has expired."""
        if isinstance(self.market, Rfq) and as_of is not None and self.market.expires_at <= as_of:
            return False
        return self.trading

    @cached_property
    def assets(self) -> frozenset[Asset]:
        """The assets this market exchanges."""
        return frozenset(self.market.assets)

    def exchange(self, decimals: Mapping[Asset, int]) -> Exchange | None:
        """Return the market arranged, or None when it has nothing to give or lacks decimals it needs."""
        kind = KINDS[type(self.market)]
        key = tuple(decimals.get(asset) for asset in self.market.assets) if kind.scaled else ()
        try:
            return self._exchanges[key]
        except KeyError:
            # Two threads may arrange the same market at once; they come to the same result.
            with localcontext(EXACT):
                exchange = self._exchanges[key] = kind.arrange(self.market, decimals)
            return exchange

    @cached_property
    def _books(self) -> tuple[BookSide, BookSide] | None:
        market = self.market
        if not isinstance(market, OrderBook):
            return None
        with localcontext(EXACT):
            return BookSide(market, buys=True), BookSide(market, buys=False)

    def side(self, gives: Asset, takes: Asset, *, buys: bool) -> Side | None:
        """Return the direction that takes one asset for another, or None when it has nothing to give.

        Only books and constant-product pools have sides; the other kinds are reached through `exchange`.
        A market whose numbers cannot be computed with has nothing to give either.
        """
        if self._books is not None:
            book = self._books[0 if gives == self.market.assets[1] else 1]
            return book if len(book.levels) else None
        if not isinstance(self.market, ConstantProduct) or len(self.market.reserves) != 2:
            return None
        with localcontext(EXACT):
            pool = PoolSide(self.market, gives, takes, buys=buys)
        return pool if pool.usable else None


def prepare(market: Market) -> PreparedMarket | None:
    """Arrange a market for the solver, or return None for a kind it does not know."""
    return PreparedMarket(market) if type(market) in KINDS else None
