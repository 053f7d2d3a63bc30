"""Promises that hold for every market and every trade."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from app.domain.errors import Infeasible
from app.domain.market import ConstantProduct, OrderBook
from app.domain.solution import Solution
from app.domain.trade import Trade
from app.domain.values import Asset
from tests.domain.solver.markets import BTC, USD, pools, route, trades, venues
from tests.domain.solver.replay import check, value_of

Markets = list[OrderBook | ConstantProduct]

thorough = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)

NEAR = Fraction(1, 10**12)


def try_route(trade: Trade, markets: Markets, decimals: dict[Asset, int] | None = None) -> Solution | None:
    try:
        return route(trade, markets, decimals)
    except Infeasible:
        return None


def not_worse(trade: Trade, ours: Fraction, theirs: Fraction) -> bool:
    slack = abs(theirs) * NEAR + Fraction(1, 10**15)
    return ours <= theirs + slack if trade.is_exact_out else ours >= theirs - slack


@pytest.mark.parametrize("decimals", [None, {BTC: 8, USD: 2}])
@thorough
@given(markets=venues(), trade=trades())
def test_whoever_replays_the_legs_gets_the_stated_amounts(
    markets: Markets, trade: Trade, decimals: dict[Asset, int] | None
) -> None:
    solution = try_route(trade, markets, decimals)
    if solution is not None:
        check(solution, trade, markets, decimals)


@pytest.mark.parametrize("decimals", [None, {BTC: 8, USD: 2}, {BTC: 1, USD: 0}])
@thorough
@given(markets=venues(ruled=True), trade=trades(bounded=True))
def test_no_hard_constraint_is_ever_violated(markets: Markets, trade: Trade, decimals: dict[Asset, int] | None) -> None:
    solution = try_route(trade, markets, decimals)
    if solution is not None:
        check(solution, trade, markets, decimals)


@thorough
@given(markets=venues(), trade=trades(), more=st.integers(101, 300))
def test_a_larger_size_never_gives_less_nor_costs_less(markets: Markets, trade: Trade, more: int) -> None:
    larger = replace(trade, quantity=trade.quantity * more / 100)
    small, large = try_route(trade, markets), try_route(larger, markets)
    assume(small is not None and large is not None)
    assert small is not None
    assert large is not None
    if trade.is_exact_out:
        assert large.sends.amount >= small.sends.amount
    else:
        assert large.receives.amount >= small.receives.amount


@thorough
@given(markets=venues(most=4), extra=pools("w"), trade=trades())
def test_another_market_never_hurts(markets: Markets, extra: ConstantProduct, trade: Trade) -> None:
    before, after = try_route(trade, markets), try_route(trade, [*markets, extra])
    if before is not None:
        assert after is not None
        assert not_worse(trade, value_of(after, trade), value_of(before, trade))


@thorough
@given(markets=venues(ruled=True), trade=trades())
def test_never_worse_than_the_best_single_market(markets: Markets, trade: Trade) -> None:
    solution = try_route(trade, markets)
    plain = not any(market.fixed_cost for market in markets)
    for market in markets:
        alone = try_route(trade, [market])
        if alone is None:
            continue
        assert solution is not None
        if plain:
            assert not_worse(trade, value_of(solution, trade), value_of(alone, trade))


@thorough
@given(markets=venues(ruled=True), trade=trades(bounded=True), data=st.data())
def test_the_order_of_markets_changes_nothing(markets: Markets, trade: Trade, data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(markets))
    assert try_route(trade, markets) == try_route(trade, shuffled)


@thorough
@given(markets=venues(), trade=trades(), power=st.integers(-6, 6))
def test_scaling_every_size_scales_the_route(markets: Markets, trade: Trade, power: int) -> None:
    scale = Decimal(10) ** power
    scaled: Markets = []
    for market in markets:
        if isinstance(market, OrderBook):
            bids = tuple((price, size * scale) for price, size in market.bids)
            asks = tuple((price, size * scale) for price, size in market.asks)
            scaled.append(replace(market, bids=bids, asks=asks))
        else:
            held = {asset: reserve * scale for asset, reserve in market.reserves.items()}
            scaled.append(replace(market, reserves=held))
    larger = replace(trade, quantity=trade.quantity * scale)
    before, after = try_route(trade, markets), try_route(larger, scaled)
    assert (before is None) == (after is None)
    if before is not None and after is not None:
        ratio = Fraction(after.effective_price) / Fraction(before.effective_price)
        assert abs(ratio - 1) < Fraction(1, 10**8)
        assert after.arrival_price == before.arrival_price
