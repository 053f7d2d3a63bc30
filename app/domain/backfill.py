"""One part of a backfill: the moments of one instrument and day, from bars and samples alone.

Nothing here knows where bars come from or where rows go to, so that any engine may compute the parts, in any order.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.domain.bars import Bars, FloatArray, IntArray
from app.domain.features.books import BOOK_VALUES, FRESH_S
from app.domain.features.outcomes import outcomes_after
from app.domain.features.vectors import history_vectors
from app.domain.metrics.measuring import history
from app.domain.metrics.plugins import NO_PLUGINS, Plugins
from app.domain.metrics.windows import Windows
from app.domain.moments import moments

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """Everything one part may depend on; times are seconds since 1970.

    `known_s` says of each bar when it was last changed. `closed_s` is up to where time has passed.
    """

    bars: Bars
    known_s: FloatArray
    closed_s: float
    sampled_s: FloatArray
    samples_known_s: FloatArray
    samples: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Versions:
    """Values of moments, and when each was known: no sooner than its moment, nor than any of its inputs."""

    event_s: FloatArray
    known_s: FloatArray
    values: FloatArray


def day_moments(starts: FloatArray, interval_s: int, every_s: int, begin_s: float, end_s: float) -> FloatArray:
    """List the moments of a day that begins at `begin_s`: those whose latest bar starts in [begin_s, end_s)."""
    ends = moments(starts, interval_s, begin_s, np.inf)
    latest = starts[np.searchsorted(starts, ends, side="left") - 1] if len(ends) else ends
    chosen: FloatArray = ends[(latest >= begin_s) & (latest < end_s) & (ends % every_s == 0)]
    return chosen


def feature_versions(inputs: Inputs, ends: FloatArray) -> Versions:
    """Compute the features of each moment."""
    books = np.full((len(ends), BOOK_VALUES), np.nan)
    known = np.maximum(_known_windows(inputs, ends), ends)
    if len(inputs.sampled_s):
        place = np.searchsorted(inputs.sampled_s, ends, side="right") - 1
        is_fresh = (place >= 0) & (ends - inputs.sampled_s[np.maximum(place, 0)] <= FRESH_S)
        books[is_fresh] = inputs.samples[place[is_fresh]]
        known[is_fresh] = np.maximum(known[is_fresh], inputs.samples_known_s[place[is_fresh]])
    return Versions(ends, known, history_vectors(inputs.bars, ends, books))


def metric_values(inputs: Inputs, ends: FloatArray, names: Sequence[str], plugins: Plugins = NO_PLUGINS) -> FloatArray:
    """Compute the metrics of each moment."""
    return history(inputs.bars, ends, names, plugins)


def outcome_versions(inputs: Inputs, ends: FloatArray, horizons_s: Sequence[int]) -> list[Versions]:
    """Compute what followed each moment, for each horizon, leaving out what is not known yet or never will be."""
    bars, interval_s = inputs.bars, inputs.bars.interval_s
    steps = [horizon_s // interval_s for horizon_s in horizons_s]
    out = outcomes_after(bars, ends - interval_s, steps, inputs.closed_s)
    versions = []
    for place, horizon_s in enumerate(horizons_s):
        values = out[:, place]
        is_known = ~np.isnan(values).all(axis=1)
        chosen = ends[is_known]
        first = np.searchsorted(bars.start, chosen - interval_s, side="right") - 1
        stop = np.searchsorted(bars.start, chosen + horizon_s, side="left")
        known = np.maximum(_range_max(inputs.known_s, first, stop), chosen + horizon_s)
        versions.append(Versions(chosen, known, values[is_known]))
    return versions


def _known_windows(inputs: Inputs, ends: FloatArray) -> FloatArray:
    windows = Windows.cut(inputs.bars, ends)
    # A filled point says what the bar before it said.
    source = np.searchsorted(inputs.bars.start, windows.bars.start, side="right") - 1
    return _range_max(inputs.known_s[source], windows.first, windows.stop)


def _range_max(values: FloatArray, first: IntArray, stop: IntArray) -> FloatArray:
    # The largest of values[first:stop] for each pair, out of two stretches of a power of two that overlap.
    found = np.full(len(first), -np.inf)
    width, table = 1, values
    lengths = stop - first
    while width <= lengths.max(initial=0):
        fits = (lengths >= width) & (lengths < 2 * width)
        found[fits] = np.maximum(table[first[fits]], table[stop[fits] - width])
        table = np.maximum(table[:-width], table[width:]) if len(table) > width else table[:0]
        width *= 2
    return found
