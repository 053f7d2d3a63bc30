import re

import pytest

from app.domain.bars import WINDOW
from app.domain.metrics import seconds
from app.domain.metrics.catalog import METRIC_NAMES, METRICS, SECOND_NAMES, Metric, catalog_document, set_hash

MINE = Metric("x.mine", "x", "ratio", "mine", 3)


def test_every_metric_has_a_name_of_its_family() -> None:
    assert len(set(METRIC_NAMES)) == len(METRIC_NAMES)
    for metric in METRICS:
        assert re.fullmatch(rf"{metric.family}\.[a-z0-9_]+", metric.name)
        assert 1 <= metric.least_bars <= WINDOW
        assert metric.unit
        assert metric.description


def test_the_kernel_writes_its_columns_in_the_order_of_the_catalog() -> None:
    places = [getattr(seconds, name.removeprefix("ts.").upper()) for name in SECOND_NAMES]
    assert places == list(range(seconds.RESULTS))


def test_a_set_is_known_by_its_names_their_order_and_their_meaning() -> None:
    hashes = [
        set_hash(["ts.sma", "ta.rsi_14"]),
        set_hash(["ta.rsi_14", "ts.sma"]),
        set_hash(["ts.sma"]),
        set_hash(["ts.sma", "x.mine"], [MINE]),
        set_hash(["ts.sma", "x.mine"], [Metric("x.mine", "x", "bp", "mine", 3)]),
    ]
    assert len(set(hashes)) == len(hashes)
    assert hashes[0] == set_hash(("ts.sma", "ta.rsi_14"), [MINE])
    with pytest.raises(KeyError):
        set_hash(["x.mine"])


def test_the_catalog_is_a_document() -> None:
    document = catalog_document([MINE])
    metrics = document["metrics"]
    assert isinstance(metrics, list)
    assert metrics[0]["name"] == "ts.sma"
    assert metrics[-1] == {
        "name": "x.mine",
        "family": "x",
        "unit": "ratio",
        "description": "mine",
        "least_bars": 3,
        "definition": 1,
    }
