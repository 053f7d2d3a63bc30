"""Markets made ready for the solver, once per market update and shared by thousands of solves."""

from dataclasses import dataclass
from decimal import localcontext
from functools import cached_property

from app.domain.market import ConstantProduct, Market, MarketStatus, OrderBook
from app.domain.solver.exact import EXACT
from app.domain.solver.sides import BookSide, PoolSide, Side
from app.domain.values import Asset, MarketId, Venue


@dataclass(frozen=True, eq=False)
class PreparedMarket:
    """One market with the directions it offers, each arranged when first asked for."""

    market: OrderBook | ConstantProduct

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

    @cached_property
    def assets(self) -> frozenset[Asset]:
        """The assets this market exchanges."""
        return frozenset(self.market.assets)

    @cached_property
    def _books(self) -> tuple[BookSide, BookSide] | None:
        market = self.market
        if isinstance(market, ConstantProduct):
            return None
        with localcontext(EXACT):
            return BookSide(market, buys=True), BookSide(market, buys=False)

    def side(self, gives: Asset, takes: Asset, *, buys: bool) -> Side | None:
        """Return the direction that takes one asset for another, or None when it has nothing to give.

        A market whose numbers cannot be computed with has nothing to give either.
        """
        if self._books is not None:
            book = self._books[0 if gives == self.market.assets[1] else 1]
            return book if len(book.levels) else None
        assert isinstance(self.market, ConstantProduct)
        with localcontext(EXACT):
            pool = PoolSide(self.market, gives, takes, buys=buys)
        return pool if pool.usable else None


def prepare(market: Market) -> PreparedMarket | None:
    """Arrange a market for the solver, or return None for a kind it does not route over yet."""
    if isinstance(market, ConstantProduct) and len(market.reserves) != 2:
        return None
    return PreparedMarket(market) if isinstance(market, OrderBook | ConstantProduct) else None
