"""Metrics of a window, and of every window of a history: the same function, and so the same bits."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from app.domain.bars import Bars, FloatArray
from app.domain.metrics.catalog import METRIC_BY_NAME, SECOND_NAMES
from app.domain.metrics.indicators import INDICATOR_INDEX, Indicators
from app.domain.metrics.plugins import NO_PLUGINS, PLUGIN_NAME, Plugins
from app.domain.metrics.seconds import RESULTS, measure_seconds
from app.domain.metrics.windows import Windows

_SECOND_INDEX = {name: index for index, name in enumerate(SECOND_NAMES)}


class _Plan:
    def __init__(self, names: tuple[str, ...]) -> None:
        places = list(enumerate(names))
        self.seconds_to = [place for place, name in places if name in _SECOND_INDEX]
        self.seconds_from = [_SECOND_INDEX[name] for name in names if name in _SECOND_INDEX]
        self.indicators_to = [place for place, name in places if name in INDICATOR_INDEX]
        self.indicators_from = [INDICATOR_INDEX[name] for name in names if name in INDICATOR_INDEX]
        self.indicators = Indicators(names)
        self.added = [(place, name) for place, name in places if name not in METRIC_BY_NAME]
        wrong = [name for _, name in self.added if not PLUGIN_NAME.fullmatch(name)]
        if wrong:
            raise ValueError(f"there is no metric {', '.join(wrong)}")


_plan = lru_cache(maxsize=256)(_Plan)


def compute(window: Bars, names: Sequence[str], plugins: Plugins = NO_PLUGINS) -> FloatArray:
    """Measure one window, as `Bars.window` cuts it; NaN where a metric has no value there.

    The `ts.*` metrics mean windows of one-second bars. Raises ValueError for a name of no metric;
    a plug-in that is not at hand has no value.
    """
    return measure(Windows.of(window), names, plugins).reshape(-1)


def history(bars: Bars, as_ofs: FloatArray, names: Sequence[str], plugins: Plugins = NO_PLUGINS) -> FloatArray:
    """Measure the window of each moment (seconds since 1970): a row per moment, a column per name."""
    return measure(Windows.cut(bars, as_ofs), names, plugins)


def unknown(names: Sequence[str], plugins: Plugins = NO_PLUGINS) -> list[str]:
    """Return the names that are of no metric."""
    return [name for name in names if name not in METRIC_BY_NAME and name not in plugins]


def measure(windows: Windows, names: Sequence[str], plugins: Plugins = NO_PLUGINS) -> FloatArray:
    """Measure windows: a row each, a column per name."""
    plan = _plan(tuple(names))
    values = np.full((len(windows), len(names)), np.nan)
    if plan.seconds_to:
        bars = windows.bars
        rows = np.empty((len(windows), RESULTS))
        measure_seconds(
            bars.close,
            bars.price_sum,
            bars.count,
            bars.volume,
            bars.notional,
            bars.is_gap_fill,
            windows.first,
            windows.stop,
            rows,
        )
        values[:, plan.seconds_to] = rows[:, plan.seconds_from]
    if plan.indicators_to:
        for index in range(len(windows)):
            values[index, plan.indicators_to] = plan.indicators.measure(windows.prices(index))[plan.indicators_from]
    for place, name in plan.added:
        for index in range(len(windows)):
            values[index, place] = plugins.measure(name, windows.whole(index))
    return values
