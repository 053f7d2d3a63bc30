from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal, localcontext

import pytest

from app.domain.market import Market, Rfq
from app.domain.solution import Solution
from app.domain.solver import Problem, never, prepare
from app.domain.solver.exact import EXACT
from app.domain.solver.graph.beyond import beyond
from app.domain.solver.graph.network import Network, network_of
from app.domain.solver.graph.solving import GraphSolving
from app.domain.trade import Selection, Trade
from app.domain.values import Asset, MarketId, Venue
from tests.domain.solver.graph.instances import cp, order, route
from tests.domain.solver.graph.replay import check

DETOUR = [cp("first", "A", "500", "C", "10000", "100"), cp("second", "C", "20000", "B", "100000", "100")]
MARKETS = [cp("own", "A", "1000", "B", "100000"), cp("other", "A", "700", "B", "70010"), *DETOUR]


def network(markets: Sequence[Market]) -> Network:
    return network_of(tuple(ready for market in markets if (ready := prepare(market)) is not None), {})


def over_the_graph(wanted: Trade, markets: Sequence[Market]) -> Solution:
    prepared = tuple(ready for market in markets if (ready := prepare(market)) is not None)
    with localcontext(EXACT):
        return GraphSolving(Problem(wanted, prepared), network_of(prepared, {}), lambda _: None, never).solve()


@pytest.mark.parametrize(("side", "asset"), [("sell", "A"), ("buy", "B"), ("sell", "B"), ("buy", "A")])
def test_what_the_pair_does_best_is_what_the_whole_graph_does_best(side: str, asset: str) -> None:
    trade = order(side, "1" if asset == "A" else "90", asset)
    quick, whole = route(trade, MARKETS), over_the_graph(trade, MARKETS)
    check(quick, trade, MARKETS, {})
    assert {leg.market_id for leg in quick.slices[0].legs} <= {"own", "other"}
    assert quick.certificate.gap_bps < 1e-6
    assert quick.receives.amount == pytest.approx(whole.receives.amount, rel=Decimal("1e-9"))
    assert quick.sends.amount == pytest.approx(whole.sends.amount, rel=Decimal("1e-9"))
    assert quick.certificate.bound == pytest.approx(whole.certificate.bound, rel=Decimal("1e-6"))
    assert quick.arrival_price == whole.arrival_price
    assert quick.slippage_bps == pytest.approx(whole.slippage_bps, abs=1e-5)


def test_a_larger_order_leaves_its_pair() -> None:
    trade = order("sell", "100", "A")
    solution = route(trade, MARKETS)
    assert {"first", "second"} < {leg.market_id for leg in solution.slices[0].legs}
    assert solution.receives.amount > route(trade, MARKETS[:2]).receives.amount


def test_other_ways_are_judged_by_their_best_rate() -> None:
    others = beyond(network(MARKETS), order("sell", "1", "A"))
    assert others is not None
    rate = 20 * 5 * 0.99**2
    assert not others.is_worse_than(rate)
    assert others.is_worse_than(rate * (1 + 1e-9))
    nothing_else = beyond(network(MARKETS[:2]), order("sell", "1", "A"))
    assert nothing_else is not None
    assert nothing_else.is_worse_than(1e-30)


def test_where_a_cycle_pays_nothing_is_known_to_be_worse() -> None:
    cycle = [cp("there", "C", "1000", "D", "1000"), cp("back", "D", "1000", "C", "1100")]
    others = beyond(network([*MARKETS, *cycle]), order("sell", "1", "A"))
    assert others is not None
    assert not others.is_worse_than(1e30)


def test_chosen_markets_and_quotes_that_expire_are_always_looked_at() -> None:
    chosen = order("sell", "1", "A", venues=Selection(exclude=frozenset({Venue("second")})))
    assert beyond(network(MARKETS), chosen) is None
    quote = Rfq(
        market_id=MarketId("desk"),
        venue=Venue("desk"),
        fee_bps=Decimal(0),
        gives=Asset("B"),
        takes=Asset("A"),
        price=Decimal("0.0098"),
        max_size=Decimal(1000),
        expires_at=datetime(2100, 1, 1, tzinfo=UTC),
    )
    assert beyond(network([*MARKETS, quote]), order("sell", "1", "A")) is None
