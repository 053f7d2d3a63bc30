import math
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import telemetry
from app.domain.metrics.measuring import compute
from app.services.metric_plugins import GROUP, load_plugins
from tests.domain.metrics.histories import walk, whole

MODULE = "installed_metrics"
SOURCE = """
class Span:
    name = "x.span"
    unit = "quote"
    description = "highest close minus lowest"
    least_bars = 2

    def compute(self, window):
        return window.close.max() - window.close.min()


class Failing(Span):
    name = "x.failing"

    def compute(self, window):
        raise RuntimeError("no idea")


class NoNumber(Span):
    name = "x.no_number"

    def compute(self, window):
        return None


class Clash(Span):
    pass


class Misnamed(Span):
    name = "ta.rsi_14"


class Unmakeable(Span):
    def __init__(self):
        raise SystemExit(3)


class Hollow:
    name = "x.hollow"


class Undefined(Span):
    name = "x.undefined"
    definition = "second"


made = Span()
made.name = "x.made"
made.definition = 2
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / f"{MODULE}.py").write_text(SOURCE)
    (tmp_path / "broken_metrics.py").write_text("raise ImportError('half installed')")
    described = tmp_path / "desk_metrics-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: desk-metrics\nVersion: 1.0\n")
    names = ("Span", "Failing", "NoNumber", "Misnamed", "Unmakeable", "Hollow", "Undefined", "made", "Absent")
    entries = [f"{name.lower()} = {MODULE}:{name}" for name in names]
    entries += [f"zz_clash = {MODULE}:Clash", "broken = broken_metrics:Anything", "nowhere = no_such_module:X"]
    (described / "entry_points.txt").write_text(f"[{GROUP}]\n" + "\n".join(entries) + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop(MODULE, None)


def failures(plugin: str) -> float:
    return telemetry.REGISTRY.get_sample_value("solver_metric_plugin_failures_total", {"plugin": plugin}) or 0.0


def refused() -> float:
    return telemetry.REGISTRY.get_sample_value("solver_metric_plugins_refused_total") or 0.0


@pytest.mark.usefixtures("installed")
def test_an_installed_metric_is_measured_and_a_broken_one_breaks_no_other() -> None:
    before = refused(), failures("x.failing"), failures("x.no_number")
    plugins = load_plugins()
    assert sorted(plugin.name for plugin in plugins) == ["x.failing", "x.made", "x.no_number", "x.span"]
    assert refused() - before[0] == 8
    window = whole(walk(50))
    values = compute(window, ["x.failing", "x.span", "ts.sma", "x.no_number", "x.made"], plugins)
    span = window.close.max() - window.close.min()
    assert math.isnan(values[0])
    assert math.isnan(values[3])
    assert values[[1, 2, 4]].tolist() == [span, compute(window, ["ts.sma"])[0], span]
    assert failures("x.failing") - before[1] == 1
    assert failures("x.no_number") - before[2] == 1
    described = {metric.name: metric for metric in plugins.metrics()}
    assert (described["x.span"].unit, described["x.span"].definition, described["x.made"].definition) == ("quote", 1, 2)


def test_nothing_installed_is_no_plug_in() -> None:
    assert list(load_plugins("solver.metrics.of.nobody")) == []
