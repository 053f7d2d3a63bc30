"""Fills reckoned in whole units are those of the market's state."""

from decimal import Decimal, localcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.market import Market, OrderBook
from app.domain.solver.exact import EXACT, down
from app.domain.solver.sides import Units
from app.domain.values import Asset
from tests.domain.solver.kinds.liquidity import (
    USUAL,
    A,
    B,
    book,
    concentrated,
    constant_product,
    constant_products,
    exchange,
    rfq,
    share,
    stable,
    weighted,
    weighted_pools,
)

BRIEF = settings(max_examples=80, deadline=None)
LAST_DIGIT = Decimal("1e-16")
COARSE = Units(Decimal("1e-6"), Decimal("1e-2"))

units = st.sampled_from([USUAL, COARSE, Units(COARSE.taken, COARSE.given)])


def agree(market: Market, gives: Asset, takes: Asset, amount: Decimal, units: Units) -> None:
    """Compare one fill of a direction, where it can be reckoned so at all."""
    decimals = {gives: -units.given.adjusted(), takes: -units.taken.adjusted()}
    arranged = exchange(market, decimals)
    with localcontext(EXACT):
        whole = arranged.whole(gives, takes, units)
        filled = None if whole is None else whole.send(int(down(amount, units.given) / units.given))
        if whole is not None and filled is not None:
            fill, expected = whole.fill(*filled), arranged.state().send(gives, takes, amount, units)
            assert expected is not None
            # Either rounds its worst price so that it is never better: the last of 17 digits may differ.
            assert abs(fill.limit_price - expected.limit_price) <= expected.limit_price * LAST_DIGIT
            assert fill._replace(limit_price=expected.limit_price) == expected


@st.composite
def books(draw: st.DrawFn) -> OrderBook:
    """Draw both sides of a book without lots."""
    sizes = st.decimals("0.01", "100", places=4)
    steps = draw(st.lists(st.tuples(st.decimals("0.001", "1", places=3), sizes), min_size=2, max_size=12))
    middle = len(steps) // 2
    bids, asks = steps[:middle], steps[middle:]
    return book(
        [(str(20 - sum(step for step, _ in bids[: k + 1])), str(size)) for k, (_, size) in enumerate(bids)],
        [(str(20 + sum(step for step, _ in asks[: k + 1])), str(size)) for k, (_, size) in enumerate(asks)],
        fee_bps=draw(st.sampled_from(["0", "1.5", "30"])),
    )


@BRIEF
@given(constant_products(), share, units)
def test_of_a_constant_product(market: Market, part: Decimal, units: Units) -> None:
    agree(market, A, B, part, units)
    agree(market, B, A, part * 1000, units)


@BRIEF
@given(weighted_pools(), share, units)
def test_of_a_weighted_pool(market: Market, part: Decimal, units: Units) -> None:
    agree(market, A, B, part, units)
    agree(market, B, A, part * 1000, units)


@BRIEF
@given(st.sampled_from([("1", "4"), ("4", "1"), ("0.2", "0.8"), ("3", "2"), ("1", "16")]), share, units)
def test_of_a_weighted_pool_whose_power_is_of_small_integers(
    weights: tuple[str, str], part: Decimal, units: Units
) -> None:
    agree(weighted(["1234.5", "987654.32"], weights, "30"), A, B, part * 1000, units)


@BRIEF
@given(books(), st.decimals("0.000001", "3000", places=6), units)
def test_of_a_book(market: OrderBook, amount: Decimal, units: Units) -> None:
    if market.bids:
        agree(market, A, B, amount, units)
    agree(market, B, A, amount, units)


@pytest.mark.parametrize(
    "market",
    [
        stable(["100", "100"]),
        concentrated("1", "100"),
        weighted(["100", "100"], ["1", "3"]),
        book(bids=[("20", "1")], lot="0.1"),
        book(bids=[("20", "1")], min_quantity="0.1"),
    ],
    ids=["stable", "concentrated", "cube roots", "lots", "minimums"],
)
def test_is_left_to_the_state_where_it_is_no_matter_of_integers(market: Market) -> None:
    assert exchange(market).whole(A, B, USUAL) is None


def test_is_left_to_the_state_for_a_quote() -> None:
    assert exchange(rfq("20", "1")).whole(B, A, USUAL) is None


def test_an_amount_too_small_to_bring_anything_is_left_to_the_state() -> None:
    whole = exchange(constant_product("1000000", "1"), {A: 18, B: 2}).whole(A, B, Units(USUAL.given, Decimal("1e-2")))
    assert whole is not None
    assert whole.send(1) is None
