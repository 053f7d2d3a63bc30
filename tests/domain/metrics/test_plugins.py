import math
from dataclasses import replace

import numpy as np
import pytest

from app.domain.bars import Bars
from app.domain.metrics.catalog import METRIC_NAMES, Metric
from app.domain.metrics.measuring import compute, history
from app.domain.metrics.plugins import Plugins
from tests.domain.metrics.histories import START, Mine, walk, whole


def test_a_plug_in_stands_among_the_metrics() -> None:
    plugins = Plugins([Mine("x.span", lambda window: window.close.max() - window.close.min(), "quote")])
    window = whole(walk(100))
    values = compute(window, ["ts.sma", "x.span", "ta.rsi_14"], plugins)
    assert values[1] == window.close.max() - window.close.min()
    assert values[[0, 2]].tolist() == compute(window, ["ts.sma", "ta.rsi_14"]).tolist()
    assert plugins.metrics() == (Metric("x.span", "x", "quote", "how many bars there are", 1),)


def test_a_plug_in_sees_each_window_of_a_history() -> None:
    plugins = Plugins([Mine("x.bars", least_bars=3)])
    rows = history(walk(5), START.timestamp() + np.array([2.0, 3.0, 9.0]), ["x.bars"], plugins)
    np.testing.assert_array_equal(rows[:, 0], [math.nan, 3.0, 9.0])


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_what_is_no_number_is_no_value(value: float) -> None:
    plugins = Plugins([Mine("x.mine", lambda window: value)])
    assert math.isnan(compute(whole(walk(5)), ["x.mine"], plugins)[0])


def test_a_plug_in_can_not_change_what_others_see() -> None:
    def scribble(window: Bars) -> float:
        window.close[:] = 0.0
        return 1.0

    plugins = Plugins([Mine("x.scribble", scribble)])
    bars = walk(20)
    with pytest.raises(ValueError, match="read-only"):
        compute(whole(bars), ["x.scribble"], plugins)
    assert bars.close.all()
    assert bars.close.flags.writeable


def test_a_name_of_no_metric_is_refused_and_one_of_an_absent_plug_in_is_not() -> None:
    window = whole(walk(5))
    assert math.isnan(compute(window, ["x.gone"])[0])
    with pytest.raises(ValueError, match=r"no metric ta\.rsi"):
        compute(window, ["ta.rsi", "ts.sma"])


@pytest.mark.parametrize(
    ("plugin", "reason"),
    [
        (Mine("mine"), "must be x. and then"),
        (Mine("x.Mine"), "must be x. and then"),
        (Mine(METRIC_NAMES[0]), "must be x. and then"),
        (Mine("x.taken"), "taken by another"),
        (Mine("x.mine", least_bars=0), "from 1 to 300"),
        (Mine("x.mine", least_bars=301), "from 1 to 300"),
        (object(), "lacks one of"),
    ],
)
def test_a_plug_in_that_does_not_fit_is_refused(plugin: Mine, reason: str) -> None:
    taken = Mine("x.taken")
    with pytest.raises(ValueError, match=reason):
        Plugins([taken, plugin])
    assert Plugins([taken]).reason_against(replace(taken, name="x.free")) is None
