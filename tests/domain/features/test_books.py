import math
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.bars import Bars
from app.domain.features.books import (
    BOOK_NAMES,
    BOOK_PLACES,
    book_levels,
    book_values,
    read_books,
    usable_books,
)
from app.domain.features.catalog import MARKET_FEATURES, MARKET_NAMES
from app.domain.features.vectors import market_vector
from app.domain.market import MarketStatus, OrderBook
from tests.domain.features.market import START, book, random_book

BOOK = book([("9999", "3"), ("9998", "1"), ("9980", "7")], [("10001", "1"), ("10004", "2"), ("10020", "9")])


def exactly(books: list[OrderBook]) -> dict[str, float]:
    """Compute by decimals what books hold."""
    best_bid = max(one.bids[0][0] for one in books)
    best_ask = min(one.asks[0][0] for one in books)
    mid = (best_bid + best_ask) / 2
    tops = [[sum(size for _, size in side[:5]) for side in (one.bids, one.asks)] for one in books]
    bid_1, ask_1 = (sum(side[0][1] for side in sides) for sides in zip(*((b.bids, b.asks) for b in books), strict=True))
    bid_5, ask_5 = (sum(side) for side in zip(*tops, strict=True))
    offset = slope = Decimal(0)
    for one, sizes in zip(books, tops, strict=True):
        (bid, bid_size), (ask, ask_size) = one.bids[0], one.asks[0]
        own = (bid + ask) / 2
        offset += ((bid * ask_size + ask * bid_size) / (bid_size + ask_size) / own - 1) * 10_000
        for side, size in zip((one.bids, one.asks), sizes, strict=True):
            slope += size / (abs(side[:5][-1][0] / own - 1) * 10_000)
    return {
        "relative_spread": float((best_ask - best_bid) / mid * 10_000),
        "imbalance_1": float((bid_1 - ask_1) / (bid_1 + ask_1)),
        "imbalance_5": float((bid_5 - ask_5) / (bid_5 + ask_5)),
        "microprice_offset": float(offset / len(books)),
        "depth_bid_10bp": float(sum(s for one in books for p, s in one.bids if p >= mid * Decimal("0.999"))),
        "depth_ask_10bp": float(sum(s for one in books for p, s in one.asks if p <= mid * Decimal("1.001"))),
        "book_slope": float(slope / (2 * len(books))),
    }


def book_features(books: list[OrderBook]) -> dict[str, float]:
    named = zip(BOOK_NAMES, book_values(books).tolist(), strict=True)
    return {name: value for name, value in named if not math.isnan(value)}


def test_the_book_features_are_those_of_the_catalog() -> None:
    assert sorted(BOOK_NAMES) == sorted(one.name for one in MARKET_FEATURES if one.group == "book")
    assert [MARKET_NAMES[place] for place in BOOK_PLACES] == list(BOOK_NAMES)


def test_books_match_hand_computation() -> None:
    expected = {
        "relative_spread": 2.0,
        "imbalance_1": 0.5,
        "imbalance_5": -1 / 23,
        "microprice_offset": ((9999 * 1 + 10001 * 3) / 4 / 10000 - 1) * 1e4,
        "depth_bid_10bp": 4.0,
        "depth_ask_10bp": 3.0,
        "book_slope": (11 / 20 + 12 / 20) / 2,
    }
    assert book_features([BOOK]) == pytest.approx(expected)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 100_000), min_size=1, max_size=4, unique=True))
def test_books_match_exact_arithmetic(seeds: list[int]) -> None:
    books = [random_book(seed, f"venue{seed}") for seed in seeds]
    assert book_features(books) == pytest.approx(exactly(books), rel=1e-9, abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 100_000), min_size=1, max_size=3, unique=True))
def test_levels_that_no_feature_looks_at_change_nothing(seeds: list[int]) -> None:
    books = [random_book(seed) for seed in seeds]
    everything = [[(float(p), float(s)) for side in (one.bids, one.asks) for p, s in side] for one in books]
    firsts = np.cumsum([0] + [len(levels) for levels in everything])
    bounds = [(first, first + len(one.bids), stop) for first, one, stop in zip(firsts, books, firsts[1:], strict=False)]
    out = np.full(len(BOOK_NAMES), math.nan)
    read_books(np.array([level for levels in everything for level in levels]), np.array(bounds), out)
    assert out.tobytes() == book_values(books).tobytes()
    assert len(book_levels(books)[0]) <= sum(map(len, everything))


@pytest.mark.parametrize("tick", ["0.1", "0.3", "0.0007", "123.45"])
def test_a_level_exactly_ten_basis_points_away_is_within_them(tick: str) -> None:
    mid = Decimal(tick) * 1000
    bids = [(str(mid - Decimal(tick) * step), "1") for step in (Decimal("0.5"), 1, Decimal("1.001"))]
    asks = [(str(mid + Decimal(tick) * step), "1") for step in (Decimal("0.5"), 1, Decimal("1.001"))]
    found = book_features([book(bids, asks)])
    assert found["depth_bid_10bp"] == found["depth_ask_10bp"] == 2.0


def test_books_without_size_have_no_imbalance() -> None:
    found = book_features([book([("99", "0")], [("101", "0")])])
    assert "imbalance_1" not in found
    assert "imbalance_5" not in found
    assert found["microprice_offset"] == found["book_slope"] == 0.0


def test_crossed_venues_have_a_negative_spread_and_keep_their_depth() -> None:
    books = [
        book([("10100", "1"), ("9999", "2")], [("10101", "1")]),
        book([("9900", "1")], [("9901", "4")], "coinbase"),
    ]
    assert book_features(books) == pytest.approx(exactly(books))
    assert book_features(books)["relative_spread"] < 0


def test_books_of_all_venues_count_and_unusable_ones_do_not() -> None:
    other = book([("9990", "5")], [("10000.5", "6")], venue="coinbase")
    halted = book([("9999.9", "50")], [("10000", "60")], venue="bitstamp", status=MarketStatus.HALTED)
    one_sided = book([("9999.9", "50")], [], venue="gemini")
    usable = usable_books("BTC-USD", [BOOK, other, halted, one_sided])
    assert usable == [BOOK, other]
    vector = market_vector(Bars.empty("BTC-USD"), [BOOK, other, halted, one_sided], START)
    assert vector[BOOK_PLACES].tobytes() == book_values(usable).tobytes()
    assert book_features(usable)["relative_spread"] == pytest.approx(1.5 / 9999.75 * 1e4)
    assert book_features(usable)["imbalance_1"] == pytest.approx((8 - 7) / 15)
    assert np.isnan(market_vector(Bars.empty("ETH-USD"), [BOOK], START)[BOOK_PLACES]).all()
    assert book_features([]) == {}
