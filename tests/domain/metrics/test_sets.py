import json
from typing import Any

import pytest

from app.domain.errors import Invalid
from app.domain.features.catalog import MARKET_NAMES
from app.domain.metrics.plugins import Plugins
from app.domain.metrics.set_reading import TRANSFORMS, read_feature_set
from app.domain.metrics.sets import FeatureSet
from tests.domain.metrics.histories import Mine

RSI = {"name": "rsi_lag_1", "transform": "lag", "of": ["ta.rsi_14"], "n": 1}


def document(*columns: object, **changes: object) -> dict[str, Any]:
    return {
        "name": "momentum",
        "version": 3,
        "interval_s": 60,
        "instruments": ["EUR-USD", "GBP-USD"],
        "columns": list(columns) or ["ta.rsi_14"],
    } | changes


def read(*columns: object, **changes: object) -> FeatureSet:
    return read_feature_set(document(*columns, **changes))


def pointers(wrong: object, plugins: Plugins | None = None) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        read_feature_set(wrong, plugins or Plugins())
    return {error.pointer: error.message for error in caught.value.errors}


def test_a_set_is_read_and_written_alike() -> None:
    written = document(
        "ta.rsi_14",
        "ts.sma",
        "bar.close",
        MARKET_NAMES[0],
        RSI,
        {"name": "hour", "transform": "date_part", "part": "hour"},
        {"name": "hour_is", "transform": "one_hot", "of": ["hour"], "categories": [0, 12.5]},
        {"name": "near", "transform": "rolling_corr", "of": ["rsi_lag_1", "hour_is_12.5"], "n": 20},
        {"name": "rise", "transform": "ratio", "of": ["bar.close"], "n": 5},
    )
    feature_set = read_feature_set(json.loads(json.dumps(written)))
    assert feature_set.document() == written
    assert feature_set.column_names == (
        *("ta.rsi_14", "ts.sma", "bar.close", MARKET_NAMES[0], "rsi_lag_1"),
        *("hour", "hour_is_0", "hour_is_12.5", "near", "rise"),
    )
    assert feature_set.sources == ("ta.rsi_14", "ts.sma", "bar.close", MARKET_NAMES[0])
    assert feature_set.features == (MARKET_NAMES[0],)
    assert feature_set.reads_seconds
    assert feature_set.depth == 1 + 19
    assert read_feature_set(feature_set.document()).schema_hash() == feature_set.schema_hash()


def test_a_set_is_for_its_instruments_or_for_every_one() -> None:
    assert read().applies_to("EUR-USD")
    assert not read().applies_to("BTC-USD")
    assert read(instruments=["*"]).applies_to("BTC-USD")


def test_the_hash_tells_meanings_apart_and_not_versions() -> None:
    same = read(RSI).schema_hash()
    assert read(RSI, version=4, name="other", instruments=["*"]).schema_hash() == same
    others = [
        read(RSI, interval_s=300),
        read(RSI | {"n": 2}),
        read(RSI | {"name": "x"}),
        read(RSI | {"of": ["ta.sma_20"]}),
        read("ta.rsi_14", RSI),
        read(RSI, "ta.rsi_14"),
    ]
    assert len({same, *(other.schema_hash() for other in others)}) == 1 + len(others)


def test_the_hash_of_a_set_changes_with_a_plug_in_it_reads() -> None:
    first, second = Plugins([Mine("x.mine", unit="bp")]), Plugins([Mine("x.mine", unit="ratio")])
    feature_set = read_feature_set(document("x.mine"), first)
    assert feature_set.schema_hash(first) != feature_set.schema_hash(second)
    assert read(RSI).schema_hash(first) == read(RSI).schema_hash(second)


def test_a_stored_set_is_read_though_its_plug_in_has_gone() -> None:
    gone = document("x.gone", {"name": "gone_before", "transform": "lag", "of": ["x.gone"], "n": 1})
    assert read_feature_set(gone, None).sources == ("x.gone",)
    assert "install" in pointers(gone)["/columns/0"]
    assert "install" in pointers(gone)["/columns/1/of/0"]


@pytest.mark.parametrize(
    ("changes", "pointer", "remedy"),
    [
        ({"name": "Big"}, "/name", "small letters"),
        ({"name": None}, "/name", "small letters"),
        ({"version": 0}, "/version", "whole number from 1"),
        ({"version": True}, "/version", "whole number"),
        ({"interval_s": 1.5}, "/interval_s", "whole number"),
        ({"interval_s": 86_401}, "/interval_s", "to 86400"),
        ({"instruments": []}, "/instruments", "BTC-USD"),
        ({"instruments": "EUR-USD"}, "/instruments", "BTC-USD"),
        ({"instruments": ["EUR-USD", "EURUSD"]}, "/instruments/1", "BASE-QUOTE"),
        ({"instruments": ["A-B"] * 1001}, "/instruments", "every one"),
        ({"columns": []}, "/columns", "at least one"),
        ({"columns": {}}, "/columns", "at least one"),
        ({"more/of": 1}, "/more~1of", "leave it out"),
    ],
)
def test_what_is_wrong_with_a_set_is_named(changes: dict[str, object], pointer: str, remedy: str) -> None:
    errors = pointers(document(**changes))
    assert list(errors) == [pointer]
    assert remedy in errors[pointer]


@pytest.mark.parametrize(
    ("column", "pointer", "remedy"),
    [
        (7, "", "name of a metric"),
        ("ta.rsi", "", "GET /v1/metrics"),
        (RSI | {"transform": "lead"}, "/transform", "rolling_std"),
        (RSI | {"transform": ["lag"]}, "/transform", "rolling_std"),
        (RSI | {"name": "rsi_14"}, "/name", "choose another"),
        (RSI | {"name": "ta.rsi_14"}, "/name", "small letters"),
        ({key: RSI[key] for key in ("name", "transform", "of")}, "/n", "whole number"),
        (RSI | {"n": 0}, "/n", "from 1 to 300"),
        (RSI | {"n": 301}, "/n", "from 1 to 300"),
        (RSI | {"transform": "rolling_kurtosis", "n": 3}, "/n", "from 4 to 300"),
        (RSI | {"of": []}, "/of", "1 name"),
        (RSI | {"of": "ta.rsi_14"}, "/of", "1 name"),
        (RSI | {"of": [["ta.rsi_14"]]}, "/of/0", "GET /v1/metrics"),
        (RSI | {"of": ["later"]}, "/of/0", "before this one"),
        (RSI | {"part": "hour"}, "/part", "leave it out"),
        ({"name": "a", "transform": "rolling_corr", "of": ["ts.sma"], "n": 5}, "/of", "2 name"),
        ({"name": "a", "transform": "ratio", "of": ["ts.sma", "ts.ema"], "n": 5}, "/n", "leave it out"),
        ({"name": "a", "transform": "one_hot", "of": ["ts.gap"]}, "/categories", "different numbers"),
        ({"name": "a", "transform": "one_hot", "of": ["ts.gap"], "categories": [1, 1.0]}, "/categories", "different"),
        ({"name": "a", "transform": "one_hot", "of": ["ts.gap"], "categories": [10**400]}, "/categories", "numbers"),
        ({"name": "a", "transform": "one_hot", "of": ["ts.gap"], "categories": ["1"]}, "/categories", "numbers"),
        ({"name": "a", "transform": "date_part", "part": "week"}, "/part", "day_of_week"),
        ({"name": "a", "transform": "date_part", "part": "hour", "of": ["ts.gap"]}, "/of", "leave it out"),
    ],
)
def test_what_is_wrong_with_a_column_is_named(column: object, pointer: str, remedy: str) -> None:
    errors = pointers(document(column, {"name": "later", "of": ["ts.sma"]}))
    assert list(errors) == [f"/columns/0{pointer}"]
    assert remedy in errors[f"/columns/0{pointer}"]


def test_no_set_is_an_object_of_another_kind() -> None:
    for wrong in (None, ["momentum"], "momentum", 3):
        assert "JSON object" in pointers(wrong)[""]


def test_two_columns_of_one_name_are_refused() -> None:
    hot = {"name": "a", "transform": "one_hot", "of": ["ts.gap"], "categories": [1]}
    errors = pointers(document("ts.sma", "ts.sma", hot, {"name": "a_1", "of": ["ts.sma"]}))
    assert list(errors) == ["/columns/1", "/columns/3"]


def test_a_set_looks_back_only_so_far_and_is_only_so_wide() -> None:
    chain = [{"name": f"c_{number}", "transform": "lag", "of": [of], "n": 300} for number, of in enumerate(CHAIN)]
    assert "1200 rows" in pointers(document(*chain))["/columns/3"]
    assert read(*chain[:3]).depth == 900
    wide = [{"name": f"c_{number}", "of": ["ts.sma"]} for number in range(501)]
    assert "split" in pointers(document(*wide))["/columns"]


CHAIN = ("ts.sma", "c_0", "c_1", "c_2")


def test_every_transform_is_known_by_name() -> None:
    assert set(TRANSFORMS) >= {"lag", "diff", "ratio", "one_hot", "date_part", "rolling_corr", "rolling_rank"}
