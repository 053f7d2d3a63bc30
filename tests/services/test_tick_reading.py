import random
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.domain.errors import Invalid
from app.services.schemas.prices import PriceIn
from app.services.tick_reading import read_tick_rows, tick_id_of

GOOD: dict[str, Any] = {"instrument": "BTC-USD", "price": "64000", "at": "2026-01-05T12:00:00Z"}
ODD: dict[str, list[Any]] = {
    "instrument": ["BTC-USD", "eur-usd", "A-B-C", "BTC", "BTC-USD\n", "", None, 7, ["x"]],
    "price": ["1", "001.50", "1e5", "1E-20", "1e-21", "0", "0.0", "-1", "+1", "1_0", " 1", "1.", ".5", "inf", "nan",
              "٣", "1,2", "9" * 60, "9" * 61, "1e30", 1, 1.5, None, {}],
    "size": ["0", "2.5", "1e20", "1e21", "-0", "", None, 3, []],
    "at": ["2026-01-05T12:00:00.123456Z", "2026-01-05T12:00:00.1234567Z", "2026-01-05T14:00:00+02:00",
           "2026-01-05t12:00:00z", "2026-01-05 12:00:00Z", "20260105T120000Z", "2026-01-05T12:00:00",
           "2026-02-30T00:00:00Z", "2026-01-05T24:00:00Z", "2026-01-05T12:00:60Z",
           "2026-01-05T12:00:00+24:00", "1969-12-31T23:59:59Z",
           "0001-01-01T00:00:00+14:00", "9999-12-31T00:00:00Z", "2026-W01-1T00:00:00Z", 1767614400, 1767614400.5,
           "1767614400", None, True],
    "source": ["kraken", "a b", "", "x" * 128, "x" * 129, "\x00", "é", None, 1],
    "id": ["7", "a,b", "a\tb", "\ufffd", "", None, 0],
    "colour": ["red"],
}  # fmt: skip


def of_the_model(row: Any) -> tuple[Any, ...] | None:
    """Read a tick by its message alone."""
    try:
        price = PriceIn.model_validate(row)
    except ValidationError:
        return None
    value, size = float(price.price), float(price.size)
    if not 1e-30 <= value <= 1e30 or size > 1e30 or not 1 < price.at.year < 9999:
        return None
    source = price.source or "desk"
    return (price.instrument, source, price.at.astimezone(UTC), price.id or tick_id_of(value, size), value, size)


def check(rows: list[Any]) -> None:
    expected = [of_the_model(row) for row in rows]
    read = read_tick_rows(rows, "desk", prefix="")
    good = [tick for tick in expected if tick is not None]
    assert read.ticks == sorted(good)
    assert (read.received, read.rejected) == (len(rows), len(rows) - len(good))
    bad = {str(number) for number, tick in enumerate(expected) if tick is None}
    assert {error.pointer.split("/")[1] for error in read.errors} == bad


@pytest.mark.parametrize("field", ODD)
def test_columns_read_what_the_message_reads(field: str) -> None:
    for value in ODD[field]:
        check([GOOD, {**GOOD, field: value}])
    check([{**GOOD, field: value} for value in ODD[field]])


@given(st.lists(st.fixed_dictionaries({}, optional={name: st.sampled_from(odd) for name, odd in ODD.items()})))
def test_any_mixture_is_read_as_the_message_reads_it(changes: list[dict[str, Any]]) -> None:
    check([{**GOOD, **change} for change in changes])


@given(st.integers(-(10**15), 10**16), st.integers(-1439, 1439))
def test_a_time_in_any_zone_is_the_same_instant(micros: int, offset_min: int) -> None:
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
    written = at.astimezone(timezone(timedelta(minutes=offset_min))).isoformat()
    (tick,) = read_tick_rows([{**GOOD, "at": written}], "desk", prefix="").ticks
    assert tick[2] == at
    assert tick[2].tzinfo is UTC


@pytest.mark.parametrize("row", [None, 1, "x", [], ["instrument"], {}, {"prices": []}])
def test_what_is_no_tick_at_all_is_named(row: Any) -> None:
    check([GOOD, row, GOOD])


def test_a_batch_is_refused_whole_or_for_want_of_any_good_tick() -> None:
    bad = {**GOOD, "price": "0"}
    mixed, none = read_tick_rows([GOOD, bad], "desk", prefix=""), read_tick_rows([bad], "desk", prefix="")
    assert mixed.require_some() is mixed
    for refuse in (mixed.require_all, none.require_all, none.require_some):
        with pytest.raises(Invalid) as refusal:
            refuse()
        assert [error.pointer.split("/")[2] for error in refusal.value.errors] == ["price"]


def test_the_order_of_a_batch_does_not_matter() -> None:
    rows = [{**GOOD, "price": str(number), "at": f"2026-01-05T12:00:{number % 60:02}Z"} for number in range(1, 200)]
    shuffled = random.Random(5).sample(rows, len(rows))
    assert read_tick_rows(rows, "desk", prefix="").ticks == read_tick_rows(shuffled, "desk", prefix="").ticks
