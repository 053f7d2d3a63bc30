"""Metrics that are installed beside this product: distributions offer them as entry points of one group."""

from importlib.metadata import EntryPoint, entry_points

from app import telemetry
from app.domain.bars import Bars
from app.domain.metrics.plugins import MetricPlugin, Plugins, definition_of

GROUP = "solver.metrics"


class GuardedPlugin:
    """A plug-in whose failures cost nothing but its own value."""

    def __init__(self, plugin: MetricPlugin) -> None:
        self.name = plugin.name
        self.unit = str(plugin.unit)
        self.description = str(plugin.description)
        self.least_bars = plugin.least_bars
        self.definition = definition_of(plugin)
        self._plugin = plugin
        self._failures = 0

    def compute(self, window: Bars) -> float:
        """Compute the value; NaN if the plug-in fails to."""
        try:
            return float(self._plugin.compute(window))
        except (Exception, SystemExit) as error:
            self._failures += 1
            telemetry.metric_plugin_failed(self.name, self._failures, error)
            return float("nan")


def load_plugins(group: str = GROUP) -> Plugins:
    """Load every plug-in that fits; one that does not is left out and told of. Of two with one name the first stays."""
    plugins = Plugins()
    for entry in sorted(entry_points(group=group), key=lambda entry: (entry.name, entry.value)):
        try:
            plugin = _load(entry)
            reason = plugins.reason_against(plugin)
            if reason is None:
                plugins = Plugins([*plugins, GuardedPlugin(plugin)])
        # A module is free to end the process while it is imported; not this one.
        except (Exception, SystemExit) as error:
            reason = repr(error)
        if reason is not None:
            telemetry.metric_plugin_refused(entry.name, reason)
    return plugins


def _load(entry: EntryPoint) -> MetricPlugin:
    found = entry.load()
    plugin: MetricPlugin = found() if isinstance(found, type) else found
    return plugin
