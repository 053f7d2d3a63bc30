"""Rows that can be taken, and what is said of those that can't."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import Invalid
from app.services.files.cells import micros, time_texts
from app.services.files.formats import open_source
from app.services.files.layout import read_choices, recognise
from app.services.files.rows import Batch, Choices, RowError, RowReader, read_instrument
from app.services.schemas.prices import PricesIn


def read(tmp_path: Path, text: str, **choices: Any) -> tuple[list[Batch], list[RowError]]:
    """Read a text as a file."""
    path = tmp_path / "data"
    path.write_text(text)
    parts = list(RowReader(open_source(str(path)), Choices(**choices)).read())
    return [batch for part in parts for batch in part.batches], [error for part in parts for error in part.errors]


@pytest.mark.parametrize(
    ("at", "price", "column", "reason"),
    [
        ("", "1", "at", "is empty"),
        ("yesterday", "1", "at", "'yesterday' is no time; write 2026"),
        ("2026-13-01", "1", "at", "is no time"),
        ("NaN", "1", "at", "is no time"),
        ("99999999999999999999999", "1", "at", "must lie in the years"),
        ("1767614400", "", "price", "is empty"),
        ("1767614400", "1,5", "price", "'1,5' is no number"),
        ("1767614400", "NaN", "price", "'NaN' is not finite"),
        ("1767614400", "inf", "price", "is not finite"),
        ("1767614400", "0", "price", "must be above zero"),
        ("1767614400", "-1", "price", "must be above zero"),
        ("1767614400", "1e31", "price", "must lie between 1e-30 and 1e"),
    ],
)
def test_a_bad_row_is_named_by_row_and_column(tmp_path: Path, at: str, price: str, column: str, reason: str) -> None:
    text = f'at,price\n1767614400,1\n"{at}","{price}"\n1767614401,2\n'
    [batch], [error] = read(tmp_path, text, instrument="EUR-USD")
    assert (error.row, error.column) == (2, column)
    assert reason in error.reason
    assert batch.rows == [1, 3]


def test_rows_that_are_not_rows_are_named(tmp_path: Path) -> None:
    _, errors = read(tmp_path, "at,price\n1767614400\n1767614400,1,1\n1767614400,1\n", instrument="EUR-USD")
    assert [(error.row, error.reason) for error in errors] == [
        (1, "has 1 cells where there are 2 columns"),
        (2, "has 3 cells where there are 2 columns"),
    ]
    text = '{"at": 1767614400, "price": 1}\n{"at": \n[1]\n{"at": 1767614400, "price": 1}\n{"price": true, "at": 1}\n'
    _, errors = read(tmp_path, text, instrument="EUR-USD")
    assert [(error.row, error.column) for error in errors] == [(2, ""), (3, ""), (5, "price")]


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("at,price,size\n1767614400,1,-1\n", "size"),
        ("at,bid,ask\n1767614400,1,\n", "ask"),
        ("at,bid,ask\n1767614400,x,1\n", "bid"),
        ("at,price,symbol\n1767614400,1,EUR\n", "symbol"),
        ("at,price,symbol\n1767614400,1,EUR-EUR\n", "symbol"),
        ("at,price,symbol,source\n1767614400,1,EUR-USD,two words\n", "source"),
        ("at,o,h,l,c,symbol,interval_s\n1767614400,1,0.5,1,1,EUR-USD,60\n", "h"),
        ("at,o,h,l,c,symbol,interval_s\n1767614400,1,1,1,1,EUR-USD,0\n", "interval_s"),
        ("at,o,h,l,c,symbol,interval_s\n1767614401,1,1,1,1,EUR-USD,60\n", "at"),
    ],
)
def test_every_column_is_checked(tmp_path: Path, text: str, column: str) -> None:
    choices = {} if "symbol" in text else {"instrument": "EUR-USD"}
    batches, [error] = read(tmp_path, text, **choices)
    assert (error.row, error.column, batches) == (1, column, [])


def test_an_interval_is_what_most_candles_are_apart(tmp_path: Path) -> None:
    starts = [0, 300, 600, 1500, 1800, 5400]
    text = "start,open,high,low,close\n" + "".join(f"{at},1,1,1,1\n" for at in starts)
    [batch], [] = read(tmp_path, text, instrument="EUR-USD", columns={})
    assert batch.body["interval_s"] == 300
    with pytest.raises(Invalid, match="add --interval"):
        read(tmp_path, "start,open,high,low,close\n0,1,1,1,1\n", instrument="EUR-USD")
    with pytest.raises(Invalid, match="add --interval"):
        read(tmp_path, "start,open,high,low,close\n0,1,1,1,1\n604801,1,1,1,1\n", instrument="EUR-USD")


def test_both_sides_of_a_candle_give_its_middle(tmp_path: Path) -> None:
    header = "ts_ms," + ",".join(
        f"{side}_{part}" for side in ("bid", "ask") for part in ("open", "high", "low", "close")
    )
    [batch], [] = read(tmp_path, f"{header}\n0,1,2,1,2,3,4,3,4\n60000,1,2,1,2,3,4,3,4\n", instrument="EUR-USD")
    assert batch.entries[0] == ["1970-01-01T00:00:00.000000Z", "2", "3", "2", "3", "0"]


def test_columns_can_be_named(tmp_path: Path) -> None:
    text = "when,x,bid,ask,volume\n2026-01-05 13:00:00,7,1,3,9\n"
    choices = read_choices("at=when, price=X, volume=bid")
    [batch], [] = read(tmp_path, text, instrument="EUR-USD", columns=choices)
    assert batch.entries[0]["price"] == "7"
    assert batch.entries[0]["size"] == "1"
    assert recognise(["at", "bid", "ask"], {"price": "mid"}).prices == {"price": ("bid", "ask")}
    assert recognise(["at", "open", "high", "low", "close"], {"price": "close"}).is_candles is False
    headless, [] = read(
        tmp_path, "1767614400,1.5\n1767614401,2\n", instrument="EUR-USD", columns={"at": "1", "price": "2"}
    )
    assert headless[0].rows == [1, 2]


def test_a_volume_may_name_its_asset() -> None:
    columns = ["unix", "date", "symbol", "open", "high", "low", "close", "Volume BTC", "Volume USD"]
    assert recognise(columns).size == "Volume BTC"
    assert recognise([*columns, "vol"]).size == "vol"


@pytest.mark.parametrize("columns", [["at"], ["price"], ["open", "high", "low", "close"], []])
def test_missing_columns_are_said(columns: list[str]) -> None:
    with pytest.raises(Invalid, match="add --columns"):
        recognise(columns)


def test_unknown_choices_are_said(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="there is no column nothing; there are at, price"):
        recognise(["at", "price"], {"size": "nothing"})
    for wrong in ("colour=x", "price", "price="):
        with pytest.raises(Invalid, match="names no column"):
            read_choices(wrong)
    with pytest.raises(Invalid, match="add --instrument"):
        read(tmp_path, "at,price\n0,1\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("EUR-USD", "EUR-USD"),
        (" eurusd ", "EUR-USD"),
        ("BTC/USDT", "BTC-USDT"),
        ("BTC_USDT", "BTC-USDT"),
        ("A_B-C", "A_B-C"),
        ("BTC", None),
        ("", None),
        ("X-X", None),
    ],
)
def test_instruments_are_read_as_they_are_written(text: str, expected: str | None) -> None:
    assert read_instrument(text) == expected


def test_times_without_a_zone_are_of_the_one_named(tmp_path: Path) -> None:
    from zoneinfo import ZoneInfo

    text = "at,price\n2026-07-05 14:00:00,1\n2026-07-05T12:00:00Z,2\n20260705T140000,3\n20260705,4\n"
    [batch], [] = read(tmp_path, text, instrument="EUR-USD", zone=ZoneInfo("Europe/Zurich"))
    assert [tick["at"][:19] for tick in batch.entries] == ["2026-07-05T12:00:00"] * 3 + ["2026-07-04T22:00:00"]


def test_a_clock_that_is_wrong_is_set_right(tmp_path: Path) -> None:
    [batch], [] = read(tmp_path, "ts_ms,price\n1767614400000,1\n", instrument="EUR-USD", shift_us=5 * 3_600_000_000)
    assert batch.entries[0]["at"] == "2026-01-05T17:00:00.000000Z"


@given(st.datetimes(), st.sampled_from(["s", "ms", "us"]))
def test_times_survive_every_form(moment: Any, unit: str) -> None:
    from zoneinfo import ZoneInfo

    utc = ZoneInfo("UTC")
    if not 2 <= moment.year <= 9998:
        return
    [expected], reasons = micros([moment], None, utc)
    assert reasons == {}
    for form in (moment.isoformat(), moment.isoformat(sep=" ") + "Z", time_texts([expected])[0]):
        assert micros([form], None, utc) == ([expected], {})
    numbers = {"s": f"{expected / 1e6:.6f}", "ms": str(expected // 1000), "us": str(expected)}
    if abs(expected) < 2**52:
        [read_again], reasons = micros([numbers[unit]], unit, utc)
        assert reasons == {}
        assert read_again == (expected // 1000 * 1000 if unit == "ms" else expected)


cells = st.one_of(
    st.text(max_size=8),
    st.floats(),
    st.integers(),
    st.none(),
    st.booleans(),
    st.sampled_from(["1", "1.5", "2026-01-01", "1767614400", "EUR-USD", "-1", "1e5", "1e-25"]),
)


@given(st.lists(st.fixed_dictionaries({"at": cells, "price": cells, "size": cells, "id": cells}), max_size=5))
def test_what_is_taken_the_service_takes(rows: list[dict[str, Any]]) -> None:
    class Given:
        def chunks(self) -> Any:
            from app.services.files.table import Chunk, columns_of

            if rows:
                yield Chunk(columns_of(rows), 1, len(rows))

    for part in RowReader(Given(), Choices(instrument="EUR-USD")).read():
        assert len(part.errors) + sum(len(batch.rows) for batch in part.batches) == len(rows)
        for batch in part.batches:
            PricesIn.model_validate(batch.body)
