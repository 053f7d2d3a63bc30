"""Builders of every kind of market, and Hypothesis strategies over them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import strategies as st

from app.domain.market import (
    Concentrated,
    ConstantProduct,
    Market,
    MarketStatus,
    OrderBook,
    Rfq,
    Stable,
    Tick,
    Weighted,
)
from app.domain.solver.kinds.base import Exchange
from app.domain.solver.prepared import prepare
from app.domain.solver.sides import Units
from app.domain.values import Asset, MarketId, Venue

A, B, C, D = (Asset(name) for name in "ABCD")
NAMES = (A, B, C, D, *(Asset(name) for name in "EFGH"))

FINE = Units(Decimal("1e-40"), Decimal("1e-40"))
"""So fine that rounding hides nothing."""
USUAL = Units(Decimal("1e-18"), Decimal("1e-18"))
EXPIRY = datetime(2026, 1, 1, tzinfo=UTC)


def _reserves(amounts: Sequence[str | Decimal]) -> dict[Asset, Decimal]:
    return {name: Decimal(amount) for name, amount in zip(NAMES, amounts, strict=False)}


def constant_product(*reserves: str | Decimal, fee_bps: str = "0") -> ConstantProduct:
    """Build a pool of A and B."""
    return ConstantProduct(
        market_id=MarketId("cp"), venue=Venue("v"), fee_bps=Decimal(fee_bps), reserves=_reserves(reserves)
    )


def weighted(reserves: Sequence[str | Decimal], weights: Sequence[str | Decimal | int], fee_bps: str = "0") -> Weighted:
    """Build a pool of as many assets as there are reserves."""
    return Weighted(
        market_id=MarketId("w"),
        venue=Venue("v"),
        fee_bps=Decimal(fee_bps),
        reserves=_reserves(reserves),
        weights=_reserves([str(weight) for weight in weights]),
    )


def stable(
    reserves: Sequence[str | Decimal],
    amplification: str | Decimal = "100",
    rates: Mapping[Asset, Decimal] | None = None,
    fee_bps: str = "0",
) -> Stable:
    """Build a pool of as many assets as there are reserves."""
    return Stable(
        market_id=MarketId("s"),
        venue=Venue("v"),
        fee_bps=Decimal(fee_bps),
        reserves=_reserves(reserves),
        amplification=Decimal(amplification),
        rates=dict(rates or {}),
    )


def concentrated(
    price: str | Decimal,
    liquidity: str | Decimal,
    ticks: Sequence[tuple[int, str | Decimal]] = (),
    fee_bps: str = "0",
) -> Concentrated:
    """Build a pool of A and B at a price in B per A."""
    return Concentrated(
        market_id=MarketId("c"),
        venue=Venue("v"),
        fee_bps=Decimal(fee_bps),
        asset0=A,
        asset1=B,
        sqrt_price=Decimal(price).sqrt(),
        liquidity=Decimal(liquidity),
        ticks=tuple(Tick(index, Decimal(net)) for index, net in ticks),
    )


def rfq(price: str, max_size: str, fee_bps: str = "0") -> Rfq:
    """Build a quote that gives B and takes A."""
    return Rfq(
        market_id=MarketId("q"),
        venue=Venue("v"),
        fee_bps=Decimal(fee_bps),
        gives=B,
        takes=A,
        price=Decimal(price),
        max_size=Decimal(max_size),
        expires_at=EXPIRY,
    )


def book(
    bids: Sequence[tuple[str, str]] = (),
    asks: Sequence[tuple[str, str]] = (),
    *,
    fee_bps: str = "0",
    lot: str | None = None,
    min_quantity: str | None = None,
    status: MarketStatus = MarketStatus.TRADING,
) -> OrderBook:
    """Build a book of A in B."""
    return OrderBook(
        market_id=MarketId("b"),
        venue=Venue("v"),
        fee_bps=Decimal(fee_bps),
        status=status,
        base=A,
        quote=B,
        bids=tuple((Decimal(price), Decimal(size)) for price, size in bids),
        asks=tuple((Decimal(price), Decimal(size)) for price, size in asks),
        lot_size=Decimal(lot) if lot else None,
        min_quantity=Decimal(min_quantity) if min_quantity else None,
    )


def exchange(market: Market, decimals: Mapping[Asset, int] | None = None) -> Exchange:
    """Arrange a market that must be tradable; A and B divide as `FINE` does unless said."""
    prepared = prepare(market)
    assert prepared is not None
    arranged = prepared.exchange({A: 40, B: 40} if decimals is None else decimals)
    assert arranged is not None
    return arranged


def reserve(low: int = -6, high: int = 18) -> st.SearchStrategy[Decimal]:
    """Draw a positive amount, its power of ten anywhere between two."""
    return st.builds(
        lambda digits, exponent: Decimal(digits).scaleb(exponent - 3), st.integers(1000, 9999), st.integers(low, high)
    )


share = st.builds(
    lambda digits, exponent: Decimal(digits).scaleb(exponent - 3), st.integers(1000, 9999), st.integers(-12, 1)
)
"""How much is sent, as a part of the reserve: from one in 10 ** 12 to a hundredfold."""

fees = st.sampled_from(["0", "1", "4.5", "30", "300", "9999"])


@st.composite
def constant_products(draw: st.DrawFn) -> ConstantProduct:
    """Draw a pool of any size."""
    return constant_product(draw(reserve()), draw(reserve()), fee_bps=draw(fees))


@st.composite
def weighted_pools(draw: st.DrawFn) -> Weighted:
    """Draw a pool of two to eight assets of any size and with whole weights that sum to anything."""
    count = draw(st.integers(2, 8))
    reserves = [draw(reserve()) for _ in range(count)]
    return weighted(reserves, [draw(st.integers(1, 20)) for _ in range(count)], draw(fees))


@st.composite
def stable_pools(draw: st.DrawFn) -> Stable:
    """Draw a pool of two to eight assets, balanced or not at all."""
    count = draw(st.integers(2, 8))
    size = draw(st.integers(-6, 18))
    spread = draw(st.sampled_from([0, 0, 1, 6]))
    exponents = st.integers(max(size - spread, -6), min(size + spread, 18))
    amounts = [draw(st.integers(1000, 9999).map(Decimal)).scaleb(draw(exponents) - 3) for _ in range(count)]
    named = draw(st.lists(st.sampled_from(NAMES[:count]), unique=True))
    rates = {name: draw(st.decimals("0.5", "2", places=6)) for name in named}
    amplification = draw(st.sampled_from(["0.01", "1", "85", "600", "10000"]))
    return stable(amounts, amplification, rates, draw(fees))


@st.composite
def concentrated_pools(draw: st.DrawFn) -> Concentrated:
    """Draw a pool whose positions cover the price, leave holes, and end."""
    positions = draw(
        st.lists(
            st.tuples(st.integers(-6000, 6000), st.integers(1, 3000), st.integers(1, 10**6)), min_size=1, max_size=6
        )
    )
    nets: dict[int, int] = {}
    for low, width, liquidity in positions:
        nets[low] = nets.get(low, 0) + liquidity
        nets[low + width] = nets.get(low + width, 0) - liquidity
    inside = positions[0][0] + positions[0][1] * draw(st.floats(0.05, 0.95))
    price = Decimal(repr(1.0001**inside))
    active = sum(liquidity for low, width, liquidity in positions if low <= inside < low + width)
    return concentrated(price, str(active), [(index, str(nets[index])) for index in sorted(nets)], draw(fees))
