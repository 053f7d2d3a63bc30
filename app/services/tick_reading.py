"""Read ticks from what programs send, thousands at a time: each distinct text is checked once, by column.

Whatever looks odd goes through the message's own model, which has the last word and says what is wrong.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import orjson
from pydantic import Field, ValidationError

from app.domain.errors import FieldError, Invalid
from app.domain.times import EARLIEST, LATEST
from app.domain.values import INSTRUMENT_PATTERN
from app.infra.repositories.prices import NewTick
from app.services.json_text import parse_json
from app.services.schemas.base import LARGEST, SMALLEST, Wire
from app.services.schemas.prices import MAX_PRICES, PriceIn
from app.services.schemas.trade import field_errors

MAX_ERRORS = 100
_LONGEST_NUMBER = 60
_REQUIRED = frozenset({"instrument", "price", "at"})
_KNOWN = frozenset(PriceIn.model_fields)
_TEXTS = frozenset({str, type(None)})

# Narrower than the message's own patterns: what they leave out is read the slow way.
_INSTRUMENT = re.compile(INSTRUMENT_PATTERN)
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?(?:1?[0-9]|20))?")
NAME = re.compile(r"[^\s\x00-\x1f\ufffd]{1,128}")
_MOMENT = re.compile(
    r"(?:19[7-9][0-9]|20[0-9]{2})-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:Z|[+-][0-9]{2}:[0-9]{2})"
)

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class ReadTicks:
    """The valid ticks of a batch, sorted, and what is wrong with the others: the first `MAX_ERRORS` errors."""

    ticks: list[NewTick]
    received: int
    rejected: int
    errors: tuple[FieldError, ...]

    def require_all(self) -> "ReadTicks":
        """Refuse the batch unless every tick of it is valid. Raises Invalid."""
        if self.rejected:
            raise Invalid("the prices are not valid", self.errors)
        return self

    def require_some(self) -> "ReadTicks":
        """Refuse the batch when none of its ticks is valid. Raises Invalid."""
        if self.received == self.rejected:
            raise Invalid("none of the prices is valid", self.errors)
        return self


class _Envelope(Wire):
    prices: tuple[Any, ...] = Field(min_length=1, max_length=MAX_PRICES)


def read_tick_document(raw: bytes, default_source: str) -> ReadTicks:
    """Read `{"prices": […]}`. Raises Invalid when the body as a whole is no such document."""
    try:
        rows = _Envelope.model_validate(parse_json(raw)).prices
    except ValidationError as error:
        raise Invalid("the body is not valid", field_errors(error)) from error
    return read_tick_rows(rows, default_source, prefix="/prices")


def read_tick_lines(raw: bytes, default_source: str) -> ReadTicks:
    """Read one tick a line; an ill-formed line is a tick that is not valid. Raises Invalid for too many or none."""
    lines = [(number, text) for number, line in enumerate(raw.split(b"\n"), 1) if (text := line.strip())]
    if not 1 <= len(lines) <= MAX_PRICES:
        count = f"must hold 1 to {MAX_PRICES} lines with a tick, not {len(lines)}"
        raise Invalid("the body is not valid", (FieldError("", count),))
    together = _parsed_together([text for _, text in lines])
    if together is not None:
        read = read_tick_rows(together, default_source, prefix="")
        if not read.rejected:
            return read
    rows: list[Any] = []
    broken: dict[int, FieldError] = {}
    for row, (_, text) in enumerate(lines):
        try:
            rows.append(orjson.loads(text))
        except orjson.JSONDecodeError as error:
            rows.append(None)
            broken[row] = FieldError(f"/{row}", f"is not JSON: {error}")
    read = read_tick_rows(rows, default_source, prefix="", broken=broken)
    errors = (FieldError(each.pointer, f"line {_line_of(each, lines)}: {each.message}") for each in read.errors)
    return ReadTicks(read.ticks, read.received, read.rejected, tuple(errors))


def read_tick_rows(
    rows: Sequence[Any], default_source: str, *, prefix: str, broken: dict[int, FieldError] | None = None
) -> ReadTicks:
    """Read ticks that are parsed already; `broken` names those that could not be."""
    broken = broken or {}
    plain = range(len(rows)) if _are_plain(rows) else [n for n, row in enumerate(rows) if _are_plain((row,))]
    columns = _columns([rows[number] for number in plain], default_source)
    ticks = [tick for tick in zip(*columns, strict=True) if None not in tick]
    if len(ticks) == len(rows):
        ticks.sort()
        return ReadTicks(ticks, len(rows), 0, ())
    done = {number for number, tick in zip(plain, zip(*columns, strict=True), strict=True) if None not in tick}
    errors: list[FieldError] = []
    rejected = 0
    for number, row in enumerate(rows):
        if number in done:
            continue
        tick, wrong = (None, (broken[number],)) if number in broken else _slowly(row, default_source, number, prefix)
        if tick is not None:
            ticks.append(tick)
        else:
            rejected += 1
            errors += wrong[: MAX_ERRORS - len(errors)]
    ticks.sort()
    return ReadTicks(ticks, len(rows), rejected, tuple(errors))


def read_tick_messages(prices: Iterable[PriceIn], default_source: str) -> ReadTicks:
    """Take ticks that are messages already."""
    ticks: list[NewTick] = []
    errors: list[FieldError] = []
    received = 0
    for number, price in enumerate(prices):
        tick, wrong = _of_message(price, default_source, f"/prices/{number}")
        received += 1
        if tick is not None:
            ticks.append(tick)
        errors += wrong[: MAX_ERRORS - len(errors)]
    ticks.sort()
    return ReadTicks(ticks, received, received - len(ticks), tuple(errors))


def _parsed_together(texts: list[bytes]) -> list[Any] | None:
    # Lines that only make sense together, such as the halves of an object, never read as valid ticks: no field of one
    # holds a list, and nothing else can reach over lines that each begin and end with a brace.
    if not all(text[:1] == b"{" and text[-1:] == b"}" for text in texts):
        return None
    try:
        rows: list[Any] = orjson.loads(b"[" + b",".join(texts) + b"]")
    except orjson.JSONDecodeError:
        return None
    return rows if len(rows) == len(texts) else None


def _line_of(error: FieldError, lines: Sequence[tuple[int, bytes]]) -> int:
    return lines[int(error.pointer.split("/")[1])][0]


def _are_plain(rows: Sequence[Any]) -> bool:
    return (
        set(map(type, rows)) <= {dict}
        and all(_REQUIRED <= set(shape) <= _KNOWN for shape in set(map(tuple, rows)))
        and {type(value) for row in rows for value in row.values()} <= _TEXTS
    )


def _columns(rows: Sequence[dict[str, Any]], default_source: str) -> tuple[Iterable[Any], ...]:
    prices = _read_column([row["price"] for row in rows], _price)
    sizes = _read_column([row.get("size", "0") for row in rows], _size)
    sources = _read_column([row.get("source") for row in rows], _name, absent=default_source)
    given = _read_column([row.get("id") for row in rows], _name, absent="")
    ids = [
        tick_id or (None if tick_id is None else tick_id_of(price, size))
        for tick_id, price, size in zip(given, prices, sizes, strict=True)
    ]
    instruments = _read_column([row["instrument"] for row in rows], _instrument)
    moments = _read_column([row["at"] for row in rows], _moment)
    return instruments, sources, moments, ids, prices, sizes


def _read_column(
    texts: list[Any], read: Callable[[str], Value | None], *, absent: Value | None = None
) -> list[Value | None]:
    known: dict[Any, Value | None] = {text: read(text) for text in set(texts) if text is not None}
    known[None] = absent
    return list(map(known.__getitem__, texts))


def _price(text: str) -> float | None:
    if _NUMBER.fullmatch(text) and len(text) <= _LONGEST_NUMBER and SMALLEST <= (value := float(text)) <= LARGEST:
        return value
    return None


def _size(text: str) -> float | None:
    if _NUMBER.fullmatch(text) and len(text) <= _LONGEST_NUMBER and (value := float(text)) <= LARGEST:
        return value
    return None


def _name(text: str) -> str | None:
    return text if NAME.fullmatch(text) else None


def _instrument(text: str) -> str | None:
    return text if _INSTRUMENT.fullmatch(text) else None


def _moment(text: str) -> datetime | None:
    if not _MOMENT.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)


def tick_id_of(price: float | None, size: float | None) -> str:
    """Name a tick that has no id by what it says; a program may send this name back as the id."""
    return f"{price!r}x{size!r}"


def _slowly(row: Any, default_source: str, number: int, prefix: str) -> tuple[NewTick | None, tuple[FieldError, ...]]:
    pointer = f"{prefix}/{number}"
    try:
        price = PriceIn.model_validate(row)
    except ValidationError as error:
        return None, field_errors(error, prefix=pointer)
    return _of_message(price, default_source, pointer)


def _of_message(price: PriceIn, default_source: str, pointer: str) -> tuple[NewTick | None, tuple[FieldError, ...]]:
    value, size = float(price.price), float(price.size)
    errors = tuple(_out_of_range(value, size, price.at, pointer))
    if errors:
        return None, errors
    tick_id = price.id or tick_id_of(value, size)
    return (price.instrument, price.source or default_source, price.at.astimezone(UTC), tick_id, value, size), ()


def _out_of_range(price: float, size: float, at: datetime, pointer: str) -> Iterable[FieldError]:
    if not SMALLEST <= price <= LARGEST:
        yield FieldError(f"{pointer}/price", f"must lie between {SMALLEST:g} and {LARGEST:g}")
    if size > LARGEST:
        yield FieldError(f"{pointer}/size", f"must be at most {LARGEST:g}")
    if not EARLIEST <= at < LATEST:
        yield FieldError(f"{pointer}/at", "must be a time in the years 1 to 9999")
