"""Exact fills against references that reckon otherwise."""

from dataclasses import replace
from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.market import Concentrated, ConstantProduct, Market, Stable, Weighted
from app.domain.solver.exact import EXACT
from app.domain.solver.kinds.base import State
from app.domain.solver.sides import Fill, Units
from app.domain.values import Asset
from tests.domain.solver.kinds import reference
from tests.domain.solver.kinds.liquidity import (
    FINE,
    USUAL,
    A,
    B,
    C,
    book,
    concentrated,
    concentrated_pools,
    constant_product,
    constant_products,
    exchange,
    rfq,
    share,
    stable,
    stable_pools,
    weighted,
    weighted_pools,
)

CLOSE = Fraction(1, 10**12)
BRIEF = settings(max_examples=60, deadline=None)


def send(state: State, gives: Asset, takes: Asset, amount: Decimal, units: Units = FINE) -> Fill:
    with localcontext(EXACT):
        fill = state.send(gives, takes, amount, units)
    assert fill is not None
    return fill


def obtain(state: State, gives: Asset, takes: Asset, target: Decimal, units: Units = FINE) -> Fill:
    with localcontext(EXACT):
        fill = state.obtain(gives, takes, target, units)
    assert fill is not None
    return fill


def is_close(stated: Decimal, true: Fraction) -> bool:
    """Within 1e-12 relative and one unit, and never above."""
    unit = Fraction(FINE.taken)
    return true - CLOSE * true - unit <= Fraction(stated) <= true * (1 + Fraction(1, 10**50))


@BRIEF
@given(constant_products(), share)
def test_constant_product_keeps_the_product(pool: ConstantProduct, part: Decimal) -> None:
    amount = pool.reserves[A] * part
    fill = send(exchange(pool).state(), A, B, amount)
    counted = Fraction(amount) * reference.kept(pool.fee_bps)
    assert is_close(fill.receives, reference.constant_product_out(pool.reserves[A], pool.reserves[B], counted))


@BRIEF
@given(weighted_pools(), share)
def test_weighted_keeps_the_weighted_product(pool: Weighted, part: Decimal) -> None:
    amount = pool.reserves[B] * part
    fill = send(exchange(pool).state(), B, A, amount)
    counted = Fraction(amount) * reference.kept(pool.fee_bps)
    unit = Fraction(FINE.taken)
    assert reference.weighted_surplus(pool, B, A, counted, Fraction(fill.receives) * (1 - CLOSE)) >= 0
    more = min(Fraction(fill.receives) * (1 + CLOSE) + unit, Fraction(pool.reserves[A]))
    assert reference.weighted_surplus(pool, B, A, counted, more) <= 0


@settings(max_examples=25, deadline=None)
@given(stable_pools(), share)
def test_stable_keeps_its_invariant(pool: Stable, part: Decimal) -> None:
    amount = pool.reserves[A] * part
    fill = send(exchange(pool).state(), A, B, amount)
    counted = amount * (1 - pool.fee_bps / 10_000)
    # Bisection leaves 80 digits of the balance, not of what comes out of it.
    true = Fraction(reference.stable_out(pool, A, B, counted))
    slack = Fraction(pool.reserves[B]) / 10**70
    assert is_close(fill.receives, true + slack) or is_close(fill.receives, true - slack)


@settings(max_examples=40, deadline=None)
@given(concentrated_pools(), st.booleans(), share)
def test_concentrated_integrates_its_liquidity(pool: Concentrated, falls: bool, part: Decimal) -> None:
    amount = pool.liquidity * part
    gives, takes = (A, B) if falls else (B, A)
    fill = send(exchange(pool).state(), gives, takes, amount)
    kept = reference.kept(pool.fee_bps)
    out, left = reference.concentrated_out(pool, 0, falls, Fraction(amount) * kept)
    # Roots of boundaries are irrational: the reference has them to 90 digits, the pool to 64.
    assert abs(Fraction(fill.receives) - out) <= out * CLOSE + Fraction(FINE.taken)
    unsent = Fraction(amount) - Fraction(fill.sends)
    assert abs(unsent - left / kept) <= Fraction(amount) * CLOSE + Fraction(FINE.given)


def test_concentrated_boundaries_count_the_assets_decimals() -> None:
    pool = concentrated("0.0005", "1000000000", [(200000, "5"), (201000, "-5")])
    price = (Decimal("1.0001") ** 200500).scaleb(-12)
    at = replace(pool, sqrt_price=price.sqrt(), liquidity=Decimal(5))
    amount = Decimal("1e-9")
    fill = send(exchange(at, {A: 6, B: 18}).state(), A, B, amount)
    out, left = reference.concentrated_out(at, -12, True, Fraction(amount))
    assert left == 0
    assert abs(Fraction(fill.receives) - out) <= out * CLOSE


def test_concentrated_pool_without_boundaries_is_a_constant_product() -> None:
    fill = send(exchange(concentrated("4", "1000")).state(), A, B, Decimal(3), USUAL)
    twin = send(exchange(constant_product("500", "2000")).state(), A, B, Decimal(3), USUAL)
    assert fill == twin


def test_concentrated_price_on_a_boundary_already_counts_it() -> None:
    pool = concentrated("1", "7", [(-10, "4"), (0, "3"), (10, "-7")])
    up = send(exchange(pool).state(), B, A, Decimal("1e-6"))
    down = send(exchange(pool).state(), A, B, Decimal("1e-6"))
    assert abs(Fraction(up.receives) - reference.concentrated_out(pool, 0, False, Fraction(1, 10**6))[0]) < CLOSE
    four = reference.concentrated_out(concentrated("1", "4", [(-10, "4")]), 0, True, Fraction(1, 10**6))[0]
    assert abs(Fraction(down.receives) - four) < CLOSE


def test_rfq_is_one_price_up_to_its_size() -> None:
    state = exchange(rfq("0.5", "100", fee_bps="10")).state()
    fill = send(state, A, B, Decimal(10))
    assert (fill.receives, fill.fee, fill.limit_price) == (Decimal("19.98"), Decimal("0.01"), Decimal("0.5"))
    rest = send(state, A, B, Decimal(1000), USUAL)
    assert rest.receives == Decimal("80.02")
    assert Fraction(rest.sends) >= Fraction(rest.receives) / 2 / Fraction("0.999")
    with localcontext(EXACT):
        assert state.send(A, B, Decimal(1), USUAL) is None
        assert state.rate(A, B) == 0


def test_book_fills_levels_and_a_second_leg_finds_the_rest() -> None:
    market = book(bids=[("99", "1"), ("98", "5")], asks=[("101", "1"), ("102", "5")], fee_bps="10", lot="0.5")
    state = exchange(market).state()
    first = send(state, A, B, Decimal("1.7"), USUAL)
    assert (first.sends, first.receives, first.limit_price) == (Decimal("1.5"), Decimal("147.852"), Decimal(98))
    second = send(state, A, B, Decimal(1), USUAL)
    assert (second.sends, second.receives) == (Decimal(1), Decimal("97.902"))
    untouched = obtain(state, B, A, Decimal("0.2"), USUAL)
    assert (untouched.sends, untouched.receives) == (Decimal("50.5505"), Decimal("0.5"))


def test_book_refuses_less_than_its_minimum_and_obtains_no_less() -> None:
    market = book(asks=[("100", "2"), ("101", "2")], min_quantity="1")
    state = exchange(market).state()
    with localcontext(EXACT):
        assert state.send(B, A, Decimal(50), USUAL) is None
    assert obtain(state, B, A, Decimal("0.25"), USUAL).receives == 1


MARKETS: dict[str, Market] = {
    "constant_product": constant_product("1000", "3", fee_bps="30"),
    "weighted": weighted(["1000", "3", "50"], ["4.2", "1", "0.5"], fee_bps="30"),
    "stable": stable(["1000", "900", "1500"], "200", {C: Decimal("1.02")}, fee_bps="4"),
    "concentrated": concentrated("2", "500", [(0, "300"), (5000, "200"), (7000, "100"), (9000, "-600")], "5"),
    "rfq": rfq("0.5", "100000", fee_bps="3"),
    "order_book": book(
        bids=[("0.5", "9"), ("0.4", "900")], asks=[("0.6", "10"), ("0.7", "20"), ("0.9", "900")], fee_bps="10"
    ),
}


@pytest.mark.parametrize("kind", MARKETS)
@pytest.mark.parametrize("amount", ["0.000001", "0.3", "17"])
def test_obtaining_what_was_received_costs_what_was_sent(kind: str, amount: str) -> None:
    arranged = exchange(MARKETS[kind])
    for gives, takes in arranged.directions:
        fill = send(arranged.state(), gives, takes, Decimal(amount))
        back = obtain(arranged.state(), gives, takes, fill.receives)
        assert back.receives >= fill.receives
        assert back.sends <= fill.sends
        assert Fraction(fill.sends) - Fraction(back.sends) <= CLOSE * Fraction(fill.sends)


@pytest.mark.parametrize("kind", MARKETS)
def test_amounts_are_rounded_against_the_taker(kind: str) -> None:
    coarse = Units(Decimal("0.001"), Decimal("0.001"))
    arranged, coarsely = exchange(MARKETS[kind]), exchange(MARKETS[kind], {A: 3, B: 3, C: 3})
    for gives, takes in arranged.directions:
        true = send(arranged.state(), gives, takes, Decimal("1.239"))
        fill = send(coarsely.state(), gives, takes, Decimal("1.2399"), coarse)
        assert fill.sends <= Decimal("1.239")
        assert fill.receives <= true.receives
        assert fill.receives == fill.receives.quantize(coarse.taken)
        paid = obtain(coarsely.state(), gives, takes, Decimal("0.034"), coarse)
        least = obtain(arranged.state(), gives, takes, Decimal("0.034"))
        assert paid.receives >= Decimal("0.034")
        assert paid.sends >= least.sends
        assert paid.sends == paid.sends.quantize(coarse.given)


@pytest.mark.parametrize("kind", MARKETS)
def test_a_refused_fill_changes_nothing_and_a_copy_is_on_its_own(kind: str) -> None:
    arranged = exchange(MARKETS[kind])
    gives, takes = arranged.directions[0]
    state, fresh = arranged.state(), arranged.state()
    with localcontext(EXACT):
        assert state.send(gives, takes, Decimal("1e-50"), USUAL) is None
        assert state.obtain(gives, takes, Decimal("1e30"), USUAL) is None
        assert state.rate(gives, takes) == fresh.rate(gives, takes)
    other = state.copy()
    first = send(state, gives, takes, Decimal(5))
    assert send(other, gives, takes, Decimal(5)) == first


@pytest.mark.parametrize("kind", ["constant_product", "weighted", "stable", "concentrated"])
def test_without_a_fee_two_legs_are_as_good_as_one_and_the_way_back_returns_all(kind: str) -> None:
    market = MARKETS[kind]
    free = replace(market, fee_bps=Decimal(0))
    arranged = exchange(free)
    for gives, takes in arranged.directions:
        whole = send(arranged.state(), gives, takes, Decimal(2))
        state = arranged.state()
        with localcontext(EXACT):
            parts = sum((send(state, gives, takes, Decimal(part)).receives for part in ("0.7", "1.3")), Decimal(0))
        assert abs(Fraction(parts) - Fraction(whole.receives)) <= CLOSE * Fraction(whole.receives)
        back = send(state, takes, gives, parts)
        assert Fraction(2) - CLOSE <= Fraction(back.receives) <= 2


def test_legs_through_a_pool_of_many_leave_its_invariant_no_smaller() -> None:
    market = MARKETS["stable"]
    assert isinstance(market, Stable)
    held = dict(market.reserves)
    state = exchange(market).state()
    before = reference.stable_invariant([held[A], held[B], held[C] * Decimal("1.02")], market.amplification)
    for gives, takes, amount in ((A, B, "300"), (B, C, "20"), (C, A, "0.000001"), (A, C, "900")):
        fill = send(state, gives, takes, Decimal(amount), USUAL)
        with localcontext(EXACT):
            held[gives] += fill.sends
            held[takes] -= fill.receives
        after = reference.stable_invariant([held[A], held[B], held[C] * Decimal("1.02")], market.amplification)
        assert after >= before
        before = after


def test_second_leg_on_a_pool_sees_the_first_with_its_fee() -> None:
    state = exchange(constant_product("100", "100", fee_bps="100")).state()
    first = send(state, A, B, Decimal(10), USUAL)
    second = send(state, B, A, Decimal(1), USUAL)
    reserve_out = Decimal(100) - first.receives
    true = reference.constant_product_out(reserve_out, Decimal(110), Fraction(99, 100))
    assert 0 <= true - Fraction(second.receives) < Fraction(1, 10**18)


@pytest.mark.parametrize("kind", MARKETS)
def test_rate_and_price_are_those_of_an_infinitesimal_trade(kind: str) -> None:
    arranged = exchange(MARKETS[kind])
    with localcontext(EXACT):
        for gives, takes in arranged.directions:
            tiny = arranged.state().send(gives, takes, Decimal("1e-20"), FINE)
            rate, price = arranged.state().rate(gives, takes), arranged.state().price(gives, takes)
            assert tiny is not None
            assert price is not None
            assert abs(tiny.receives / tiny.sends / rate - 1) < Decimal("1e-15")
            fee_free = tiny.sends / tiny.receives if arranged.base(gives, takes) == takes else rate
            assert abs(price / fee_free - 1) < Decimal("0.0101")
            assert abs(tiny.limit_price / price - 1) < Decimal("1e-15")


@pytest.mark.parametrize("kind", ["constant_product", "weighted", "stable", "concentrated"])
def test_limit_price_is_the_price_the_fill_ends_at(kind: str) -> None:
    arranged = exchange(MARKETS[kind])
    for gives, takes in arranged.directions:
        state = arranged.state()
        with localcontext(EXACT):
            start = state.price(gives, takes)
        fill = send(state, gives, takes, Decimal(1))
        with localcontext(EXACT):
            end = state.price(gives, takes)
        assert start is not None
        assert end is not None
        # The fee that stays in the pool moves its price on, if little.
        assert abs(fill.limit_price / end - 1) < abs(start / end - 1) / 100
        assert (fill.limit_price > start) == (arranged.base(gives, takes) == takes)


EXTREMES: dict[str, Market] = {
    "tiny": constant_product("0.000001", "0.000001"),
    "huge": constant_product("1e18", "1e18"),
    "apart": constant_product("0.000001", "1e18"),
    "weights_apart": weighted(["1", "1"], ["1000000", "0.001"]),
    "stable_apart": stable(["0.000001", "1e18", "1"], "5000"),
    "stable_loose": stable(["0.000001", "1e18"], "0.000001"),
    "concentrated_anywhere": concentrated("1e30", "1e18"),
}


@pytest.mark.parametrize("name", EXTREMES)
@pytest.mark.parametrize("exponent", [-18, -6, 0, 18, 59, 80])
def test_extremes_are_filled_or_refused_but_never_break(name: str, exponent: int) -> None:
    arranged = exchange(EXTREMES[name])
    for gives, takes in arranged.directions:
        state = arranged.state()
        with localcontext(EXACT):
            for fill in (
                state.send(gives, takes, Decimal(1).scaleb(exponent), USUAL),
                state.obtain(gives, takes, Decimal(1).scaleb(exponent), USUAL),
                state.send(takes, gives, Decimal(1).scaleb(exponent), USUAL),
            ):
                assert fill is None or all(value.is_finite() and value >= 0 for value in fill)
            assert state.rate(gives, takes).is_finite()
