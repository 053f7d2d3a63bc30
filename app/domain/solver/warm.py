"""Load or compile every kernel before the first request needs it."""

from dataclasses import replace
from decimal import Decimal

from app.domain.market import Concentrated, ConstantProduct, Market, OrderBook, Stable, Tick
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
    _warm_graph(book, pool)


def _warm_graph(book: OrderBook, pool: ConstantProduct) -> None:
    base, quote = pool.assets
    third = Asset("THIRD")
    ten = Decimal(10)
    flat = replace(book, market_id=MarketId("warm:flat"), lot_size=None)
    stable = Stable(
        market_id=MarketId("warm:stable"),
        venue=pool.venue,
        fee_bps=pool.fee_bps,
        reserves={base: ten, third: ten},
        amplification=ten,
        rates={},
    )
    concentrated = Concentrated(
        market_id=MarketId("warm:concentrated"),
        venue=pool.venue,
        fee_bps=pool.fee_bps,
        asset0=third,
        asset1=quote,
        sqrt_price=Decimal(1),
        liquidity=ten,
        ticks=(Tick(-100, ten), Tick(100, -ten)),
    )
    decimals = dict.fromkeys((base, quote, third), 18)
    offered: tuple[Market, ...] = (flat, pool, stable, concentrated)
    markets = tuple(one for one in map(prepare, offered) if one is not None)
    # A single leg is a choice, which optimises some directions again.
    for asset, max_legs in ((base, 16), (quote, 16), (base, 1)):
        trade = Trade(
            Instrument(base, quote), Side.SELL, Decimal("0.1"), asset, constraints=Constraints(max_legs=max_legs)
        )
        solve(Problem(trade, markets, decimals))
