"""Whoever changes a refused bound to its nearest value gets a route; no value is named only when none helps."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from app.domain.errors import Infeasible
from app.domain.market import ConstantProduct, OrderBook
from app.domain.solution import Solution
from app.domain.trade import Selection, Trade
from app.domain.values import Asset, Instrument, MarketId, Venue
from tests.domain.solver.markets import BTC, GAS, USD, pool, route, trades, venues
from tests.domain.solver.replay import check

Markets = list[OrderBook | ConstantProduct]
Decimals = dict[Asset, int] | None

thorough = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
coarse = st.sampled_from([None, {BTC: 8, USD: 2}, {BTC: 2, USD: 6}, {BTC: 0, USD: 1}])
PRICED_GAS = pool("gas", "1000", "20000", pair=Instrument(GAS, USD))
QUANTITY_RULES = {"quantity", "liquidity", "lot_size", "min_quantity", "min_notional"}


def attempt(trade: Trade, markets: Markets, decimals: Decimals) -> Solution | Infeasible:
    try:
        return route(trade, markets, decimals)
    except Infeasible as refusal:
        return refusal


def bounded(trade: Trade, **bounds: object) -> Trade:
    return replace(trade, constraints=replace(trade.constraints, **bounds))  # type: ignore[arg-type]


def changed(trade: Trade, constraint: str, nearest: str, short: Asset) -> Trade:
    """Change the refused bound, as a program would that reads the refusal."""
    names = trade.constraints
    match constraint:
        case "limit_price":
            return replace(trade, limit_price=Decimal(nearest))
        case "max_slippage_bps":
            assert 0 <= float(nearest) <= 10_000
            return replace(trade, max_slippage_bps=float(nearest))
        case "max_legs":
            return bounded(trade, max_legs=int(nearest))
        case "balances":
            return bounded(trade, balances={**names.balances, short: Decimal(nearest)})
        case "venues":
            added = names.venues.include | {Venue(nearest)} if names.venues.include else names.venues.include
            return bounded(trade, venues=Selection(added, names.venues.exclude - {Venue(nearest)}))
        case "markets":
            return bounded(trade, markets=Selection(names.markets.include | {MarketId(nearest)}))
        case _:
            assert constraint in QUANTITY_RULES
            return replace(trade, quantity=Decimal(nearest))


@pytest.mark.parametrize("partial", [False, True])
@thorough
@given(markets=venues(ruled=True), trade=trades(), decimals=coarse, scale=st.sampled_from(["0.001", "0.1", "1", "9"]))
def test_a_refused_quantity_has_a_nearest_one_that_is_routed(
    markets: Markets, trade: Trade, decimals: Decimals, scale: str, partial: bool
) -> None:
    trade = bounded(replace(trade, quantity=trade.quantity * Decimal(scale)), allow_partial=partial)
    markets = [*markets, PRICED_GAS]
    refusal = attempt(trade, markets, decimals)
    assume(isinstance(refusal, Infeasible))
    assert isinstance(refusal, Infeasible)
    event(refusal.constraint)
    if refusal.nearest is not None:
        asked = changed(trade, refusal.constraint, refusal.nearest, trade.gives)
        check(route(asked, markets, decimals), asked, markets, decimals)
        return
    for power in range(-6, 12):
        other = replace(trade, quantity=Decimal(2) ** power * (100 if trade.quantity_asset == USD else 1))
        assert isinstance(attempt(other, markets, decimals), Infeasible)


def _limit(trade: Trade, free: Solution, share: Decimal) -> Trade:
    buys = trade.gives == trade.instrument.quote
    return replace(trade, limit_price=free.effective_price * (1 - share if buys else 1 + share))


def _slippage(trade: Trade, free: Solution, share: Decimal) -> Trade:
    return replace(trade, max_slippage_bps=max(free.slippage_bps, 0.0) * float(1 - share))


def _balance(trade: Trade, free: Solution, share: Decimal) -> Trade:
    return bounded(trade, balances={trade.gives: free.sends.amount * (1 - share)})


def _gas(trade: Trade, free: Solution, share: Decimal) -> Trade:
    return bounded(trade, balances={GAS: share / 10_000})


def _legs(trade: Trade, free: Solution, share: Decimal) -> Trade:
    return bounded(trade, max_legs=max(len(free.slices[0].legs) - 1, 1))


def _venues(trade: Trade, free: Solution, share: Decimal) -> Trade:
    return bounded(trade, venues=Selection(frozenset({Venue("elsewhere")})))


def _markets(trade: Trade, free: Solution, share: Decimal) -> Trade:
    return bounded(trade, markets=Selection(frozenset({MarketId("elsewhere")})))


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("tighten", [_limit, _slippage, _balance, _gas, _legs, _venues, _markets])
@thorough
@given(
    markets=venues(ruled=True),
    trade=trades(),
    decimals=coarse,
    share=st.sampled_from([Decimal(text) for text in ("1e-9", "1e-4", "0.01", "0.5", "0.999999")]),
)
def test_the_only_bound_that_is_broken_has_a_nearest_value_that_is_routed(
    tighten: Callable[[Trade, Solution, Decimal], Trade],
    markets: Markets,
    trade: Trade,
    decimals: Decimals,
    share: Decimal,
    partial: bool,
) -> None:
    markets = [*markets, PRICED_GAS]
    free = attempt(trade, markets, decimals)
    assume(isinstance(free, Solution))
    assert isinstance(free, Solution)
    tight = bounded(tighten(trade, free, share), allow_partial=partial)
    refusal = attempt(tight, markets, decimals)
    if isinstance(refusal, Solution):
        check(refusal, tight, markets, decimals)
        return
    event(refusal.constraint)
    if refusal.nearest is None:
        assert refusal.constraint == "max_slippage_bps"
        assert free.slippage_bps > 10_000
        return
    short = GAS if tighten is _gas else trade.gives
    asked = changed(tight, refusal.constraint, refusal.nearest, short)
    solution = attempt(asked, markets, decimals)
    if isinstance(solution, Infeasible) and tighten in (_venues, _markets):
        assert solution.constraint in QUANTITY_RULES
        return
    assert isinstance(solution, Solution)
    check(solution, asked, markets, decimals)


@thorough
@given(markets=venues(ruled=True), trade=trades(bounded=True), decimals=coarse)
def test_following_the_nearest_values_ends_at_a_route(markets: Markets, trade: Trade, decimals: Decimals) -> None:
    markets = [*markets, PRICED_GAS]
    for _ in range(8):
        found = attempt(trade, markets, decimals)
        if isinstance(found, Solution):
            check(found, trade, markets, decimals)
            return
        if found.nearest is None:
            return
        assert Decimal(found.nearest) > 0
        held = trade.constraints.balances
        short = trade.gives if held.get(trade.gives, Decimal(found.nearest)) < Decimal(found.nearest) else GAS
        trade = changed(trade, found.constraint, found.nearest, short)
    pytest.fail("following the nearest values never led to a route")
