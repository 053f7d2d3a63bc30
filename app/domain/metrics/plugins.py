"""Metrics that others add."""

import math
import re
from collections.abc import Iterable, Iterator
from typing import Protocol, runtime_checkable

from app.domain.bars import WINDOW, Bars
from app.domain.metrics.catalog import Metric

PLUGIN_NAME = re.compile(r"x\.[a-z][a-z0-9_]{0,62}")


@runtime_checkable
class MetricPlugin(Protocol):
    """One metric of a window that someone else wrote; `name` reads `x.something`.

    `compute` is a pure function: of the same window it always says the same. Whoever changes what it says gives it a
    whole number `definition` that rises; without one it is 1.
    """

    @property
    def name(self) -> str:
        """Its name among all metrics."""

    @property
    def unit(self) -> str:
        """What it is counted in."""

    @property
    def description(self) -> str:
        """What it is."""

    @property
    def least_bars(self) -> int:
        """How many bars it needs; it is not asked about fewer."""

    def compute(self, window: Bars) -> float:
        """Compute its value; NaN or an infinity if there is none."""


class Plugins:
    """The plug-ins at hand, by name."""

    def __init__(self, plugins: Iterable[MetricPlugin] = ()) -> None:
        self._plugins: dict[str, MetricPlugin] = {}
        for plugin in plugins:
            reason = self.reason_against(plugin)
            if reason:
                raise ValueError(reason)
            self._plugins[plugin.name] = plugin

    def __contains__(self, name: object) -> bool:
        return name in self._plugins

    def __iter__(self) -> Iterator[MetricPlugin]:
        return iter(self._plugins.values())

    def reason_against(self, plugin: object) -> str | None:
        """Say why a plug-in can't be added, if it can't."""
        if not isinstance(plugin, MetricPlugin):
            return "it lacks one of name, unit, description, least_bars and compute(window)"
        if not PLUGIN_NAME.fullmatch(str(plugin.name)):
            return f"the name {plugin.name!r} must be x. and then small letters, digits and underscores"
        if plugin.name in self._plugins:
            return f"the name {plugin.name} is taken by another plug-in; choose another"
        if type(definition_of(plugin)) is not int:
            return f"definition of {plugin.name} must be a whole number"
        if plugin.least_bars not in range(1, WINDOW + 1):
            return f"least_bars of {plugin.name} must be a whole number from 1 to {WINDOW}"
        return None

    def metrics(self) -> tuple[Metric, ...]:
        """Describe the plug-ins as the catalog does."""
        return tuple(
            Metric(each.name, "x", str(each.unit), str(each.description), each.least_bars, definition_of(each))
            for each in self
        )

    def measure(self, name: str, window: Bars) -> float:
        """Ask a plug-in about a window; one that is no longer at hand has no value."""
        plugin = self._plugins.get(name)
        if plugin is None or len(window) < plugin.least_bars:
            return math.nan
        value = float(plugin.compute(window))
        return value if math.isfinite(value) else math.nan


def definition_of(plugin: MetricPlugin) -> int:
    """Return which definition of its name a plug-in gives."""
    definition: int = getattr(plugin, "definition", 1)
    return definition


NO_PLUGINS = Plugins()
