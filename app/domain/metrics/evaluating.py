"""Rows of a feature set: what each column was worth at a moment, as known then."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from app.domain.bars import Bars, FloatArray, IntArray
from app.domain.metrics import transforms
from app.domain.metrics.measuring import measure
from app.domain.metrics.plugins import NO_PLUGINS, Plugins
from app.domain.metrics.sets import BAR_NAMES, Column, FeatureSet
from app.domain.metrics.windows import Windows

NO_FEATURES: Mapping[str, FloatArray] = {}


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The rows that some moments need: runs of consecutive ones, each ended by a moment asked for."""

    interval_s: int
    numbers: IntArray
    begins: IntArray

    @property
    def moments(self) -> FloatArray:
        """When each row was known, in seconds since 1970, ascending."""
        return self.numbers.astype(np.float64) * self.interval_s


def rows_needed(feature_set: FeatureSet, as_ofs: FloatArray) -> Rows:
    """Return the rows at which metrics and features have to be known; a moment within an interval means its begin."""
    ends = np.unique(_number(feature_set, as_ofs))
    reach = feature_set.depth
    if len(ends) == 0:
        return Rows(feature_set.interval_s, ends, ends)
    # Moments farther apart than the set looks back do not share rows.
    opens = np.flatnonzero(np.append(True, ends[1:] - ends[:-1] > reach + 1))
    closes = np.append(opens[1:], len(ends)) - 1
    first, last = ends[opens] - reach, ends[closes]
    lengths = last - first + 1
    begins = np.cumsum(lengths) - lengths
    numbers = np.arange(int(lengths.sum())) - np.repeat(begins - first, lengths)
    return Rows(feature_set.interval_s, numbers, begins)


def evaluate(
    feature_set: FeatureSet,
    bars: Bars,
    as_ofs: FloatArray,
    *,
    seconds: Bars | None = None,
    features: Mapping[str, FloatArray] = NO_FEATURES,
    plugins: Plugins = NO_PLUGINS,
) -> FloatArray:
    """Compute a row per moment (seconds since 1970) and a column per name; NaN where there is no value.

    `bars` are of the set's interval and reach `WINDOW + depth` of them back; `seconds`, one-second bars, are read for
    `ts.*` alone. `features` holds those the set names, at `rows_needed(...).moments`.
    """
    rows = rows_needed(feature_set, as_ofs)
    if bars.interval_s != feature_set.interval_s:
        raise ValueError(f"bars of {bars.interval_s} s do not make a set of {feature_set.interval_s} s")
    columns = _sources(feature_set, bars, rows, seconds, features, plugins)
    values = np.empty((len(rows.numbers), len(feature_set.column_names)))
    for begin, stop in pairwise([*rows.begins, len(rows.numbers)]):
        run = slice(begin, stop)
        known = {name: column[run] for name, column in columns.items()}
        for column in feature_set.columns:
            known.update(_apply(column, known, rows.moments[run]))
        for place, name in enumerate(feature_set.column_names):
            values[run, place] = known[name]
    return np.asarray(values[rows.numbers.searchsorted(_number(feature_set, as_ofs))])


def _number(feature_set: FeatureSet, as_ofs: FloatArray) -> IntArray:
    return (as_ofs // feature_set.interval_s).astype(np.int64)


def _sources(
    feature_set: FeatureSet,
    bars: Bars,
    rows: Rows,
    seconds: Bars | None,
    features: Mapping[str, FloatArray],
    plugins: Plugins,
) -> dict[str, FloatArray]:
    windows = Windows.cut(bars, rows.moments)
    of_seconds = [name for name in feature_set.sources if name.startswith("ts.")]
    columns: dict[str, FloatArray] = {}
    if of_seconds:
        seconds = bars if bars.interval_s == 1 else seconds
        if seconds is None or seconds.interval_s != 1:
            raise ValueError("the set reads ts.* metrics, which need one-second bars")
        columns |= _columns(of_seconds, measure(Windows.cut(seconds, rows.moments), of_seconds, plugins))
    of_bars = [name for name in feature_set.sources if name.startswith(("ta.", "x."))]
    columns |= _columns(of_bars, measure(windows, of_bars, plugins))
    for name in feature_set.sources:
        if name in BAR_NAMES:
            columns[name] = windows.newest(name.removeprefix("bar."))
    for name in feature_set.features:
        columns[name] = transforms.known(features[name])
    return columns


def _columns(names: Sequence[str], values: FloatArray) -> dict[str, FloatArray]:
    return {name: np.ascontiguousarray(values[:, place]) for place, name in enumerate(names)}


def _apply(column: Column, known: Mapping[str, FloatArray], moments: FloatArray) -> dict[str, FloatArray]:
    inputs = [known[name] for name in column.of]
    rows = column.n or 0
    match column.transform, inputs:
        case "value", [values]:
            made = values
        case "lag", [values]:
            made = transforms.lag(values, rows)
        case "diff", [values]:
            made = transforms.diff(values, rows)
        case "ratio", [values]:
            made = transforms.ratio(values, transforms.lag(values, rows))
        case "ratio", [values, other]:
            made = transforms.ratio(values, other)
        case "rolling_corr", [values, other]:
            made = transforms.rolling_corr(values, other, rows)
        case "one_hot", [values]:
            categories = zip(column.outputs, column.categories, strict=True)
            return {name: transforms.one_hot(values, category) for name, category in categories}
        case "date_part", []:
            made = transforms.date_part(moments, column.part or "")
        case statistic, [values]:
            made = transforms.STATISTICS[statistic][0](values, rows)
        case _:
            raise ValueError(f"{column.name} has too few or too many columns to be made of")
    return {column.name: made}
