"""The proof: no route that can be found passes it, and it is as close as the markets allow."""

from decimal import Decimal
from math import log
from random import Random

import pytest

from app.domain.errors import Infeasible
from app.domain.market import Concentrated, Market, OrderBook, Stable, Tick, Weighted
from app.domain.solution import Solution
from app.domain.trade import Constraints, Side, Trade
from app.domain.values import Asset, Instrument, MarketId, Venue
from tests.domain.solver.graph.instances import Maker, cp, number, order, route
from tests.domain.solver.graph.wanderer import Wanderer

BEYOND = Decimal("1e-9")
FREELY = Constraints(max_legs=1000, max_hops=20)
EIGHTEEN = {Asset(name): 18 for name in "ABCDEF"}


def instance(seed: int) -> tuple[list[Market], Trade]:
    """Draw a few markets of all six kinds, every other time with cycles that pay, and an order between two assets."""
    random = Random(seed)
    maker = Maker(seed, ruled=False, mispricing=[0.3, 4.0][seed % 2])
    markets = maker.markets()[:8]
    if random.random() < 0.6:
        markets.append(ranges(random, "ranges", maker))
    wanted = maker.trade()
    gives = wanted.gives
    takes = wanted.takes
    tender = number(10 ** random.uniform(0, 3.7) / maker.price[gives])
    return markets, Trade(Instrument(gives, takes), Side.SELL, tender, gives, constraints=FREELY)


def ranges(random: Random, name: str, maker: Maker) -> Concentrated:
    """Draw a concentrated pool of the first two assets around their price."""
    a, b = maker.assets[:2]
    price = maker.price[a] / maker.price[b]
    middle = random.randint(-50, 50)
    depth = 10 ** random.uniform(3, 5) / (maker.price[a] * maker.price[b]) ** 0.5
    index = int(log(price) / log(1.0001)) + middle
    return Concentrated(
        market_id=MarketId(name),
        venue=Venue(name),
        fee_bps=Decimal(random.choice([1, 5, 30])),
        asset0=a,
        asset1=b,
        sqrt_price=number(price**0.5),
        liquidity=number(depth),
        ticks=(
            Tick(index - 900, number(depth / 2)),
            Tick(index - 200, number(depth / 2)),
            Tick(index + 300, -number(depth / 2)),
            Tick(index + 1100, -number(depth / 2)),
        ),
    )


def certified(wanted: Trade, markets: list[Market]) -> Solution | None:
    try:
        return route(wanted, markets, EIGHTEEN)
    except Infeasible:
        return None


@pytest.mark.parametrize("seed", range(40))
def test_no_route_that_can_be_found_passes_the_bound(seed: int) -> None:
    markets, sold = instance(seed)
    solution = certified(sold, markets)
    if solution is None:
        return
    wanderer = Wanderer(markets, sold.gives, sold.takes, EIGHTEEN)
    random = Random(seed)
    found = [wanderer.at_random(random, sold.quantity, random.randint(1, 12)) for _ in range(40)]
    found.append(wanderer.in_portions(sold.quantity, 8, 3 if len(markets) < 7 else 2))
    best = max(found)
    assert best <= solution.certificate.bound * (1 + BEYOND)
    if not best:
        return
    bought = certified(Trade(sold.instrument, Side.SELL, best, sold.takes, constraints=FREELY), markets)
    if bought is not None:
        assert bought.certificate.bound <= sold.quantity * (1 + BEYOND)


def weighted(name: str, fee_bps: str = "30", **held: tuple[str, str]) -> Weighted:
    return Weighted(
        market_id=MarketId(name),
        venue=Venue(name),
        fee_bps=Decimal(fee_bps),
        reserves={Asset(asset): Decimal(reserve) for asset, (reserve, _) in held.items()},
        weights={Asset(asset): Decimal(weight) for asset, (_, weight) in held.items()},
    )


def stable(name: str, fee_bps: str, amplification: str, **held: str) -> Stable:
    return Stable(
        market_id=MarketId(name),
        venue=Venue(name),
        fee_bps=Decimal(fee_bps),
        reserves={Asset(asset): Decimal(amount) for asset, amount in held.items()},
        amplification=Decimal(amplification),
        rates={},
    )


THREE = weighted("three", A=("1000", "1"), C=("1000", "1"), D=("1000", "1"))
AROUND: list[Market] = [THREE, cp("cb", "C", "500", "B", "500"), cp("db", "D", "500", "B", "500")]


@pytest.mark.parametrize(("asset", "amount"), [("A", "40"), ("B", "35")])
def test_a_pool_of_three_assets_is_proven_as_one_market(asset: str, amount: str) -> None:
    # With every pair on whole reserves the bound would be 93 bp away.
    assert route(order("sell", amount, asset), AROUND).certificate.gap_bps < 0.5


def test_the_bound_over_shared_reserves_is_nearly_reached() -> None:
    bound = route(order("sell", "40", "A"), AROUND).certificate.bound
    wanderer = Wanderer(AROUND, Asset("A"), Asset("B"), EIGHTEEN)
    found = [wanderer.in_portions(Decimal(40), portions, 2) for portions in (2, 4, 16)]
    assert bound * Decimal("0.9999") <= max(found) <= bound


def test_legs_on_a_stable_pool_that_live_on_its_fees_stay_below_the_bound() -> None:
    markets: list[Market] = [
        stable("pool", "100", "100", C="0.279", B="0.9333", D="1.66"),
        cp("ac", "A", "10", "C", "10", "0"),
        cp("ad", "A", "10", "D", "10", "0"),
    ]
    for tender in ("0.3", "0.7", "1.5"):
        solution = route(order("sell", tender, "A"), markets, EIGHTEEN)
        wanderer = Wanderer(markets, Asset("A"), Asset("B"), EIGHTEEN)
        for portions in (1, 2, 3, 10):
            assert wanderer.in_portions(Decimal(tender), portions, 2) <= solution.certificate.bound


CYCLE: list[Market] = [
    cp("direct", "A", "1000", "B", "100000"),
    cp("ac", "A", "500", "C", "10000"),
    cp("cb", "C", "20000", "B", "101000"),
    cp("cheap", "C", "1000", "D", "1000", "1"),
    cp("dear", "D", "1000", "C", "1100", "1"),
    cp("far", "D", "5", "E", "1"),
    cp("off", "E", "1", "C", "7"),
]


def test_arbitrage_is_what_the_cycles_hold_and_no_more() -> None:
    solution = route(order("sell", "10", "A"), CYCLE, EIGHTEEN)
    certificate = solution.certificate
    assert "funding_order" in certificate.relaxed
    # Around C and D a trade of 23 or so pays about 1.1 C, around E less than 2 D; each C is worth about five B.
    assert 5 < certificate.arbitrage < 25
    assert certificate.bound - certificate.arbitrage <= solution.receives.amount * Decimal("1.001")
    assert certificate.bound >= solution.receives.amount


def test_what_cycles_alone_could_pay_for_needs_nothing_sent() -> None:
    arbitrage = route(order("sell", "10", "A"), CYCLE, EIGHTEEN).certificate.arbitrage
    little = route(order("sell", arbitrage / 2, "B"), CYCLE, EIGHTEEN)
    much = route(order("sell", arbitrage * 20, "B"), CYCLE, EIGHTEEN)
    assert little.certificate.bound == 0
    assert 0 < much.certificate.bound <= much.sends.amount
    assert little.certificate.arbitrage == pytest.approx(arbitrage, rel=Decimal("1e-6"))


def test_without_cycles_there_is_no_arbitrage() -> None:
    assert route(order("sell", "10", "A"), CYCLE[:3]).certificate.arbitrage == 0


def test_a_wide_level_used_in_part_is_priced_exactly() -> None:
    asks = ((Decimal("0.8759454943"), Decimal("35.53195")), (Decimal("0.8765957769"), Decimal("24.0294")))
    bids = ((Decimal("1.1423814055"), Decimal("366.961610026648")), (Decimal("1.1402157671"), Decimal("435.83")))
    markets: list[Market] = [
        cp("pool", "A", "9522778.32079791", "B", "22.6154306766842", fee_bps="5"),
        OrderBook(
            market_id=MarketId("asks"), venue=Venue("asks"), fee_bps=Decimal(5), base=Asset("B"), quote=Asset("C"),
            asks=asks, bids=(),
        ),
        OrderBook(
            market_id=MarketId("bids"), venue=Venue("bids"), fee_bps=Decimal(1), base=Asset("C"), quote=Asset("B"),
            bids=bids, asks=(),
        ),
    ]  # fmt: skip
    wanted = Trade(
        Instrument(Asset("A"), Asset("C")), Side.BUY, Decimal("0.0046284378"), Asset("C"), constraints=FREELY
    )
    solution = route(wanted, markets, EIGHTEEN)
    assert solution.certificate.gap_bps < 1e-4
