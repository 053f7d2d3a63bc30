"""Builders of small markets and trades, and Hypothesis strategies over them."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from hypothesis import strategies as st

from app.domain.market import ConstantProduct, Market, MarketStatus, OrderBook
from app.domain.solution import Solution
from app.domain.solver import Problem, prepare, solve
from app.domain.trade import Constraints, Selection, Side, Trade
from app.domain.values import Amount, Asset, Instrument, MarketId, Venue

BTC, USD, GAS = Asset("BTC"), Asset("USD"), Asset("GAS")
PAIR = Instrument(BTC, USD)

Levels = Sequence[tuple[str, str]]


def book(
    name: str = "a",
    *,
    bids: Levels = (),
    asks: Levels = (),
    fee_bps: str = "0",
    lot: str | None = None,
    tick: str | None = None,
    min_quantity: str | None = None,
    min_notional: str | None = None,
    fixed: tuple[str, str] | None = None,
    status: MarketStatus = MarketStatus.TRADING,
    pair: Instrument = PAIR,
) -> OrderBook:
    """Build an order book from strings."""
    return OrderBook(
        market_id=MarketId(f"{name}:{pair}"),
        venue=Venue(name),
        fee_bps=Decimal(fee_bps),
        status=status,
        fixed_cost=Amount(Asset(fixed[0]), Decimal(fixed[1])) if fixed else None,
        base=pair.base,
        quote=pair.quote,
        bids=tuple((Decimal(p), Decimal(s)) for p, s in bids),
        asks=tuple((Decimal(p), Decimal(s)) for p, s in asks),
        tick_size=_number(tick),
        lot_size=_number(lot),
        min_quantity=_number(min_quantity),
        min_notional=_number(min_notional),
    )


def pool(
    name: str = "p",
    base: str = "1000",
    quote: str = "100000",
    *,
    fee_bps: str = "0",
    fixed: tuple[str, str] | None = None,
    status: MarketStatus = MarketStatus.TRADING,
    pair: Instrument = PAIR,
) -> ConstantProduct:
    """Build a constant-product pool from strings."""
    return ConstantProduct(
        market_id=MarketId(f"{name}:{pair}"),
        venue=Venue(name),
        fee_bps=Decimal(fee_bps),
        status=status,
        fixed_cost=Amount(Asset(fixed[0]), Decimal(fixed[1])) if fixed else None,
        reserves={pair.base: Decimal(base), pair.quote: Decimal(quote)},
    )


def trade(
    side: str,
    quantity: str | Decimal,
    asset: Asset = BTC,
    *,
    limit_price: str | None = None,
    max_slippage_bps: float | None = None,
    include_venues: Sequence[str] = (),
    exclude_venues: Sequence[str] = (),
    include_markets: Sequence[str] = (),
    exclude_markets: Sequence[str] = (),
    max_legs: int = 16,
    allow_partial: bool = False,
    balances: Mapping[Asset, str] | None = None,
    pair: Instrument = PAIR,
) -> Trade:
    """Build a trade from strings."""
    return Trade(
        pair,
        Side(side),
        Decimal(quantity),
        asset,
        limit_price=_number(limit_price),
        max_slippage_bps=max_slippage_bps,
        constraints=Constraints(
            venues=Selection(frozenset(map(Venue, include_venues)), frozenset(map(Venue, exclude_venues))),
            markets=Selection(frozenset(map(MarketId, include_markets)), frozenset(map(MarketId, exclude_markets))),
            max_legs=max_legs,
            allow_partial=allow_partial,
            balances={asset: Decimal(amount) for asset, amount in (balances or {}).items()},
        ),
    )


def route(wanted: Trade, markets: Sequence[Market], decimals: Mapping[Asset, int] | None = None) -> Solution:
    """Prepare the markets and solve."""
    prepared = tuple(ready for market in markets if (ready := prepare(market)) is not None)
    return solve(Problem(wanted, prepared, decimals or {}))


def _number(text: str | None) -> Decimal | None:
    return Decimal(text) if text is not None else None


def _decimals(low: str, high: str, places: int) -> st.SearchStrategy[Decimal]:
    return st.decimals(Decimal(low), Decimal(high), places=places, allow_nan=False, allow_infinity=False)


@st.composite
def books(draw: st.DrawFn, name: str, *, ruled: bool = False) -> OrderBook:
    """Draw a book around 100, with lots, minimums and a fixed cost when `ruled`."""
    middle = draw(_decimals("98", "102", 2))
    steps = st.lists(st.tuples(_decimals("0.01", "1", 2), _decimals("0.01", "5", 2)), min_size=0, max_size=6)
    bids, asks = [], []
    bid = ask = middle
    for step, size in draw(steps):
        bid -= step
        bids.append((bid, size))
    for step, size in draw(steps):
        ask += step
        asks.append((ask, size))
    lots = [None, None, "0.01", "0.05", "0.3", "0.25", "0.0003"] if ruled else [None]
    ticks = [None, "0.01", "0.5"] if ruled else [None]
    quantities = [None, None, "0.1", "1.7"] if ruled else [None]
    notionals = [None, None, "10", "250"] if ruled else [None]
    payable = [None, None, BTC, USD, GAS] if ruled else [None]
    asset = draw(st.sampled_from(payable))
    fixed = None
    if asset is not None:
        fixed = Amount(asset, draw(_decimals("0", "1" if asset is USD else "0.01", 3)))
    return OrderBook(
        market_id=MarketId(f"{name}:{PAIR}"),
        venue=Venue(name),
        fee_bps=draw(st.sampled_from([Decimal(0), Decimal("2.5"), Decimal(10), Decimal(-1)])),
        fixed_cost=fixed,
        base=BTC,
        quote=USD,
        bids=tuple(bids),
        asks=tuple(asks),
        lot_size=_number(draw(st.sampled_from(lots))),
        tick_size=_number(draw(st.sampled_from(ticks))),
        min_quantity=_number(draw(st.sampled_from(quantities))),
        min_notional=_number(draw(st.sampled_from(notionals))),
    )


@st.composite
def pools(draw: st.DrawFn, name: str) -> ConstantProduct:
    """Draw a pool that trades around 100."""
    base = draw(_decimals("1", "500", 1))
    return ConstantProduct(
        market_id=MarketId(f"{name}:{PAIR}"),
        venue=Venue(name),
        fee_bps=draw(st.sampled_from([Decimal(0), Decimal(5), Decimal(30)])),
        reserves={BTC: base, USD: base * draw(_decimals("97", "103", 2))},
    )


@st.composite
def venues(draw: st.DrawFn, *, ruled: bool = False, most: int = 5) -> list[OrderBook | ConstantProduct]:
    """Draw a few markets of one pair."""
    markets: list[OrderBook | ConstantProduct] = []
    for i in range(draw(st.integers(1, most))):
        if draw(st.integers(0, 3)) == 0:
            markets.append(draw(pools(f"v{i}")))
        else:
            markets.append(draw(books(f"v{i}", ruled=ruled)))
    return markets


@st.composite
def trades(draw: st.DrawFn, *, bounded: bool = False) -> Trade:
    """Draw a trade of the pair, with bounds of its own when `bounded`."""
    asset = draw(st.sampled_from([BTC, USD]))
    quantity = draw(_decimals("0.01", "12", 2)) * (100 if asset is USD else 1)
    balances: dict[Asset, Decimal] = {}
    limit: Decimal | None = None
    slippage: float | None = None
    max_legs, partial = 16, False
    side = draw(st.sampled_from(list(Side)))
    if bounded:
        limit = draw(st.none() | _decimals("97", "103", 2))
        slippage = draw(st.none() | st.integers(0, 200).map(float))
        max_legs = draw(st.sampled_from([1, 2, 3, 16]))
        partial = draw(st.booleans())
        if draw(st.booleans()):
            balances = {USD if side is Side.BUY else BTC: quantity * draw(_decimals("0.3", "3", 1))}
        if draw(st.integers(0, 3)) == 0:
            balances[GAS] = Decimal("0.01")
    return Trade(
        PAIR,
        side,
        quantity,
        asset,
        limit_price=limit,
        max_slippage_bps=slippage,
        constraints=Constraints(max_legs=max_legs, allow_partial=partial, balances=balances),
    )
