from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.bars import BAR_COLUMNS, FILL_LIMIT_S, WINDOW, Bars, FloatArray, Tick, aggregate
from app.domain.known_bars import TICK_COLUMNS, KnownBars, Ranges, add_up, as_known, joined, read_by

START = datetime(2026, 1, 5, 12, tzinfo=UTC)
BEGIN = START.timestamp()
Seen = tuple[float, float, float, float]
"""Offset, price, size, and when it was known."""

ticks_seen = st.lists(
    st.tuples(
        st.integers(0, 40).map(lambda quarter: quarter / 4),
        st.integers(1, 50).map(float),
        st.sampled_from([0.1, 0.2, 0.3, 1.0]),
        st.integers(0, 20).map(float),
    ),
    max_size=40,
)


def table(ticks: list[Seen]) -> FloatArray:
    rows = sorted((BEGIN + at, price, size, BEGIN + known) for at, price, size, known in ticks)
    return np.array(rows).reshape(-1, len(TICK_COLUMNS))


def aggregated(ticks: list[Seen], interval_s: int) -> Bars:
    return Bars.from_bars(
        "A-B",
        aggregate(
            [Tick("A-B", price, size, START + timedelta(seconds=at), "s") for at, price, size, _ in ticks], interval_s
        ),
        interval_s,
    )


def same(left: Bars, right: Bars) -> bool:
    return all(np.array_equal(getattr(left, name), getattr(right, name)) for name in BAR_COLUMNS)


@given(ticks=ticks_seen, interval_s=st.sampled_from([1, 5]))
def test_ticks_add_up_as_they_do_elsewhere(ticks: list[Seen], interval_s: int) -> None:
    assert same(add_up("A-B", table(ticks), interval_s).bars, aggregated(ticks, interval_s))


@given(ticks=ticks_seen, as_of=st.integers(0, 20))
def test_what_was_known_is_what_the_ticks_known_then_add_up_to(ticks: list[Seen], as_of: int) -> None:
    stored = add_up("A-B", table(ticks), 1)
    then = [tick for tick in ticks if tick[3] <= as_of]
    found = as_known(stored, add_up("A-B", table(then), 1), BEGIN + as_of)
    assert same(found.bars, aggregated(then, 1))
    assert (found.known_at <= BEGIN + as_of).all()


def test_bar_whose_ticks_are_gone_stands_for_itself_unless_it_changed_since() -> None:
    stored = add_up("A-B", table([(0, 1, 1, 0), (1, 2, 1, 9), (2, 3, 1, 3)]), 1)
    left = add_up("A-B", table([(2, 3, 1, 3)]), 1)
    found = as_known(stored, left, BEGIN + 5)
    assert found.bars.start.tolist() == [BEGIN, BEGIN + 2]


def test_imported_bar_counts_no_ticks_and_stands() -> None:
    rows = add_up("A-B", table([(0, 1, 1, 0)]), 1).table
    rows[:, BAR_COLUMNS.index("count")] = 0
    none = add_up("A-B", table([]), 1)
    assert len(as_known(KnownBars.from_table("A-B", rows, 1), none, BEGIN).bars) == 1


@given(
    starts=st.lists(st.integers(0, 3000), min_size=1, max_size=60, unique=True),
    moments=st.lists(st.integers(0, 3600), min_size=1, max_size=5, unique=True),
    interval_s=st.sampled_from([1, 7, 60]),
)
def test_what_windows_read_is_enough_for_them(starts: list[int], moments: list[int], interval_s: int) -> None:
    grid = BEGIN // interval_s * interval_s
    rows = [(grid + s * interval_s, 1.0 + s, 1.0 + s, 1.0, 1.0 + s, 1.0, 1.0, 1, 1.0, grid + s) for s in sorted(starts)]
    bars = Bars.from_rows("A-B", rows, interval_s)
    ends = np.array(sorted(grid + moment * interval_s for moment in moments))
    ranges = read_by(ends, interval_s)
    read = joined(
        "A-B",
        interval_s,
        [
            KnownBars.from_table(
                "A-B", np.array([[*row, 0.0] for row in rows if begin <= row[0] < end]).reshape(-1, 11), interval_s
            )
            for begin, end in zip(ranges.begins, ranges.ends, strict=True)
        ],
    ).bars
    for end in ends.tolist():
        moment = datetime.fromtimestamp(end, UTC)
        assert same(read.window(moment), bars.window(moment))


@given(
    lengths=st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), min_size=1, max_size=8),
    step=st.integers(1, 60),
)
def test_parts_of_ranges_put_together_are_the_ranges(lengths: list[tuple[int, int]], step: int) -> None:
    bounds = np.cumsum(np.array(lengths).ravel()).astype(float)
    rest = whole = Ranges(bounds[::2], bounds[1::2])
    begins, ends = [], []
    while len(rest.begins):
        part, rest = rest.parts(float(step))
        assert 0 < part.seconds <= step
        begins.append(part.begins)
        ends.append(part.ends)
    again = Ranges.joined(np.concatenate(begins), np.concatenate(ends))
    assert np.array_equal(again.begins, whole.begins)
    assert np.array_equal(again.ends, whole.ends)


@pytest.mark.parametrize("interval_s", [1, 60])
def test_moments_close_together_share_what_they_read(interval_s: int) -> None:
    moments = BEGIN + interval_s * np.arange(1000.0)
    ranges = read_by(moments, interval_s)
    assert len(ranges.begins) == 1
    assert ranges.seconds <= (1000 + WINDOW + 1) * interval_s + FILL_LIMIT_S + interval_s
