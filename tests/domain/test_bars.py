import math
import random
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.bars import BAR_COLUMNS, Bar, Bars, Tick, aggregate

START = datetime(2025, 3, 1, 12, tzinfo=UTC)

ticks_of_one_second = st.lists(
    st.builds(
        lambda price, size, microseconds: Tick(
            "BTC-USD", price, size, START + timedelta(microseconds=microseconds), "kraken"
        ),
        st.floats(0.01, 1e6),
        st.floats(0, 1e6),
        st.integers(0, 20),
    ),
    min_size=3,
    max_size=12,
)


def bar(ticks: list[Tick]) -> Bar:
    (only,) = aggregate(ticks)
    return only


def assert_same(a: Bar, b: Bar) -> None:
    exact = ("instrument", "start", "open", "high", "low", "close", "count", "first_at", "last_at")
    assert [getattr(a, name) for name in exact] == [getattr(b, name) for name in exact]
    for name in ("volume", "notional", "price_sum"):
        assert getattr(a, name) == pytest.approx(getattr(b, name), rel=1e-12)


def ticks_at(*seconds: float, instrument: str = "BTC-USD") -> list[Tick]:
    return [Tick(instrument, 100.0 + s, 2.0, START + timedelta(seconds=s), "kraken") for s in seconds]


def test_aggregates_match_hand_computation() -> None:
    ticks = [
        Tick("BTC-USD", 100.0, 2.0, START + timedelta(milliseconds=100), "kraken"),
        Tick("BTC-USD", 103.0, 1.0, START + timedelta(milliseconds=300), "coinbase"),
        Tick("BTC-USD", 99.0, 4.0, START + timedelta(milliseconds=900), "kraken"),
        Tick("BTC-USD", 101.0, 1.0, START + timedelta(milliseconds=1000), "kraken"),
    ]
    first, second = aggregate(ticks)
    assert first == Bar(
        instrument="BTC-USD",
        start=START,
        open=100.0,
        high=103.0,
        low=99.0,
        close=99.0,
        volume=7.0,
        notional=699.0,
        count=3,
        first_at=ticks[0].at,
        last_at=ticks[2].at,
        price_sum=302.0,
    )
    assert (second.start, second.count) == (START + timedelta(seconds=1), 1)


@settings(deadline=None)
@given(ticks_of_one_second, st.randoms(use_true_random=False))
def test_shuffled_ticks_make_the_same_bar(ticks: list[Tick], shuffle: random.Random) -> None:
    shuffled = list(ticks)
    shuffle.shuffle(shuffled)
    assert aggregate(shuffled) == aggregate(ticks)


def test_rows_become_arrays_in_order_of_time() -> None:
    made = aggregate(ticks_at(0, 1, 2))
    rows = [tuple(getattr(one, column) for column in BAR_COLUMNS) for one in reversed(made)]
    bars = Bars.from_rows("BTC-USD", rows)
    assert bars.close.tolist() == [100.0, 101.0, 102.0]
    assert bars.start.tolist() == [START.timestamp() + second for second in range(3)]
    assert bars.last(2).close.tolist() == [101.0, 102.0]
    assert bars.between(START.timestamp() + 1, START.timestamp() + 2).close.tolist() == [101.0]
    assert len(Bars.from_rows("BTC-USD", [])) == 0


def test_a_short_silence_repeats_the_last_close_and_is_flagged() -> None:
    bars = Bars.from_bars("BTC-USD", aggregate(ticks_at(0, 1, 4)))
    window = bars.window(START + timedelta(seconds=7))
    assert window.close.tolist() == [100.0, 101.0, 101.0, 101.0, 104.0, 104.0, 104.0]
    assert window.is_gap_fill.tolist() == [False, False, True, True, False, True, True]
    assert window.volume.tolist() == [2.0, 2.0, 0.0, 0.0, 2.0, 0.0, 0.0]
    assert window.price_sum.tolist() == [100.0, 101.0, 0.0, 0.0, 104.0, 0.0, 0.0]
    assert window.open[2] == window.high[2] == window.low[2] == 101.0


@pytest.mark.parametrize(("silence", "length"), [(60, 62), (61, 1)])
def test_gaps_are_filled_for_sixty_seconds_and_no_longer(silence: int, length: int) -> None:
    bars = Bars.from_bars("BTC-USD", aggregate(ticks_at(0, silence + 1)))
    assert len(bars.window(START + timedelta(seconds=silence + 2))) == length


@pytest.mark.parametrize(("age", "length"), [(61, 61), (62, 0)])
def test_prices_grow_too_old_for_a_window(age: int, length: int) -> None:
    bars = Bars.from_bars("BTC-USD", aggregate(ticks_at(0)))
    assert len(bars.window(START + timedelta(seconds=age))) == length


def test_an_unfinished_bar_is_not_yet_known() -> None:
    bars = Bars.from_bars("BTC-USD", aggregate(ticks_at(0, 1, 2)))
    assert bars.window(START + timedelta(seconds=2.9)).close.tolist() == [100.0, 101.0]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 900), min_size=1, max_size=300, unique=True), st.integers(1, 1000))
def test_windows_are_regular_and_bounded(seconds: list[int], now: int) -> None:
    bars = Bars.from_bars("BTC-USD", aggregate(ticks_at(*seconds)))
    window = bars.window(START + timedelta(seconds=now))
    assert len(window) <= 300
    assert np.all(np.diff(window.start) == 1.0)
    if len(window):
        assert window.start[-1] == START.timestamp() + now - 1
    real = ~window.is_gap_fill
    assert set(window.start[real]) <= set(bars.start)
    assert math.fsum(window.volume[~real]) == 0.0


def test_what_was_filled_before_stays_flagged_when_more_is_filled() -> None:
    bars = Bars.from_bars("BTC-USD", aggregate(ticks_at(0, 2)))
    filled = bars.window(START + timedelta(seconds=4))
    again = filled.window(START + timedelta(seconds=5))
    assert filled.is_gap_fill.tolist() == [False, True, False, True]
    assert again.is_gap_fill.tolist() == [False, True, False, True, True]
    assert again.close.tolist() == bars.window(START + timedelta(seconds=5)).close.tolist()
