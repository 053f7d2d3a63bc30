"""Load or compile every kernel before the first request needs it."""

from decimal import Decimal

from app.domain.market import ConstantProduct, OrderBook
from app.domain.solver.prepared import PreparedMarket, prepare
from app.domain.solver.problem import Problem
from app.domain.solver.single import solve
from app.domain.trade import Constraints, Side, Trade
from app.domain.values import Asset, Instrument, MarketId, Venue


def warm() -> None:
    """Solve small trades of one pair and over a graph, for the first real one to find everything loaded. Idempotent."""
    one = Decimal(1)
    base, quote = Asset("BASE"), Asset("QUOTE")
    book = OrderBook(
        market_id=MarketId("warm:book"),
        venue=Venue("warm"),
        fee_bps=one,
        base=base,
        quote=quote,
        bids=((one, one),),
        asks=((one, one),),
        lot_size=Decimal("0.1"),
    )
    pool = ConstantProduct(
        market_id=MarketId("warm:pool"), venue=Venue("warm"), fee_bps=one, reserves={base: one, quote: one}
    )
    markets: tuple[PreparedMarket, ...] = tuple(
        prepared for prepared in (prepare(book), prepare(pool)) if prepared is not None
    )
    for max_legs in (1, 16):
        trade = Trade(
            Instrument(base, quote), Side.SELL, Decimal("0.5"), base, constraints=Constraints(max_legs=max_legs)
        )
        solve(Problem(trade, markets))
