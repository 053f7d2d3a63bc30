import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.bars import Bars, FloatArray
from app.domain.features.books import BOOK_NAMES, BOOK_VALUES, book_levels, book_values, usable_books
from app.domain.features.catalog import MARKET_INDEX
from app.domain.features.rows import bar_values
from app.domain.features.state import LOOKBACK, VectorState
from app.domain.features.vectors import history_vectors, market_vector
from app.domain.market import MarketStatus, OrderBook
from tests.domain.features.market import BEGIN, at, bars_at, book, gappy_bars, random_book, walk

NAME = "BTC-USD"


def up_to(bars: Bars, count: int) -> Bars:
    return bars.between(-math.inf, math.inf if count == len(bars) else float(bars.start[count]))


def slot(state: VectorState) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return state.slots([NAME])


@dataclass(frozen=True)
class Course:
    """How one instrument's bars arrive: how many are loaded, which come late, and when the process restarts."""

    length: int
    loaded: int
    seed: int
    silence: float
    late: frozenset[int]
    restarts: frozenset[int]


courses = st.builds(
    Course,
    length=st.integers(1, 500),
    loaded=st.integers(0, 320),
    seed=st.integers(0, 10_000),
    silence=st.sampled_from([0.0, 0.05, 0.4]),
    late=st.frozensets(st.integers(1, 500), max_size=5),
    restarts=st.frozensets(st.integers(1, 500), max_size=3),
)


@settings(max_examples=40, deadline=None)
@given(courses)
def test_one_bar_at_a_time_a_history_at_once_and_a_single_call_are_the_same_bits(course: Course) -> None:
    bars = gappy_bars(course.length, course.seed, silence=course.silence)
    random = np.random.default_rng(course.seed)
    loaded = min(course.loaded, course.length)
    state = VectorState()
    state.load(NAME, up_to(bars, loaded))
    numbers = bar_values(bars)
    known = [True] * loaded + [False] * (course.length - loaded)
    as_ofs: list[float] = []
    live: list[FloatArray] = []
    histories: list[Bars] = []
    for i in range(loaded, course.length):
        if i in course.late and i + 1 < course.length:
            continue
        known[i] = True
        accepted = state.append(slot(state), numbers[i : i + 1])
        assert accepted.all()
        if i - 1 in course.late and not known[i - 1]:
            assert not state.append(slot(state), numbers[i - 1 : i]).any()
            known[i - 1] = True
            state.load(NAME, _subset(bars, known, i))
        if i in course.restarts:
            state = VectorState()
            state.load(NAME, _subset(bars, known, i))
        moment = round(float(bars.start[i]) + 1 + random.exponential(3.0), 6)
        as_ofs.append(moment)
        live.append(state.vectors(at(moment - BEGIN))[0])
        histories.append(_subset(bars, known, i))
    for moment, vector, history in zip(as_ofs, live, histories, strict=True):
        assert vector.tobytes() == market_vector(history, [], at(moment - BEGIN)).tobytes()
    if all(known):
        moments = np.array(as_ofs)
        whole = history_vectors(bars, moments)
        for moment, vector in zip(as_ofs, whole, strict=True):
            assert vector.tobytes() == market_vector(bars, [], at(moment - BEGIN)).tobytes()


def _subset(bars: Bars, known: Sequence[bool], last: int) -> Bars:
    kept = [i for i in range(last + 1) if known[i]]
    rows = list(zip(*(column[kept].tolist() for column in _columns(bars)), strict=True))
    return Bars.from_rows(bars.instrument, rows)


def _columns(bars: Bars) -> tuple[FloatArray, ...]:
    return (
        bars.start,
        bars.open,
        bars.high,
        bars.low,
        bars.close,
        bars.volume,
        bars.notional,
        bars.count,
        bars.price_sum,
        bars.last_at,
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 700), st.integers(0, 10_000), st.floats(0, LOOKBACK))
def test_a_moment_a_little_back_is_answered_as_if_nothing_later_were_known(length: int, seed: int, back: float) -> None:
    bars = gappy_bars(length, seed)
    state = VectorState()
    state.load(NAME, bars)
    state.vectors(at(float(bars.start[-1]) - BEGIN + 500))
    moment = at(round(float(bars.start[-1]) - BEGIN + 1 - back, 6))
    assert state.vectors(moment)[0].tobytes() == market_vector(bars, [], moment).tobytes()


def test_a_moment_too_far_back_is_refused_instead_of_answered_from_half_a_window() -> None:
    state = VectorState()
    state.load(NAME, bars_at(np.arange(2_000), walk(2_000)))
    with pytest.raises(ValueError, match=r"BTC-USD no longer holds the bars before 2025-03-01T06:25:00Z"):
        state.vectors(at(1_500))
    with pytest.raises(ValueError, match="no longer holds"):
        state.vectors(at(20))
    assert math.isfinite(state.vectors(at(2_000))[0, MARKET_INDEX["realised_volatility_288"]])


@pytest.mark.parametrize("gap", [1, 2, 60, 61, 62, 500])
def test_silence_is_filled_up_to_a_minute_and_restarts_the_window_after(gap: int) -> None:
    seconds = np.concatenate((np.arange(100), 99 + gap + np.arange(30)))
    bars = bars_at(seconds, walk(130))
    state = VectorState()
    state.load(NAME, up_to(bars, 100))
    for row in bar_values(bars)[100:]:
        assert state.append(slot(state), row[None, :]).all()
    moment = at(float(seconds[-1]) + 1)
    vector = state.vectors(moment)[0]
    assert math.isnan(vector[MARKET_INDEX["log_return_60"]]) == (gap > 61)
    assert vector.tobytes() == market_vector(bars, [], moment).tobytes()


def test_the_trailing_silence_is_flagged_then_empties_the_window() -> None:
    state = VectorState()
    state.load(NAME, bars_at(np.arange(50), walk(50)))
    fresh, old, limit, lost = (state.vectors(at(50 + late))[0] for late in (0, 10, 60, 61))
    assert [vector[MARKET_INDEX["gap_flag"]] for vector in (fresh, old, limit, lost)] == [0.0, 1.0, 1.0, 1.0]
    assert [math.isnan(vector[MARKET_INDEX["log_return_1"]]) for vector in (fresh, old, limit, lost)] == [
        False,
        False,
        False,
        True,
    ]
    assert lost[MARKET_INDEX["quote_age"]] > 61


def test_a_repeated_or_older_bar_is_refused_and_changes_nothing() -> None:
    bars = bars_at(np.arange(100), walk(100))
    state = VectorState()
    state.load(NAME, bars)
    before = state.vectors(at(100)).tobytes()
    numbers = bar_values(bars)
    changed = numbers[[99, 50]] * 1.01
    changed[:, 0] = numbers[[99, 50], 0]
    assert not state.append(np.repeat(slot(state), 2), changed).any()
    assert state.vectors(at(100)).tobytes() == before


def test_many_instruments_of_different_pasts_keep_apart() -> None:
    state = VectorState()
    histories = {f"I{i}-USD": bars_at(np.arange(i * 40), walk(i * 40, i, 10.0**i), i) for i in range(12)}
    for name, bars in histories.items():
        state.load(name, bars)
        state.set_books(name, [])
    assert state.instruments == tuple(histories)
    together = state.vectors(at(440))
    for place, (name, bars) in enumerate(histories.items()):
        assert together[place].tobytes() == market_vector(bars, [], at(440)).tobytes(), name
    some = state.slots(["I7-USD", "I3-USD"])
    assert state.vectors(at(440), some).tobytes() == together[[7, 3]].tobytes()


def test_bars_of_other_lengths_follow_the_same_rules() -> None:
    made = bars_at(np.arange(400) * 60, walk(400))
    minutes = Bars.from_rows(NAME, list(zip(*(c.tolist() for c in _columns(made)), strict=True)), interval_s=60)
    state = VectorState(60)
    state.load(NAME, up_to(minutes, 300))
    for row in bar_values(minutes)[300:]:
        state.append(slot(state), row[None, :])
    moment = at(400 * 60 + 130)
    vector = state.vectors(moment)[0]
    assert vector.tobytes() == market_vector(minutes, [], moment).tobytes()
    assert math.isnan(vector[MARKET_INDEX["log_return_1"]])
    moment = at(400 * 60 + 119)
    vector = state.vectors(moment)[0]
    assert vector.tobytes() == market_vector(minutes, [], moment).tobytes()
    assert vector[MARKET_INDEX["gap_flag"]] == 1.0
    with pytest.raises(ValueError, match="bars of 60 s do not go with bars of 1 s"):
        VectorState().load(NAME, minutes)


def test_books_are_part_of_the_vector_until_they_are_replaced() -> None:
    bars = bars_at(np.arange(100), walk(100))
    venues = [random_book(1), random_book(2, "coinbase")]
    state = VectorState()
    state.load(NAME, bars)
    state.set_books(NAME, venues)
    assert state.vectors(at(100))[0].tobytes() == market_vector(bars, venues, at(100)).tobytes()
    state.load(NAME, bars)
    assert state.vectors(at(100))[0].tobytes() == market_vector(bars, venues, at(100)).tobytes()
    state.set_books(NAME, [book([("1", "1")], [("2", "1")], status=MarketStatus.HALTED)])
    assert state.vectors(at(100))[0].tobytes() == market_vector(bars, [], at(100)).tobytes()


def test_books_of_many_instruments_are_read_at_once() -> None:
    state = VectorState()
    books: list[list[OrderBook]] = [[random_book(1)], [], [random_book(2), random_book(3, "coinbase")]]
    for i in range(3):
        state.load(f"I{i}", bars_at(np.arange(2), walk(2)))
        state.set_books(f"I{i}", [])
    parts = [book_levels(some) for some in books if some]
    offsets = np.cumsum([0] + [len(levels) for levels, _ in parts])
    levels = np.concatenate([levels for levels, _ in parts])
    bounds = np.concatenate([bounds + offset for (_, bounds), offset in zip(parts, offsets[:-1], strict=True)])
    slots = state.slots(["I0", "I1", "I2"])
    state.set_levels(slots, levels, bounds, np.array([1, 0, 2]))
    places = [MARKET_INDEX[name] for name in BOOK_NAMES]
    for vector, some in zip(state.vectors(at(5)), books, strict=True):
        assert vector[places].tobytes() == book_values(some).tobytes()


def test_history_takes_the_books_of_each_moment() -> None:
    bars = bars_at(np.arange(400), walk(400))
    moments = BEGIN + np.array([10.0, 350.5, 399.0])
    books = [[random_book(seed)] for seed in range(3)]
    told = np.stack([book_values(usable_books(NAME, some)) for some in books])
    for moment, some, vector in zip(moments, books, history_vectors(bars, moments, told), strict=True):
        assert vector.tobytes() == market_vector(bars, some, at(moment - BEGIN)).tobytes()
    with pytest.raises(ValueError, match="a row of 7 for each of the 3 moments"):
        history_vectors(bars, moments, told[:2])


def test_what_does_not_fit_is_refused() -> None:
    state = VectorState()
    state.load(NAME, bars_at(np.arange(3), walk(3)))
    one = slot(state)
    with pytest.raises(ValueError, match="1 bars of 10 numbers"):
        state.append(one, np.zeros((2, 10)))
    with pytest.raises(ValueError, match="slots must lie below 1"):
        state.append(one + 1, np.zeros((1, 10)))
    with pytest.raises(ValueError, match="do not go with 0 bounds"):
        state.set_levels(one, np.zeros((2, 2)), np.zeros((0, 3), dtype=np.int64), np.array([1]))
    with pytest.raises(ValueError, match="a bid and an ask among the levels"):
        state.set_levels(one, np.ones((2, 2)), np.array([[0, 1, 5]]), np.array([1]))
    with pytest.raises(KeyError):
        state.slots(["ETH-USD"])


def test_nothing_held_is_nothing_told() -> None:
    state = VectorState()
    assert state.vectors(at(0)).shape[0] == 0
    state.load(NAME, Bars.empty(NAME))
    vector = state.vectors(at(0))[0]
    assert vector.tobytes() == market_vector(Bars.empty(NAME), [], at(0)).tobytes()
    assert len(BOOK_NAMES) == BOOK_VALUES
