"""Which markets and directions the solver gets to see."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import numpy as np
import pytest

from app.domain.market import ConstantProduct, Market, MarketStatus
from app.domain.solver.kinds.base import CAP, CAP_OUT, RATE, SEGMENT_FIELDS
from app.domain.solver.prepared import PreparedMarket, prepare
from app.domain.values import Asset
from tests.domain.solver.kinds.liquidity import (
    EXPIRY,
    A,
    B,
    C,
    book,
    concentrated,
    constant_product,
    exchange,
    rfq,
    stable,
    weighted,
)

BOTH = {(A, B), (B, A)}


def prepared(market: Market) -> PreparedMarket:
    ready = prepare(market)
    assert ready is not None
    return ready


@pytest.mark.parametrize(
    "market",
    [constant_product("1", "2"), weighted(["1", "2"], [1, 2]), stable(["1", "2"]), concentrated("2", "3")],
    ids=["constant_product", "weighted", "stable", "concentrated"],
)
def test_a_pool_of_two_goes_both_ways(market: Market) -> None:
    arranged = exchange(market)
    assert set(arranged.directions) == BOTH
    assert not arranged.shares
    assert arranged.fee_asset(A, B) == A
    for gives, takes in arranged.directions:
        edges = arranged.edges(gives, takes)
        assert edges.shape == (1, SEGMENT_FIELDS)
        assert edges.flags.c_contiguous


def test_a_pool_of_many_exchanges_every_pair_and_shares_its_reserves() -> None:
    for market in (weighted(["1", "2", "3"], [5, 1, 3]), stable(["1", "2", "3"])):
        arranged = exchange(market)
        assert len(arranged.directions) == len(set(arranged.directions)) == 6
        assert arranged.shares
        assert arranged.base(C, A) == arranged.base(A, C) == A


def test_weights_count_only_by_their_ratio() -> None:
    one, other = exchange(weighted(["1", "2"], ["0.8", "0.2"])), exchange(weighted(["1", "2"], ["40", "10"]))
    assert np.array_equal(one.edges(A, B), other.edges(A, B))


def test_a_rate_not_stated_is_one() -> None:
    plain, stated = stable(["5", "2", "3"], rates={B: Decimal("1.1")}), stable(["5", "2", "3"])
    stated = replace(stated, rates={A: Decimal(1), B: Decimal("1.1"), C: Decimal(1)})
    assert np.array_equal(exchange(plain).edges(B, C), exchange(stated).edges(B, C))


def test_a_rate_moves_the_price() -> None:
    arranged = exchange(stable(["100", "50"], "1000000", rates={B: Decimal(2)}))
    assert arranged.edges(A, B)[0, RATE] == pytest.approx(0.5, rel=1e-12)


def test_a_quote_goes_one_way_from_what_the_maker_takes() -> None:
    arranged = exchange(rfq("0.5", "100", fee_bps="10"))
    assert arranged.directions == ((A, B),)
    assert arranged.base(A, B) == B
    edges = arranged.edges(A, B)
    assert edges[0, RATE] == pytest.approx(1.998)
    assert edges[0, CAP_OUT] == 100
    assert edges[0, CAP] * edges[0, RATE] == pytest.approx(100)


def test_a_quote_expires() -> None:
    quote = prepared(rfq("0.5", "100"))
    assert quote.open_at(None)
    assert quote.open_at(EXPIRY - timedelta(microseconds=1))
    assert not quote.open_at(EXPIRY)
    assert prepared(constant_product("1", "2")).open_at(EXPIRY)


def test_a_halted_market_is_not_open() -> None:
    assert not prepared(book(bids=[("1", "1")], status=MarketStatus.HALTED)).open_at(None)


def test_a_book_offers_the_sides_that_hold_something() -> None:
    assert prepared(book()).exchange({}) is None
    assert exchange(book(bids=[("2", "1")])).directions == ((A, B),)
    assert exchange(book(asks=[("2", "1")])).directions == ((B, A),)
    assert prepared(book(asks=[("2", "1")], min_quantity="5")).exchange({}) is None
    two = exchange(book(bids=[("2", "1"), ("1", "4")], fee_bps="100"))
    assert two.edges(A, B)[:, [RATE, CAP, CAP_OUT]].tolist() == [[1.98, 1.0, 1.98], [0.99, 4.0, 3.96]]
    assert two.fee_asset(A, B) == B


def test_a_concentrated_pool_needs_both_decimals() -> None:
    market = prepared(concentrated("2", "3"))
    assert market.exchange({A: 18}) is None
    first, second = market.exchange({A: 18, B: 18}), market.exchange({A: 18, B: 6})
    assert first is not None
    assert first is market.exchange({A: 18, B: 18, C: 2})
    assert second is not first


def test_a_concentrated_pool_has_a_segment_for_every_range_with_liquidity() -> None:
    ticks = [(-300, "4"), (-200, "-4"), (-100, "5"), (100, "-5"), (200, "0.000001"), (300, "-0.000001")]
    arranged = exchange(concentrated("1", "5", ticks))
    assert len(arranged.edges(A, B)) == 2
    assert len(arranged.edges(B, A)) == 2
    assert exchange(concentrated("1", "0", [(100, "3"), (200, "-3")])).directions == ((B, A),)
    assert prepared(concentrated("1", "0")).exchange({A: 1, B: 1}) is None


def test_pools_that_hold_nothing_are_left_out() -> None:
    nothing: list[Market] = [
        replace(constant_product("1", "1"), reserves={A: Decimal(0), B: Decimal(1)}),
        replace(constant_product("1", "1"), fee_bps=Decimal(10_000)),
        replace(constant_product("1", "1"), reserves={A: Decimal("1e400"), B: Decimal(1)}),
        stable(["1", "0"]),
        stable(["1", "1"], "0"),
        stable(["1", "1"], rates={A: Decimal(0)}),
        weighted(["1", "1"], [1, 0]),
        weighted(["1", "0"], [1, 1]),
        replace(weighted(["1", "1"], [1, 1]), weights={A: Decimal(1)}),
        concentrated("2", "1e400"),
        concentrated("2", "1", [(100_000, "1e400")]),
        book(bids=[("1e400", "1")], asks=[("1e400", "1e-400")]),
        rfq("1e-400", "1"),
        rfq("0", "1"),
        rfq("1", "0"),
    ]
    assert [prepared(market).exchange({A: 18, B: 18}) for market in nothing] == [None] * len(nothing)


def test_a_weighted_pool_with_one_empty_reserve_exchanges_the_others() -> None:
    assert set(exchange(weighted(["1", "0", "5"], [1, 1, 2])).directions) == {(A, C), (C, A)}


def test_real_pools_with_long_addresses_and_odd_weights_are_arranged() -> None:
    dai, usdc, usdt = (Asset(f"0x{name * 40}") for name in "abc")
    pool = replace(
        stable(["1", "1", "1"], "588", fee_bps="4"),
        reserves={
            dai: Decimal("185227360.25436262246474558"),
            usdc: Decimal("265953765.068324"),
            usdt: Decimal("247741004.192076"),
        },
    )
    arranged = exchange(pool, {})
    assert 1.0 < arranged.edges(dai, usdc)[0, RATE] < 1.001
    odd = replace(
        weighted(["1", "1"], [1, 1], "25"),
        reserves={dai: Decimal("41.430653688822459027"), usdc: Decimal("2.757352582563314775")},
        weights={dai: Decimal(45), usdc: Decimal(5)},
    )
    rate = exchange(odd, {}).edges(dai, usdc)[0, RATE]
    assert rate == pytest.approx(0.9975 * 2.757352582563314775 / 41.430653688822459027 * 9)


def test_a_market_is_arranged_once() -> None:
    market = prepared(constant_product("1", "2"))
    assert market.exchange({}) is market.exchange({A: 3})


def test_a_constant_product_of_three_is_none() -> None:
    three = ConstantProduct(
        market_id=constant_product("1", "1").market_id,
        venue=constant_product("1", "1").venue,
        fee_bps=Decimal(0),
        reserves={A: Decimal(1), B: Decimal(1), C: Decimal(1)},
    )
    assert prepared(three).exchange({}) is None
    assert prepared(three).side(A, B, buys=True) is None
