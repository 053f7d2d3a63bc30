"""The float curves against the exact ones, and the bounds they give."""

import math
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.market import Concentrated, Market, Stable, Weighted
from app.domain.solver.exact import EXACT
from app.domain.solver.kinds.base import (
    CAP,
    CAP_OUT,
    DEPTH_IN,
    DEPTH_OUT,
    LINEAR,
    RATE,
    SHAPE,
    STABLE,
    Floats,
)
from app.domain.solver.kinds.segments import conjugate, evaluate, required
from app.domain.solver.sides import Fill
from app.domain.values import Asset
from tests.domain.solver.kinds.liquidity import (
    FINE,
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

MARKETS: dict[str, Market] = {
    "constant_product": constant_product("1000", "3", fee_bps="30"),
    "weighted": weighted(["1000", "3", "50"], ["4.2", "1", "0.5"], fee_bps="30"),
    "stable": stable(["1000", "900", "1500"], "200", {C: Decimal("1.02")}, fee_bps="4"),
    "stable_far_off": stable(["0.001", "900", "1500000"], "2000", fee_bps="4"),
    "stable_loose": stable(["1000", "900"], "0.001"),
    "concentrated": concentrated("2", "500", [(0, "300"), (5000, "200"), (7000, "100"), (9000, "-600")], "5"),
    "rfq": rfq("0.5", "100000", fee_bps="3"),
    "order_book": book(bids=[("0.5", "9"), ("0.4", "900")], asks=[("0.6", "10"), ("0.7", "20")], fee_bps="10"),
}


def run(segments: Floats, amount: float) -> float:
    """What a run of segments brings."""
    out = 0.0
    for i in range(len(segments)):
        part = min(amount, segments[i, CAP])
        out += evaluate(segments, i, part)[0]
        amount -= part
        if amount <= 0.0:
            break
    return out


def fill_of(market: Market, gives: Asset, takes: Asset, amount: Decimal) -> Fill:
    with localcontext(EXACT):
        fill = exchange(market).state().send(gives, takes, amount, FINE)
    assert fill is not None
    return fill


def received(market: Market, gives: Asset, takes: Asset, amount: Decimal) -> Decimal:
    return fill_of(market, gives, takes, amount).receives


def assert_same(market: Market, gives: Asset, takes: Asset, amount: float) -> None:
    fill = fill_of(market, gives, takes, Decimal(amount))
    out = run(exchange(market).edges(gives, takes), float(fill.sends))
    assert abs(Fraction(out) - Fraction(fill.receives)) <= Fraction(fill.receives) / 10**12 + Fraction(2, 10**40)


any_pool = st.one_of(constant_products(), weighted_pools(), stable_pools())


@settings(max_examples=150, deadline=None)
@given(any_pool, share)
def test_pools_agree_with_their_exact_fills(pool: Weighted | Stable, part: Decimal) -> None:
    assert_same(pool, A, B, float(pool.reserves[A] * part))


@settings(max_examples=60, deadline=None)
@given(concentrated_pools(), st.booleans(), share)
def test_ranges_agree_with_their_exact_fills(pool: Concentrated, falls: bool, part: Decimal) -> None:
    gives, takes = (A, B) if falls else (B, A)
    assert_same(pool, gives, takes, float(pool.liquidity * part))


@pytest.mark.parametrize("kind", MARKETS)
@pytest.mark.parametrize("amount", [1e-6, 0.1, 3.0, 60.0, 2000.0])
def test_every_kind_agrees_with_its_exact_fills(kind: str, amount: float) -> None:
    for gives, takes in exchange(MARKETS[kind]).directions:
        assert_same(MARKETS[kind], gives, takes, amount)


@pytest.mark.parametrize("kind", MARKETS)
def test_rate_and_curvature_are_derivatives(kind: str) -> None:
    market = MARKETS[kind]
    for gives, takes in exchange(market).directions:
        segments = exchange(market).edges(gives, takes)
        for amount in (0.01, 1.0, 5.0):
            reach = amount
            at = 0
            while reach >= segments[at, CAP]:
                reach -= segments[at, CAP]
                at += 1
            _, rate, curvature = evaluate(segments, at, reach)
            middle = Decimal(amount)
            step = middle * Decimal("1e-6")
            with localcontext(EXACT):
                below, here, above = (
                    received(market, gives, takes, sends) for sends in (middle - step, middle, middle + step)
                )
                slope = (above - below) / (2 * step)
                bend = (above - 2 * here + below) / (step * step)
            assert rate == pytest.approx(float(slope), rel=1e-9)
            assert curvature == pytest.approx(float(bend), rel=1e-8, abs=1e-20)
            assert curvature <= 0.0


@pytest.mark.parametrize("kind", MARKETS)
def test_segments_go_from_best_to_worst_and_meet(kind: str) -> None:
    for gives, takes in exchange(MARKETS[kind]).directions:
        segments = exchange(MARKETS[kind]).edges(gives, takes)
        for i in range(len(segments)):
            assert evaluate(segments, i, 0.0)[1] == pytest.approx(segments[i, RATE], rel=1e-14)
            if math.isfinite(segments[i, CAP]):
                out, rate, _ = evaluate(segments, i, segments[i, CAP])
                assert out == pytest.approx(segments[i, CAP_OUT], rel=1e-13)
                if i + 1 < len(segments):
                    assert segments[i + 1, RATE] <= rate * (1 + 1e-13)


@pytest.mark.parametrize("kind", MARKETS)
def test_required_undoes_evaluate(kind: str) -> None:
    for gives, takes in exchange(MARKETS[kind]).directions:
        segments = exchange(MARKETS[kind]).edges(gives, takes)
        for i in range(len(segments)):
            for part in (1e-12, 1e-3, 0.3, 0.9):
                out = part * segments[i, CAP_OUT]
                amount = required(segments, i, out)
                assert evaluate(segments, i, amount)[0] == pytest.approx(out, rel=1e-12)
            assert required(segments, i, segments[i, CAP_OUT] * 1.001) == math.inf


def exact_profit(segments: Floats, i: int, amount: float, price_in: float, price_out: float) -> Fraction:
    return Fraction(evaluate(segments, i, amount)[0]) * Fraction(price_out) - Fraction(amount) * Fraction(price_in)


@pytest.mark.parametrize("kind", MARKETS)
@pytest.mark.parametrize("advantage", [0.5, 1.0, 1.0 + 1e-13, 1.0 + 1e-9, 1.00001, 1.003, 1.2, 7.0, 1e6, 1e40])
def test_conjugate_bounds_every_amount_and_is_reached(kind: str, advantage: float) -> None:
    generator = np.random.default_rng(5)
    for gives, takes in exchange(MARKETS[kind]).directions:
        segments = exchange(MARKETS[kind]).edges(gives, takes)
        for i in range(len(segments)):
            price_in = 3.7
            price_out = price_in * advantage / segments[i, RATE]
            bound, amount = conjugate(segments, i, price_in, price_out)
            assert 0.0 <= amount <= segments[i, CAP]
            reached = exact_profit(segments, i, amount, price_in, price_out)
            taken = segments[i, CAP] if segments[i, SHAPE] == LINEAR else amount
            turnover = Fraction(evaluate(segments, i, taken)[0]) * Fraction(price_out)
            assert Fraction(bound) - reached <= turnover / 10**12 + Fraction(1, 10**30)
            top = min(segments[i, CAP], segments[i, DEPTH_IN] * 1e3)
            around = amount * (1 + generator.normal(0, 1e-5, 20))
            for other in (*around, *(top * generator.random(20)), *(top * 10 ** generator.uniform(-12, 0, 20))):
                tried = float(min(max(other, 0.0), segments[i, CAP]))
                assert exact_profit(segments, i, tried, price_in, price_out) <= Fraction(bound)


@settings(max_examples=300, deadline=None)
@given(any_pool, st.floats(-12, 30), st.floats(-9, 3))
def test_conjugate_is_tight_and_holds_for_exact_fills(pool: Weighted | Stable, advantage: float, place: float) -> None:
    segments = exchange(pool).edges(A, B)
    price_out = math.exp(advantage) / segments[0, RATE]
    bound, amount = conjugate(segments, 0, 1.0, price_out)
    profit = price_out * evaluate(segments, 0, amount)[0] - amount
    assert profit <= bound
    assert bound - profit <= 1e-12 * price_out * evaluate(segments, 0, amount)[0]
    tried = 10.0**place * segments[0, DEPTH_IN]
    with localcontext(EXACT):
        fill = exchange(pool).state().send(A, B, Decimal(tried), FINE)
        if fill is not None:
            assert fill.receives * Decimal(price_out) - fill.sends <= Decimal(bound) * (1 + Decimal("1e-12"))


def test_conjugate_without_a_price_in_takes_all_there_is() -> None:
    segments = exchange(MARKETS["stable"]).edges(A, B)
    bound, amount = conjugate(segments, 0, 0.0, 2.0)
    assert bound == 2.0 * segments[0, CAP_OUT]
    assert amount == math.inf
    assert conjugate(segments, 0, 1.0, 0.0) == (0.0, 0.0)


@pytest.mark.parametrize("kind", MARKETS)
def test_units_scale_a_segment(kind: str) -> None:
    unit_in, unit_out = 2.0**7, 2.0**-5
    for gives, takes in exchange(MARKETS[kind]).directions:
        segments = exchange(MARKETS[kind]).edges(gives, takes)
        scaled = segments.copy()
        scaled[:, [DEPTH_IN, CAP]] *= unit_in
        scaled[:, [DEPTH_OUT, CAP_OUT]] *= unit_out
        scaled[:, RATE] *= unit_out / unit_in
        for i in range(len(segments)):
            amount = 0.3 * min(segments[i, DEPTH_IN], segments[i, CAP])
            out, rate, curvature = evaluate(segments, i, amount)
            again = evaluate(scaled, i, amount * unit_in)
            assert again == pytest.approx(
                (out * unit_out, rate * unit_out / unit_in, curvature * unit_out / unit_in**2)
            )


@pytest.mark.parametrize("size", [-6, 0, 6, 18])
def test_stable_curves_stay_finite_at_any_size(size: int) -> None:
    pool = stable([Decimal(1).scaleb(size), Decimal(2).scaleb(size), Decimal(1).scaleb(12 - size)], "100")
    for gives, takes in exchange(pool).directions:
        segments = exchange(pool).edges(gives, takes)
        assert segments[0, SHAPE] == STABLE
        for part in (0.0, 1e-18, 1e-9, 1.0, 1e9, 1e18):
            out, rate, curvature = evaluate(segments, 0, part * segments[0, DEPTH_IN])
            assert 0.0 <= out <= segments[0, CAP_OUT] * (1 + 1e-14)
            assert rate > 0.0
            assert curvature <= 0.0
