"""Versioned sets of features: which columns a model reads, of which instruments and interval."""

import json
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

from app.domain.features.catalog import MARKET_FEATURES, MARKET_NAMES
from app.domain.metrics.catalog import METRIC_BY_NAME, METRIC_NAMES
from app.domain.metrics.plugins import NO_PLUGINS, PLUGIN_NAME, Plugins

BAR_NAMES = tuple(
    f"bar.{name}" for name in ("open", "high", "low", "close", "volume", "notional", "count", "is_gap_fill")
)
"""What a set may read of the newest bar itself."""

EVERY_INSTRUMENT = "*"
_SOURCES = frozenset((*METRIC_NAMES, *MARKET_NAMES, *BAR_NAMES))
_DEFINITIONS = {feature.name: [feature.unit, feature.definition] for feature in MARKET_FEATURES} | {
    name: [metric.unit, metric.definition] for name, metric in METRIC_BY_NAME.items()
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column, or one per category: a transform of metrics, features, bars or columns before it."""

    name: str
    transform: str = "value"
    of: tuple[str, ...] = ()
    n: int | None = None
    categories: tuple[float, ...] = ()
    part: str | None = None

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the columns it becomes."""
        return tuple(f"{self.name}_{category:.15g}" for category in self.categories) or (self.name,)

    @property
    def reach(self) -> int:
        """How many rows before its own it looks at."""
        return 0 if self.n is None else self.n - 1 if self.transform.startswith("rolling") else self.n

    def document(self) -> str | dict[str, Any]:
        """Write it as JSON does."""
        if self.transform == "value" and self.of == (self.name,):
            return self.name
        document: dict[str, Any] = {"name": self.name, "transform": self.transform}
        if self.of:
            document["of"] = list(self.of)
        if self.n is not None:
            document["n"] = self.n
        if self.categories:
            document["categories"] = list(self.categories)
        if self.part is not None:
            document["part"] = self.part
        return document


@dataclass(frozen=True)
class FeatureSet:
    """The columns of one version of a set; two versions of a name may differ in everything else."""

    name: str
    version: int
    interval_s: int
    instruments: tuple[str, ...]
    columns: tuple[Column, ...]

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        """The names of the columns, categories apart."""
        return tuple(name for column in self.columns for name in column.outputs)

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """The metrics, features and fields of bars it reads."""
        read = dict.fromkeys(name for column in self.columns for name in column.of)
        return tuple(name for name in read if is_source(name))

    @property
    def features(self) -> tuple[str, ...]:
        """The features it reads."""
        return tuple(name for name in self.sources if name in MARKET_NAMES)

    @property
    def reads_seconds(self) -> bool:
        """Whether it reads metrics of one-second bars."""
        return any(name.startswith("ts.") for name in self.sources)

    @cached_property
    def depth(self) -> int:
        """How many rows before its own a row may need."""
        depths: dict[str, int] = {}
        for column in self.columns:
            depth = column.reach + max((depths.get(name, 0) for name in column.of), default=0)
            for name in column.outputs:
                depths[name] = max(depth, depths.get(name, 0))
        return max(depths.values())

    def applies_to(self, instrument: str) -> bool:
        """Say whether the set is for an instrument."""
        return instrument in self.instruments or EVERY_INSTRUMENT in self.instruments

    def document(self) -> dict[str, Any]:
        """Write the set as JSON does."""
        return {
            "name": self.name,
            "version": self.version,
            "interval_s": self.interval_s,
            "instruments": list(self.instruments),
            "columns": [column.document() for column in self.columns],
        }

    def schema_hash(self, plugins: Plugins = NO_PLUGINS) -> str:
        """Return the SHA-256 of what the columns mean; sets that mean the same share it."""
        added = {metric.name: [metric.unit, metric.definition] for metric in plugins.metrics()}
        definitions = _DEFINITIONS | added
        parts = [
            self.interval_s,
            [column.document() for column in self.columns],
            [[name, *definitions.get(name, [])] for name in self.sources],
        ]
        return sha256(json.dumps(parts, ensure_ascii=True, separators=(",", ":")).encode()).hexdigest()


def is_source(name: str) -> bool:
    """Say whether a name can be read without any column before it; a plug-in need not be installed for that."""
    return name in _SOURCES or PLUGIN_NAME.fullmatch(name) is not None
