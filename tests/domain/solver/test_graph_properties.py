"""Promises that hold for every mix of markets, over any number of legs."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from app.domain.errors import Infeasible
from app.domain.market import Market, OrderBook, ReservePool, Rfq, Stable
from app.domain.solution import Solution
from app.domain.trade import Constraints, Trade
from app.domain.values import Asset
from tests.domain.solver.graph.instances import Maker, cp, order, route
from tests.domain.solver.graph.replay import check, value_of

quick = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
seeds = st.integers(0, 10**6)
BEYOND = Decimal("1e-9")
PROVEN_BPS, TIGHT_BPS = 1.0, 0.01
FREELY = Constraints(max_legs=1000, max_hops=20)


def drawn(seed: int, mispricing: float = 0.3) -> tuple[list[Market], Trade]:
    maker = Maker(seed, ruled=False, mispricing=mispricing)
    return maker.markets(), replace(maker.trade(), constraints=FREELY)


def try_route(wanted: Trade, markets: list[Market]) -> Solution | None:
    try:
        return route(wanted, markets)
    except Infeasible:
        return None


def as_good(wanted: Trade, ours: Solution, theirs: Solution) -> bool:
    """Whether one route is no worse than another could be, but for how far it may be from its own optimum."""
    apart = Decimal(ours.certificate.gap_bps) / 10_000 + BEYOND
    if wanted.is_exact_out:
        return value_of(ours, wanted) * (1 - apart) <= value_of(theirs, wanted)
    return value_of(ours, wanted) * (1 + apart) >= value_of(theirs, wanted)


def bounds_as_much(wanted: Trade, wider: Solution, theirs: Solution) -> bool:
    """Whether a bound also covers what a route on less attains."""
    if wanted.is_exact_out:
        return wider.certificate.bound <= value_of(theirs, wanted) * (1 + BEYOND)
    return wider.certificate.bound >= value_of(theirs, wanted) * (1 - BEYOND)


@quick
@given(seed=seeds, mispricing=st.sampled_from([0.3, 3.0]))
def test_every_asset_is_conserved_and_the_bound_holds(seed: int, mispricing: float) -> None:
    markets, wanted = drawn(seed, mispricing)
    solution = try_route(wanted, markets)
    if solution is not None:
        check(solution, wanted, markets, {})


@quick
@given(seed=seeds, more=st.integers(101, 400))
def test_a_larger_size_is_never_bounded_by_less_nor_gives_less(seed: int, more: int) -> None:
    markets, wanted = drawn(seed)
    larger = replace(wanted, quantity=wanted.quantity * more / 100)
    small, large = try_route(wanted, markets), try_route(larger, markets)
    assume(small is not None and large is not None)
    assert small is not None
    assert large is not None
    ours, theirs = value_of(large, wanted), value_of(small, wanted)
    gap = Decimal((large if not wanted.is_exact_out else small).certificate.gap_bps) / 10_000 + BEYOND
    assert ours * (1 + gap) >= theirs
    # What legs on stable pools of three assets may do for each other is allowed for, and can be most of a bound.
    if large.certificate.gap_bps <= PROVEN_BPS:
        assert large.certificate.bound >= small.certificate.bound * (1 - Decimal(small.certificate.gap_bps) / 10_000)


@quick
@given(seed=seeds, mispricing=st.sampled_from([0.3, 3.0]))
def test_another_market_never_hurts(seed: int, mispricing: float) -> None:
    markets, wanted = drawn(seed, mispricing)
    before, after = try_route(wanted, markets[:-1]), try_route(wanted, markets)
    if before is not None:
        assert after is not None
        assert bounds_as_much(wanted, after, before)
        assert as_good(wanted, after, before)


@quick
@given(seed=seeds, mispricing=st.sampled_from([0.3, 3.0]))
def test_fees_never_help(seed: int, mispricing: float) -> None:
    markets, wanted = drawn(seed, mispricing)
    dearer = [replace(market, fee_bps=market.fee_bps + 5) for market in markets]
    cheap, dear = try_route(wanted, markets), try_route(wanted, dearer)
    if dear is not None:
        assert cheap is not None
        assert bounds_as_much(wanted, cheap, dear)
        assert as_good(wanted, cheap, dear)


@quick
@given(seed=seeds, data=st.data())
def test_the_order_of_markets_changes_nothing(seed: int, data: st.DataObject) -> None:
    markets, wanted = drawn(seed, 2.0)
    assert try_route(wanted, data.draw(st.permutations(markets))) == try_route(wanted, markets)


def in_units(market: Market, unit: Mapping[Asset, Decimal]) -> Market:
    """State a market with every asset counted in another unit."""
    if isinstance(market, OrderBook):
        price, size = unit[market.quote] / unit[market.base], unit[market.base]
        bids = tuple((p * price, q * size) for p, q in market.bids)
        asks = tuple((p * price, q * size) for p, q in market.asks)
        return replace(market, bids=bids, asks=asks)
    if isinstance(market, Rfq):
        price = unit[market.takes] / unit[market.gives]
        return replace(market, price=market.price * price, max_size=market.max_size * unit[market.gives])
    assert isinstance(market, ReservePool)
    reserves = {asset: amount * unit[asset] for asset, amount in market.reserves.items()}
    if isinstance(market, Stable):
        rates = {asset: rate / unit[asset] for asset, rate in market.rates.items()}
        return replace(market, reserves=reserves, rates=rates)
    return replace(market, reserves=reserves)


@quick
@given(seed=seeds, powers=st.lists(st.integers(-4, 4), min_size=6, max_size=6))
def test_the_units_of_assets_change_nothing(seed: int, powers: list[int]) -> None:
    markets, wanted = drawn(seed)
    unit = {Asset(name): Decimal(10) ** power for name, power in zip("ABCDEF", powers, strict=True)}
    scaled = replace(wanted, quantity=wanted.quantity * unit[wanted.quantity_asset])
    before = try_route(wanted, markets)
    after = try_route(scaled, [in_units(market, unit) for market in markets])
    assume(before is not None and after is not None)
    assert before is not None
    assert after is not None
    objective = unit[wanted.gives if wanted.is_exact_out else wanted.takes]
    gap_bps = max(before.certificate.gap_bps, after.certificate.gap_bps)
    apart = Decimal(gap_bps) / 10_000 + Decimal("1e-7")
    # A bound that is not tight stands where its descent came to rest, and rounding decides which kink that is.
    loose = Decimal("1e-7") if gap_bps <= TIGHT_BPS else apart
    assert after.certificate.bound / objective == pytest.approx(before.certificate.bound, rel=loose)
    assert value_of(after, wanted) / objective == pytest.approx(value_of(before, wanted), rel=apart)


@quick
@given(
    powers=st.lists(st.integers(-6, 18), min_size=3, max_size=3), share=st.sampled_from(["1e-6", "1e-3", "0.1"]),
    exact_out=st.booleans(),
)  # fmt: skip
def test_reserves_of_any_size_are_routed_over(powers: list[int], share: str, exact_out: bool) -> None:
    a, b, c = (Decimal(10) ** power for power in powers)
    markets: list[Market] = [
        cp("ab", "A", str(a), "B", str(b)), cp("ac", "A", str(a), "C", str(c)), cp("cb", "C", str(c), "B", str(b)),
    ]  # fmt: skip
    quantity = (b if exact_out else a) * Decimal(share)
    wanted = order("sell", quantity, "B" if exact_out else "A")
    # Amounts end at the eighteenth decimal: of the smallest reserves little is left to divide.
    decimals = {Asset(name): 40 for name in "ABC"}
    solution = route(wanted, markets, decimals)
    check(solution, wanted, markets, decimals)
    assert solution.certificate.gap_bps < 0.01
