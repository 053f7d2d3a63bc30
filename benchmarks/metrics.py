"""The metrics of the two families: how long they take, and how far pandas' recomputation is from them."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from statistics import median
from time import perf_counter_ns
from typing import Any

import numpy as np

from app.domain.bars import BAR_COLUMNS, WINDOW, Bars, FloatArray
from app.domain.metrics.catalog import INDICATOR_NAMES, SECOND_NAMES
from app.domain.metrics.measuring import compute, history
from benchmarks.peers.pandas_metrics import frame_of, indicators_by_pandas, seconds_by_pandas
from benchmarks.peers.pandas_vector import has_pandas
from benchmarks.report import Row

DAY_S = 86_400
CHART_POINTS = 500
COMPARED = 40
REPEATS = 9
BEGIN = 1_740_787_200

ByPandas = Callable[[Any], dict[str, float]]


def make_bars(count: int, interval_s: int, silent: float = 0.05) -> Bars:
    """Make a random walk of which a share of the bars is missing."""
    random = np.random.default_rng(interval_s)
    close = 64_000 * np.exp(np.cumsum(random.normal(0, 1e-4, count)))
    open_ = np.append(close[:1], close[:-1])
    high = np.maximum(open_, close) * (1 + 1e-4 * random.random(count))
    low = np.minimum(open_, close) * (1 - 1e-4 * random.random(count))
    volume = random.exponential(3.0, count)
    ticks = random.integers(1, 11, count).astype(np.float64)
    start = BEGIN + interval_s * np.arange(count, dtype=np.float64)
    columns = (start, open_, high, low, close, volume, close * volume, ticks, close * ticks, start)
    kept = random.random(count) >= silent
    kept[0] = True
    named = {name: np.asarray(column[kept]) for name, column in zip(BAR_COLUMNS, columns, strict=True)}
    return Bars.from_columns("BTC-USD", named, interval_s)


def measure_metrics() -> list[Row]:
    """Measure both families over a history and over one window, against pandas where it is installed."""
    seconds, minutes = make_bars(DAY_S, 1), make_bars(2_000, 60, 0.0)
    every_second = seconds.start[WINDOW:] + 1
    chart = minutes.start[-CHART_POINTS:] + 60
    a_day = _milliseconds(lambda: history(seconds, every_second, SECOND_NAMES))
    charted = _milliseconds(lambda: history(minutes, chart, INDICATOR_NAMES))
    return [
        Row("all ts.*, every second of a day, µs a window", 1e3 * a_day / len(every_second), bar="≤ 3"),
        Row("all ta.*, 500 points of a chart, ms", charted, bar="≤ 300"),
        *_against_pandas("ts.*", seconds, every_second[-COMPARED:], SECOND_NAMES, seconds_by_pandas),
        *_against_pandas("ta.*", minutes, chart[-COMPARED:], INDICATOR_NAMES, indicators_by_pandas),
    ]


def _against_pandas(
    family: str, bars: Bars, as_ofs: FloatArray, names: Sequence[str], by_pandas: ByPandas
) -> list[Row]:
    windows = [bars.window(datetime.fromtimestamp(as_of, UTC)) for as_of in as_ofs]
    ours = _milliseconds(lambda: [compute(window, names) for window in windows]) / len(windows)
    if not has_pandas():
        return [Row(f"all {family} of one window, µs", 1e3 * ours)]
    theirs = _milliseconds(lambda: [by_pandas(frame_of(window)) for window in windows], repeats=3) / len(windows)
    farthest = max(_difference(compute(window, names), names, by_pandas(frame_of(window))) for window in windows)
    found = len(by_pandas(frame_of(windows[0])))
    what = f"all {len(names)} {family} of one window, µs; ratio: pandas computes {found} of them"
    return [
        Row(what, 1e3 * ours, theirs / ours),
        Row(f"{family}: pandas' time over ours", theirs / ours, bar="≥ 10"),
        Row(f"{family}: largest difference from pandas, relative", farthest, bar="≤ 1e-9"),
    ]


def _difference(values: FloatArray, names: Sequence[str], others: Mapping[str, float]) -> float:
    pairs = [(value, others[name]) for name, value in zip(names, values, strict=True) if name in others]
    return max(float(abs(value - other)) / max(1.0, abs(other)) for value, other in pairs)


def _milliseconds(call: Callable[[], object], repeats: int = REPEATS) -> float:
    call()
    times = []
    for _ in range(repeats):
        begun = perf_counter_ns()
        call()
        times.append(perf_counter_ns() - begun)
    return median(times) / 1e6
