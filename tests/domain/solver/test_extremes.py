"""Sizes, depths and counts at the edge of what may arrive: no crash, no NaN, no wrong replay."""

from dataclasses import fields, is_dataclass
from decimal import Decimal
from fractions import Fraction
from math import isfinite
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.errors import Infeasible
from app.domain.market import ConstantProduct, Market, OrderBook
from app.domain.trade import Constraints, Side, Trade
from app.domain.values import Amount, Asset, Instrument, MarketId, Venue
from tests.domain.solver.markets import BTC, GAS, PAIR, USD, book, pool, route, trade
from tests.domain.solver.replay import check

FINE = {BTC: 44, USD: 44}

digits = st.integers(1, 10**79 - 1) | st.integers(1, 9)
powers = st.integers(-99, 99) | st.integers(-40, 56) | st.integers(-3, 3)
numbers = st.builds(lambda digit, power: Decimal(f"{digit}e{power}"), digits, powers) | st.sampled_from(
    [Decimal(text) for text in ("1", "100", "0.5", "1e-40", "1e55", "1e57", "0." + "1" * 78, "1" * 79, "9" * 79)]
)
sane = st.sampled_from([Decimal(text) for text in ("1", "3", "0.5", "100", "250", "0.01")])
fees = st.floats(0, 10_000, exclude_max=True).map(repr).map(Decimal) | st.sampled_from([Decimal(0), Decimal(30)])


def often_sane(extreme: st.SearchStrategy[Decimal]) -> st.SearchStrategy[Decimal]:
    return st.integers(0, 2).flatmap(lambda die: extreme if die == 0 else sane)


@st.composite
def extreme_markets(draw: st.DrawFn, name: str) -> Market:
    number = often_sane(numbers)
    fixed = st.builds(Amount, st.sampled_from([BTC, USD, GAS]), number)
    fee, cost = draw(fees), draw(st.none() | fixed)
    pair = draw(st.sampled_from([PAIR, PAIR, PAIR, Instrument(GAS, USD), Instrument(USD, BTC)]))
    if draw(st.booleans()):
        held = {pair.base: draw(number), pair.quote: draw(number)}
        return ConstantProduct(market_id=MarketId(name), venue=Venue(name), fee_bps=fee, fixed_cost=cost, reserves=held)
    levels = st.lists(st.tuples(number, number), max_size=4)
    return OrderBook(
        market_id=MarketId(name),
        venue=Venue(name),
        fee_bps=fee,
        fixed_cost=cost,
        base=pair.base,
        quote=pair.quote,
        bids=tuple(draw(levels)),
        asks=tuple(draw(levels)),
        tick_size=draw(st.none() | number),
        lot_size=draw(st.none() | number),
        min_quantity=draw(st.none() | number),
        min_notional=draw(st.none() | number),
    )


@st.composite
def extreme_trades(draw: st.DrawFn) -> Trade:
    number = often_sane(numbers)
    return Trade(
        PAIR,
        draw(st.sampled_from(list(Side))),
        draw(number),
        draw(st.sampled_from([BTC, USD])),
        limit_price=draw(st.none() | st.none() | number),
        max_slippage_bps=draw(st.none() | st.none() | st.floats(0, 10_000)),
        constraints=Constraints(
            max_legs=draw(st.sampled_from([1, 2, 16])),
            allow_partial=draw(st.booleans()),
            balances=draw(st.dictionaries(st.sampled_from([BTC, USD, GAS]), number, max_size=1)),
        ),
    )


def assert_finite(value: object) -> None:
    if is_dataclass(value):
        for field in fields(value):
            assert_finite(getattr(value, field.name))
    elif isinstance(value, dict):
        assert_finite(tuple(value.values()))
    elif isinstance(value, tuple):
        for member in value:
            assert_finite(member)
    elif isinstance(value, Decimal | float):
        assert isfinite(value)


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    markets=st.integers(1, 4).flatmap(lambda n: st.tuples(*(extreme_markets(f"v{i}") for i in range(n)))),
    wanted=extreme_trades(),
    decimals=st.dictionaries(st.sampled_from([BTC, USD]), st.integers(0, 36)),
)
def test_whatever_the_numbers_there_is_a_finite_route_or_a_refusal(
    markets: tuple[Market, ...], wanted: Trade, decimals: dict[Asset, int]
) -> None:
    nearest: str | None = None
    try:
        solution = route(wanted, markets, decimals)
    except Infeasible as refusal:
        nearest = refusal.nearest
    else:
        assert_finite(solution)
        stepped = {book.market_id: (book.base, book.lot_size) for book in markets if isinstance(book, OrderBook)}
        for leg in solution.slices[0].legs:
            for amount in (leg.sends, leg.receives):
                assert amount.amount > 0
                assert Fraction(amount.amount) * 10 ** decimals.get(amount.asset, 18) % 1 == 0
            base, lot = stepped.get(leg.market_id, (USD, None))
            if lot is not None:
                counted = leg.sends if leg.sends.asset == base else leg.receives
                assert Fraction(counted.amount) % Fraction(lot) == 0
    assert nearest is None or nearest.startswith("v") or Decimal(nearest) > 0


def magnitude(random: Random, low: float, high: float) -> str:
    return f"{10 ** random.uniform(low, high):.{random.randint(0, 12)}e}"


@pytest.mark.parametrize("seed", range(300))
def test_thirty_six_orders_of_magnitude(seed: int) -> None:
    random = Random(seed)
    markets: list[Market] = []
    for i in range(random.randint(1, 5)):
        fee = random.choice(["0", "30", "9999", "10000", "-5"])
        if random.random() < 0.4:
            markets.append(pool(f"v{i}", magnitude(random, -6, 18), magnitude(random, -6, 18), fee_bps=fee))
            continue
        middle = Decimal(magnitude(random, *random.choice([(-18, 18), (0, 2)])))
        sides = []
        for sign in (-1, 1):
            price, levels = middle, []
            for _ in range(random.randint(0, 5)):
                price *= 1 + sign * Decimal(random.choice(["0", "0.001", "0.01"]))
                levels.append((str(price), magnitude(random, -18, 18)))
            sides.append(levels)
        markets.append(
            book(
                f"v{i}",
                bids=sides[0],
                asks=sides[1],
                fee_bps=fee,
                lot=random.choice([None, None, magnitude(random, -18, 3)]),
                min_notional=random.choice([None, None, magnitude(random, -18, 18)]),
            )
        )
    wanted = trade(
        random.choice(["buy", "sell"]),
        magnitude(random, -18, 18),
        random.choice([BTC, USD]),
        allow_partial=random.random() < 0.4,
        limit_price=random.choice([None, None, magnitude(random, -18, 18)]),
        max_slippage_bps=random.choice([None, None, 5.0]),
        max_legs=random.choice([1, 16]),
    )
    try:
        solution = route(wanted, markets, FINE)
    except Infeasible:
        return
    assert isfinite(solution.slippage_bps)
    assert isfinite(solution.certificate.gap_bps)
    check(solution, wanted, markets, FINE)


def test_a_hundred_thousand_levels() -> None:
    asks = [(f"{100 + i / 1000:.3f}", "0.5") for i in range(100_000)]
    wanted = trade("buy", "40000")
    solution = route(wanted, [book("a", asks=asks)])
    assert solution.receives.amount == 40_000
    assert solution.slices[0].legs[0].limit_price == Decimal("179.999")
    assert solution.certificate.gap_bps < 1e-3


def test_five_hundred_markets() -> None:
    markets = [book(f"v{i:03}", asks=[(f"{100 + i / 100:.2f}", "1")]) for i in range(500)]
    wanted = trade("buy", "450", max_legs=1000)
    solution = route(wanted, markets)
    check(solution, wanted, markets)
    assert len(solution.slices[0].legs) == 450
    capped = trade("buy", "15.5", max_legs=16)
    assert route(capped, markets).sends.amount == sum(Decimal(100) + Decimal(i) / 100 for i in range(15)) + Decimal(
        "50.075"
    )


def test_the_smallest_order_on_the_largest_pool() -> None:
    market = pool("p", "1e18", "1e18", fee_bps="30")
    wanted = trade("sell", "1000e-18")
    assert route(wanted, [market]).receives.amount == Decimal("996e-18")


def test_a_pool_that_would_be_drained_is_refused() -> None:
    with pytest.raises(Infeasible) as caught:
        route(trade("buy", "1000"), [pool("p", "1000", "100000")])
    assert caught.value.constraint == "liquidity"
    assert route(trade("buy", caught.value.nearest or ""), [pool("p", "1000", "100000")]).receives.amount < 1000
