"""The optimisation over the whole graph."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from itertools import product
from math import isfinite
from random import Random

import pytest

from app.domain.errors import Infeasible
from app.domain.market import ConstantProduct, Market, OrderBook, Rfq, Weighted
from app.domain.solution import Solution
from app.domain.solver import Problem, prepare, solve
from app.domain.solver.exact import EXACT
from app.domain.trade import Selection, Side, Trade
from app.domain.values import Amount, Asset, Instrument, MarketId, Venue
from tests.domain.solver.graph.instances import Maker, cp, order, route
from tests.domain.solver.graph.replay import assert_proven, check, value_of

TRIANGLE = [
    cp("direct", "A", "1000", "B", "100000"),
    cp("first", "A", "500", "C", "10000"),
    cp("second", "C", "20000", "B", "101000"),
]


def solved(seed: int, *, ruled: bool, mispricing: float = 0.3) -> tuple[Solution, Trade, list[Market], Maker] | None:
    maker = Maker(seed, ruled=ruled, mispricing=mispricing)
    trade, markets, decimals = maker.trade(), maker.markets(), maker.decimals()
    try:
        solution = route(trade, markets, decimals)
    except Infeasible:
        return None
    check(solution, trade, markets, decimals)
    return solution, trade, markets, maker


@pytest.mark.parametrize("seed", range(60))
def test_any_route_replays_and_any_bound_holds(seed: int) -> None:
    found = solved(seed, ruled=False, mispricing=[0.3, 3.0][seed % 2])
    if found is None:
        return
    solution = found[0]
    if not solution.certificate.relaxed:
        assert solution.certificate.gap_bps < 0.01


@pytest.mark.parametrize("seed", range(60))
def test_no_constraint_is_ever_broken(seed: int) -> None:
    solved(1000 + seed, ruled=True)


@pytest.mark.parametrize(("side", "asset"), [("sell", "A"), ("buy", "B"), ("sell", "B"), ("buy", "A")])
def test_splits_over_hops_and_proves_it(side: str, asset: str) -> None:
    trade = order(side, "10" if asset == "A" else "900", asset)
    solution = route(trade, TRIANGLE)
    check(solution, trade, TRIANGLE, {})
    assert {leg.market_id for leg in solution.slices[0].legs} == {"direct", "first", "second"}
    assert solution.certificate.gap_bps < 1e-3
    assert solution.certificate.relaxed == ()
    assert solution.explanation.alternatives[0].saving_bps > 1


def test_what_is_bought_back_for_what_was_sold_is_the_same_trade() -> None:
    sold = route(order("sell", "10", "A"), TRIANGLE)
    again = route(order("sell", sold.receives.amount, "B"), TRIANGLE)
    assert abs(again.sends.amount / sold.sends.amount - 1) < Decimal("1e-8")


def test_more_of_the_same_pays_less_at_the_margin() -> None:
    amounts = [route(order("sell", str(quantity), "A"), TRIANGLE).receives.amount for quantity in (5, 10, 15)]
    assert amounts[0] < amounts[1] < amounts[2]
    assert amounts[1] - amounts[0] > amounts[2] - amounts[1]


@pytest.mark.parametrize("seed", range(15))
def test_another_market_never_hurts(seed: int) -> None:
    maker = Maker(seed, ruled=False, mispricing=0.3)
    trade, markets = maker.trade(), maker.markets()
    try:
        fewer = route(trade, markets[:-1])
    except Infeasible:
        return
    all_of_them = route(trade, markets)
    if fewer.certificate.relaxed or all_of_them.certificate.relaxed:
        return
    sign = 1 if trade.is_exact_out else -1
    slack = value_of(fewer, trade) * Decimal("1e-7")
    assert sign * value_of(all_of_them, trade) <= sign * value_of(fewer, trade) + slack


@pytest.mark.parametrize("seed", range(15))
def test_the_order_of_markets_changes_nothing(seed: int) -> None:
    maker = Maker(seed, ruled=True, mispricing=0.3)
    trade, markets = maker.trade(), maker.markets()
    try:
        solution = route(trade, markets)
    except Infeasible:
        with pytest.raises(Infeasible):
            route(trade, markets[::-1])
        return
    assert route(trade, markets[::-1]) == solution


def scaled(market: ConstantProduct, by: dict[str, Decimal]) -> ConstantProduct:
    return replace(market, reserves={asset: held * by[asset] for asset, held in market.reserves.items()})


def test_units_change_nothing() -> None:
    by = {"A": Decimal("1e-7"), "B": Decimal("1e6"), "C": Decimal("1e3")}
    plain = route(order("sell", "10", "A"), TRIANGLE)
    other = route(order("sell", "0.000001", "A"), [scaled(market, by) for market in TRIANGLE])
    assert abs(other.receives.amount / plain.receives.amount / by["B"] - 1) < Decimal("1e-6")


def exchange(markets: Sequence[ConstantProduct], amounts: Sequence[float]) -> float:
    """Replay a split over the triangle in plain floats: direct, and the two hops with what is left."""
    direct, rest = amounts
    direct_pool, first, second = ([float(held) for held in market.reserves.values()] for market in markets)

    def out(pool: list[float], amount: float) -> float:
        counted = amount * 0.997
        return pool[1] * counted / (pool[0] + counted)

    return out(direct_pool, direct) + out(second, out(first, rest))


def test_no_split_on_a_grid_is_better_or_beyond_the_bound() -> None:
    solution = route(order("sell", "10", "A"), TRIANGLE)
    best = max(exchange(TRIANGLE, (10 * share / 1000, 10 - 10 * share / 1000)) for share in range(1001))
    assert float(solution.receives.amount) >= best * (1 - 1e-9)
    assert float(solution.certificate.bound) >= best


def test_two_parallel_hops_beat_every_split_on_a_grid() -> None:
    markets = [
        cp("ac", "A", "100", "C", "2000", "5"), cp("ad", "A", "80", "D", "800", "5"),
        cp("cb", "C", "3000", "B", "15000", "5"), cp("db", "D", "900", "B", "9000", "5"),
    ]  # fmt: skip
    trade = order("sell", "7", "A")
    solution = route(trade, markets)
    check(solution, trade, markets, {})

    def out(market: ConstantProduct, amount: float) -> float:
        held_in, held_out = (float(held) for held in market.reserves.values())
        counted = amount * 0.9995
        return held_out * counted / (held_in + counted)

    best = max(
        out(markets[2], out(markets[0], 7 * share / 500)) + out(markets[3], out(markets[1], 7 - 7 * share / 500))
        for share, _ in product(range(501), (0,))
    )
    assert float(solution.receives.amount) >= best * (1 - 1e-9)
    assert float(solution.certificate.bound) >= best
    assert solution.certificate.gap_bps < 1e-3


def test_hops_and_legs_are_limited_and_named() -> None:
    free = route(order("sell", "10", "A"), TRIANGLE)
    one_leg = route(order("sell", "10", "A", max_legs=1), TRIANGLE)
    two_legs = route(order("sell", "10", "A", max_legs=2), TRIANGLE)
    one_hop = route(order("sell", "10", "A", max_hops=1), TRIANGLE)
    assert len(one_leg.slices[0].legs) == 1
    assert len(two_legs.slices[0].legs) <= 2
    assert [leg.market_id for leg in one_hop.slices[0].legs] == ["direct"]
    assert "max_legs" in two_legs.certificate.relaxed
    assert "max_legs" in two_legs.explanation.binding
    assert "max_legs" not in free.explanation.binding
    assert one_leg.receives.amount <= two_legs.receives.amount <= free.receives.amount


def test_a_way_that_is_too_long_is_refused_with_its_length() -> None:
    with pytest.raises(Infeasible) as refusal:
        route(order("sell", "10", "A", max_hops=1), TRIANGLE[1:])
    assert (refusal.value.constraint, refusal.value.nearest) == ("max_hops", "2")


def test_a_way_that_is_excluded_is_refused_by_name() -> None:
    excluded = Selection(exclude=frozenset({MarketId("second")}))
    with pytest.raises(Infeasible) as refusal:
        route(order("sell", "10", "A", markets=excluded), TRIANGLE[1:])
    assert (refusal.value.constraint, refusal.value.nearest) == ("markets", "second")


def test_no_way_at_all_is_refused() -> None:
    with pytest.raises(Infeasible) as refusal:
        route(order("sell", "10", "A"), TRIANGLE[1:2])
    assert (refusal.value.constraint, refusal.value.nearest) == ("liquidity", None)


def test_a_quantity_beyond_any_market_is_refused_or_filled_in_part() -> None:
    with pytest.raises(Infeasible) as refusal:
        route(order("buy", "1e90", "A"), TRIANGLE)
    assert refusal.value.constraint == "liquidity"
    part = order("buy", "1e90", "A", allow_partial=True)
    with localcontext(EXACT):
        solution = route(part, TRIANGLE)
        check(solution, part, TRIANGLE, {})
    assert solution.receives.amount > 1000


@pytest.mark.parametrize("seed", range(200))
def test_whatever_the_depths_there_is_a_route_or_a_refusal(seed: int) -> None:
    random = Random(seed)
    depths = ["1e-70", "1e-55", "1e-40", "1e-18", "1", "1000", "1e40", "1e56", "1e58", "1e100"]
    one, two, three, four, five, six = random.choices(depths, k=6)
    markets = [cp("direct", "A", one, "B", two), cp("first", "A", three, "C", four), cp("second", "C", five, "B", six)]
    asset, partial = random.choice("AB"), random.random() < 0.5
    wanted = order(random.choice(["buy", "sell"]), random.choice(depths), asset, allow_partial=partial)
    try:
        solution = route(wanted, markets)
    except Infeasible:
        return
    assert isfinite(solution.certificate.gap_bps)


def test_a_book_on_the_way_fills_on_what_its_lots_and_its_asset_leave_together() -> None:
    book = OrderBook(
        market_id=MarketId("second"),
        venue=Venue("second"),
        fee_bps=Decimal(0),
        base=Asset("C"),
        quote=Asset("B"),
        bids=((Decimal(5), Decimal(1000)),),
        asks=(),
        lot_size=Decimal("0.3"),
    )
    trade = order("sell", "10", "A")
    solution = route(trade, [TRIANGLE[1], book], {Asset("C"): 0})
    sent = [leg.sends.amount for leg in solution.slices[0].legs if leg.market_id == "second"]
    assert sent
    assert all(amount % 3 == 0 for amount in sent)


def test_more_than_the_markets_hold_is_refused_or_filled_in_part() -> None:
    too_much = order("sell", "150000", "B")
    with pytest.raises(Infeasible) as refusal:
        route(too_much, TRIANGLE[1:])
    assert refusal.value.constraint == "liquidity"
    assert 0 < Decimal(refusal.value.nearest or 0) < 101_000
    part = order("sell", "150000", "B", allow_partial=True)
    solution = route(part, TRIANGLE[1:])
    check(solution, part, TRIANGLE[1:], {})
    assert solution.receives.amount > 33_000


def test_a_price_limit_holds_over_hops() -> None:
    with pytest.raises(Infeasible) as refusal:
        route(order("sell", "100", "A", limit_price="98"), TRIANGLE)
    assert refusal.value.constraint == "limit_price"
    part = order("sell", "100", "A", limit_price="98", allow_partial=True)
    solution = route(part, TRIANGLE)
    check(solution, part, TRIANGLE, {})
    assert solution.effective_price >= 98
    assert "limit_price" in solution.explanation.binding
    nearer = route(order("sell", refusal.value.nearest or "0", "A"), TRIANGLE)
    assert nearer.receives.amount > 0


def lots(lot: str) -> OrderBook:
    return OrderBook(
        market_id=MarketId("lots"), venue=Venue("lots"), fee_bps=Decimal(1), base=Asset("C"), quote=Asset("B"),
        bids=((Decimal("5.1"), Decimal(500)),), asks=((Decimal("5.2"), Decimal(500)),), lot_size=Decimal(lot),
    )  # fmt: skip


@pytest.mark.parametrize(("side", "asset"), [("sell", "A"), ("sell", "B")])
def test_lots_inside_a_route_are_whole_and_what_they_leave_flows_elsewhere(side: str, asset: str) -> None:
    markets: list[Market] = [*TRIANGLE, lots("0.7")]
    trade = order(side, "10" if asset == "A" else "900", asset)
    solution = route(trade, markets)
    check(solution, trade, markets, {})
    assert "lots" in {leg.market_id for leg in solution.slices[0].legs}
    assert "lots" in solution.certificate.relaxed
    assert solution.certificate.gap_bps < 0.05


def test_a_fixed_cost_that_outweighs_its_market_is_not_paid() -> None:
    dear = replace(TRIANGLE[1], fixed_cost=None)
    with_cost = route(order("sell", "10", "A"), [TRIANGLE[0], costly(dear, "50"), TRIANGLE[2]])
    assert [leg.market_id for leg in with_cost.slices[0].legs] == ["direct"]
    cheap = route(order("sell", "10", "A"), [TRIANGLE[0], costly(dear, "0.01"), TRIANGLE[2]])
    assert len(cheap.slices[0].legs) == 3
    assert_proven(cheap, order("sell", "10", "A"))


def costly(market: ConstantProduct, amount: str) -> ConstantProduct:
    return replace(market, fixed_cost=Amount(Asset("B"), Decimal(amount)))


def test_a_cycle_that_pays_is_neither_walked_nor_hidden() -> None:
    markets = [*TRIANGLE, cp("cheap", "C", "1000", "D", "1000", "1"), cp("dear", "D", "1000", "C", "1100", "1")]
    trade = order("sell", "1", "A")
    solution = route(trade, markets)
    check(solution, trade, markets, {})
    assert "funding_order" in solution.certificate.relaxed
    assert solution.certificate.arbitrage > 0


def test_legs_on_one_pool_see_each_other() -> None:
    held = {Asset("A"): Decimal(1000), Asset("C"): Decimal(1000), Asset("D"): Decimal(1000)}
    shared = Weighted(
        market_id=MarketId("shared"), venue=Venue("shared"), fee_bps=Decimal(30), reserves=held,
        weights=dict.fromkeys(held, Decimal(1)),
    )  # fmt: skip
    markets: list[Market] = [shared, cp("cb", "C", "500", "B", "500"), cp("db", "D", "500", "B", "500")]
    for trade in (order("sell", "40", "A"), order("sell", "35", "B")):
        solution = route(trade, markets)
        check(solution, trade, markets, {})
        assert len({leg.step for leg in solution.slices[0].legs if leg.market_id == "shared"}) == 2
        assert "shared_pools" in solution.certificate.relaxed
        # The bound lets every pair of a shared pool trade on whole reserves.
        assert solution.certificate.gap_bps < 120


def test_an_expired_quote_is_not_used() -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    quote = Rfq(
        market_id=MarketId("maker"), venue=Venue("maker"), fee_bps=Decimal(0), gives=Asset("B"), takes=Asset("A"),
        price=Decimal("0.005"), max_size=Decimal(100_000), expires_at=now,
    )  # fmt: skip
    given: list[Market] = [*TRIANGLE, quote]
    markets = tuple(ready for market in given if (ready := prepare(market)) is not None)
    trade = order("sell", "10", "A")
    before = solve(Problem(trade, markets, as_of=now - timedelta(seconds=1)))
    after = solve(Problem(trade, markets, as_of=now))
    assert {leg.market_id for leg in before.slices[0].legs} == {"maker"}
    assert "maker" not in {leg.market_id for leg in after.slices[0].legs}


def test_stopped_at_once_it_still_answers_no_worse_than_the_best_single_path() -> None:
    markets = tuple(ready for market in TRIANGLE if (ready := prepare(market)) is not None)
    trade = order("sell", "10", "A")
    solution = solve(Problem(trade, markets), lambda: True)
    check(solution, trade, TRIANGLE, {})
    alone = max(solve(Problem(replace(trade, constraints=replace(trade.constraints, max_legs=legs)), markets)
                      ).explanation.alternatives[0].amount.amount for legs in (1, 2))  # fmt: skip
    assert solution.receives.amount >= alone


def test_arrival_is_the_middle_over_ways() -> None:
    solution = route(order("sell", "1", "A"), TRIANGLE)
    # Selling is best through C (20 * 5.05), buying is best directly (100).
    assert solution.arrival_price == pytest.approx(Decimal("100.5"), rel=Decimal("1e-12"))
    assert solution.costs.asset == "B"
    assert Instrument.parse("A-B").quote == "B"
    assert order("sell", "1", "A").side is Side.SELL
