"""What a route is compared with: one market alone, one path alone, a split over two."""

from decimal import Decimal

import pytest

from app.domain.solution import Alternative, Solution
from tests.domain.solver.graph.instances import cp, order
from tests.domain.solver.graph.instances import route as route_over_graph
from tests.domain.solver.markets import BTC, USD, book, pool, route, trade

BOOKS = [
    book("a", asks=[("100", "1"), ("103", "5")], bids=[("99", "1"), ("96", "5")], lot="0.01", fixed=("USD", "0.1")),
    book("b", asks=[("101", "1"), ("103", "5")], bids=[("98", "1"), ("96", "5")], min_quantity="0.5"),
    book("c", asks=[("101.5", "1"), ("103", "5")], bids=[("97.5", "1"), ("96", "5")], fee_bps="1"),
]
TRIANGLE = [
    cp("direct", "A", "1000", "B", "100000"),
    cp("first", "A", "500", "C", "10000"),
    cp("second", "C", "20000", "B", "101000"),
]


def by_name(solution: Solution) -> dict[str, Alternative]:
    return {way.name: way for way in solution.explanation.alternatives}


@pytest.mark.parametrize(("side", "quantity", "asset"), [("buy", "3", BTC), ("sell", "3", BTC), ("buy", "300", USD)])
def test_two_markets_do_better_than_one_and_no_better_than_the_route(side: str, quantity: str, asset: str) -> None:
    wanted = trade(side, quantity, asset)  # type: ignore[arg-type]
    ways = by_name(route(wanted, BOOKS))
    single, double = ways["best_single_market"], ways["best_two_way_split"]
    assert single.saving_bps > double.saving_bps >= 0
    assert single.receives is double.receives is not wanted.is_exact_out
    sign = -1 if wanted.is_exact_out else 1
    assert sign * double.amount.amount > sign * single.amount.amount


def test_the_best_two_are_the_best_of_every_two() -> None:
    wanted = trade("buy", "3")
    double = by_name(route(wanted, BOOKS))["best_two_way_split"]
    pairs = [route(wanted, [one, other]) for one, other in ((BOOKS[0], BOOKS[1]), (BOOKS[0], BOOKS[2]), BOOKS[1:])]
    best = min(pairs, key=lambda solution: solution.sends.amount + solution.costs.fixed)
    assert double.amount.amount == pytest.approx(best.sends.amount, rel=Decimal("1e-12"))


def test_a_route_over_two_markets_is_the_best_split_over_two() -> None:
    solution = route(trade("buy", "1.5"), BOOKS[1:])
    assert by_name(solution)["best_two_way_split"].amount == solution.sends
    assert by_name(solution)["best_two_way_split"].saving_bps == 0


def test_a_way_that_breaks_the_trade_s_limit_is_no_alternative() -> None:
    free = route(trade("buy", "3"), BOOKS)
    tight = route(trade("buy", "3", limit_price=str(free.effective_price)), BOOKS)
    assert by_name(tight) == {}


def test_one_leg_leaves_no_split_over_two() -> None:
    assert "best_two_way_split" not in by_name(route(trade("buy", "3", max_legs=1), BOOKS))


@pytest.mark.parametrize(("side", "asset"), [("sell", "A"), ("buy", "A")])
def test_over_the_graph_a_path_counts_as_one_way(side: str, asset: str) -> None:
    solution = route_over_graph(order(side, "10", asset), TRIANGLE)
    ways = by_name(solution)
    assert ways["best_two_way_split"].saving_bps < 1e-3
    assert ways["best_single_market"].saving_bps > 1


def test_where_a_path_is_the_best_single_way_the_best_market_stands_beside_it() -> None:
    markets = [cp("direct", "A", "100", "B", "10000", "100"), *TRIANGLE[1:], pool("elsewhere")]
    ways = by_name(route_over_graph(order("sell", "10", "A"), markets))
    assert ways["best_single_path"].amount.amount > ways["best_single_market"].amount.amount
    assert ways["best_single_path"].saving_bps < ways["best_single_market"].saving_bps
