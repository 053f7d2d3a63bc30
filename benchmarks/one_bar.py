"""What one new bar of many instruments costs: the whole vector, books and clock included."""

from collections.abc import Callable
from datetime import UTC, datetime
from statistics import median
from time import perf_counter

import numpy as np

from app.domain.bars import Bars, FloatArray
from app.domain.features.catalog import MARKET_NAMES
from app.domain.features.rows import bar_values
from app.domain.features.state import VectorState
from app.domain.features.vectors import history_vectors, market_vector
from benchmarks.peers.pandas_vector import frame, has_pandas, level_frame, recompute
from benchmarks.report import Row, judged

BARS_MS = {1: 0.1, 100: 1.0, 1_000: 5.0}
HELD, NEW = 300, 60
LEVELS = 20
BEGIN = 1_740_800_000.0


def _history(seed: int, length: int) -> Bars:
    random = np.random.default_rng(seed)
    close = 10.0 ** random.uniform(-4, 5) * np.exp(np.cumsum(random.normal(0, 1e-4, length)))
    open_ = np.concatenate((close[:1], close[:-1]))
    volume = random.exponential(3.0, length)
    start = BEGIN + np.arange(length, dtype=np.float64)
    count = np.asarray(1 + random.integers(0, 9, length), dtype=np.float64)
    return Bars(
        instrument=f"I{seed}-USD",
        interval_s=1,
        start=start,
        open=open_,
        high=np.maximum(open_, close) * (1 + 1e-4 * random.random(length)),
        low=np.minimum(open_, close) * (1 - 1e-4 * random.random(length)),
        close=close,
        volume=volume,
        notional=volume * close,
        count=count,
        price_sum=count * close,
        last_at=start + 0.9,
        is_gap_fill=np.zeros(length, dtype=np.bool_),
    )


def _levels(price: float, seed: int) -> FloatArray:
    random = np.random.default_rng(seed)
    offsets = np.cumsum(random.exponential(2e-5, (2, LEVELS)), axis=1)
    prices = np.concatenate((price * (1 - offsets[0]), price * (1 + offsets[1])))
    return np.stack((prices, random.exponential(2.0, 2 * LEVELS)), axis=1)


class _Desk:
    def __init__(self, count: int) -> None:
        self.count = count
        self.histories = [_history(seed, HELD + NEW) for seed in range(count)]
        self.state = VectorState()
        for bars in self.histories:
            self.state.load(bars.instrument, bars.last(HELD + NEW).between(0, BEGIN + HELD))
        self.slots = self.state.slots(bars.instrument for bars in self.histories)
        self.new = np.ascontiguousarray(np.stack([bar_values(bars)[HELD:] for bars in self.histories], axis=1))
        self.levels = np.concatenate([_levels(float(b.close[-1]), i) for i, b in enumerate(self.histories)])
        first = 2 * LEVELS * np.arange(count)
        self.bounds = np.stack((first, first + LEVELS, first + 2 * LEVELS), axis=1)
        self.counts = np.ones(count, dtype=np.int64)

    def as_of(self, bar: int) -> datetime:
        return datetime.fromtimestamp(BEGIN + HELD + bar + 1.01, UTC)

    def read_books(self) -> None:
        self.state.set_levels(self.slots, self.levels, self.bounds, self.counts)

    def add(self, bar: int) -> FloatArray:
        self.state.append(self.slots, self.new[bar])
        return self.state.vectors(self.as_of(bar))


def _timed(work: Callable[[], object]) -> float:
    begun = perf_counter()
    work()
    return perf_counter() - begun


def measure_one_bar() -> list[Row]:
    """Measure one new bar for 1, 100 and 1,000 instruments, and what the same costs with pandas."""
    desks = {count: _Desk(count) for count in BARS_MS}
    pandas_s = _pandas_seconds(desks[100]) if has_pandas() else None
    rows = []
    for count, desk in desks.items():
        spent = []
        for bar in range(NEW):
            spent.append(_timed(desk.read_books) + _timed(lambda desk=desk, bar=bar: desk.add(bar)))  # type: ignore[misc]
        typical = median(spent)
        ratio = None if pandas_s is None else pandas_s * count / typical
        name = f"one new bar and book, {count:,} instruments"
        rows.append(judged(Row(f"{name}: median ms", typical * 1e3, ratio, f"<= {BARS_MS[count]:g}")))
        rows.append(Row(f"{name}: least ms", min(spent) * 1e3))
        if ratio is not None:
            rows.append(judged(Row(f"{name}: times as fast as pandas", ratio, None, ">= 10")))
    return rows + _others(desks[100])


def _others(desk: _Desk) -> list[Row]:
    bars = _history(7, 3_600)
    moments = bars.start + 1.01
    history = min(_timed(lambda: history_vectors(bars, moments)) for _ in range(20)) / len(moments)
    window = bars.last(300)
    as_of = datetime.fromtimestamp(float(window.start[-1]) + 1.01, UTC)
    single = median(_timed(lambda: market_vector(window, [], as_of)) for _ in range(200))
    stored = [_history(seed, 600) for seed in range(100)]

    def rebuild() -> None:
        state = VectorState()
        for one in stored:
            state.load(one.instrument, one)
        state.vectors(datetime.fromtimestamp(BEGIN + 600, UTC))

    books = min(_timed(desk.read_books) for _ in range(50)) / desk.count
    return [
        Row("a vector of a history: least µs", history * 1e6),
        Row("a vector on its own from 300 bars: median µs", single * 1e6),
        Row("a book of 20 levels a side: least µs", books * 1e6),
        judged(Row("100 instruments of 600 bars rebuilt: s", min(_timed(rebuild) for _ in range(5)), None, "<= 1")),
    ]


def _pandas_seconds(desk: _Desk) -> float:
    spent, worst = [], 0.0
    desk.read_books()
    for i, bars in enumerate(desk.histories[:20]):
        held = bars.between(0, BEGIN + HELD)
        table = frame(held)
        levels = level_frame(desk.levels[2 * LEVELS * i : 2 * LEVELS * (i + 1)], LEVELS)
        as_of = datetime.fromtimestamp(BEGIN + HELD + 0.5, UTC)
        begun = perf_counter()
        values = recompute(table, levels, as_of.timestamp(), float(held.last_at[-1]))
        spent.append(perf_counter() - begun)
        ours = desk.state.vectors(as_of, desk.slots[i : i + 1])[0]
        for name, value in zip(MARKET_NAMES, ours.tolist(), strict=True):
            off = abs(values[name] - value) / max(1.0, abs(value))
            if not off <= 1e-6:
                raise SystemExit(f"pandas computes {name} = {values[name]}, and this {value}")
            worst = max(worst, off)
    print(f"pandas agrees on {len(MARKET_NAMES)} features to {worst:.1e}")
    return median(spent)
