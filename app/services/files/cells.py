"""Single values as files write them: times in many forms, and decimals."""

import re
from collections.abc import Sequence
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from app.domain.times import EARLIEST, LATEST, micros_since_epoch
from app.services.schemas.base import LARGEST, POSITIVE_PATTERN, SMALLEST, UNSIGNED_PATTERN

_POSITIVE = re.compile(POSITIVE_PATTERN, re.ASCII)
_UNSIGNED = re.compile(UNSIGNED_PATTERN, re.ASCII)
_MAX_TEXT = 60
_SMALLEST, _LARGEST = Decimal(repr(SMALLEST)), Decimal(repr(LARGEST))

MICROS_PER_UNIT = {"s": 1_000_000, "ms": 1_000, "us": 1}
_NANOS = "ns"
_DATE_PART = re.compile(r"^(\d{4})[./](\d{1,2})[./](\d{1,2})")
_DAY_FIRST = re.compile(r"^(\d{1,2})\.(\d{1,2})\.(\d{4})")
_BARE_DATE = re.compile(r"^(19|20|21)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])$")
# Seconds of the year 5138 are milliseconds of 1973: up to here a number without a unit is taken for the larger one.
_UNITS_BY_SIZE = ((10**11, "s"), (10**14, "ms"), (10**17, "us"))

Reasons = dict[int, str]
"""Why values could not be read, by their place."""


def decimal_texts(cells: Sequence[Any], *, is_positive: bool) -> tuple[list[str], Reasons]:
    """Write numbers as decimal strings; digits are kept as they are. Empty cells are wrong."""
    pattern = (_POSITIVE if is_positive else _UNSIGNED).fullmatch
    texts: list[str] = []
    reasons: Reasons = {}
    for place, cell in enumerate(cells):
        if type(cell) is str and pattern(cell) and len(cell) <= _MAX_TEXT:
            texts.append(cell)
            continue
        number = read_decimal(cell)
        reason = number if isinstance(number, str) else _out_of_range(number, is_positive=is_positive)
        if reason is None and isinstance(number, Decimal):
            text = format(number, "f")
            texts.append(text if len(text) <= _MAX_TEXT else repr(float(number)))
        else:
            texts.append("")
            reasons[place] = str(reason)
    return texts, reasons


def read_decimal(cell: Any) -> Decimal | str:
    """Read a number, or say why it is none."""
    if is_empty(cell):
        return "is empty"
    if isinstance(cell, bool):
        return f"{cell!r} is no number"
    try:
        number = Decimal(repr(cell) if isinstance(cell, float) else str(cell).strip())
    except InvalidOperation:
        return f"{shown(cell)} is no number"
    return number if number.is_finite() else f"{shown(cell)} is not finite"


def is_empty(cell: Any) -> bool:
    """Say whether a cell holds nothing."""
    return cell is None or (isinstance(cell, str) and not cell.strip())


def shown(cell: Any) -> str:
    """Write a value for a message, shortened."""
    text = repr(str(cell))
    return text if len(text) <= 40 else text[:36] + "…'"


def micros(cells: Sequence[Any], unit: str | None, zone: ZoneInfo) -> tuple[list[int], Reasons]:
    """Read times as microseconds since 1970; `unit` (s, ms, us, ns) of numbers is guessed by their size without one.

    Times that name no zone are of `zone`.
    """
    first: Any = next((cell for cell in cells if not is_empty(cell)), None)
    factor = MICROS_PER_UNIT.get(unit or (_unit_by_size(int(first)) if _is_whole(first) else ""))
    read: list[int] = []
    reasons: Reasons = {}
    for place, cell in enumerate(cells):
        try:
            if factor is not None and type(cell) is str and cell.isdecimal() and len(cell) != 8:
                moment = int(cell) * factor
            else:
                moment = _micros(cell, unit, zone)
            if not _EARLIEST_NUMBER <= moment < _LATEST_NUMBER:
                raise ValueError("must lie in the years 1 to 9999")
        except (ValueError, OverflowError, InvalidOperation) as error:
            reasons[place] = _time_reason(cell, error)
            moment = 0
        read.append(moment)
    return read, reasons


def time_texts(moments: Sequence[int]) -> list[str]:
    """Write microseconds since 1970 as RFC 3339."""
    texts: list[str] = np.datetime_as_string(
        np.array(moments, dtype=np.int64).astype("datetime64[us]"), timezone="UTC"
    ).tolist()
    return texts


def joined_times(dates: Sequence[Any], times: Sequence[Any]) -> list[Any]:
    """Put the two columns of a time together."""
    return [_joined(day, moment) for day, moment in zip(dates, times, strict=True)]


def _joined(day: Any, moment: Any) -> Any:
    if is_empty(day) or is_empty(moment):
        return None
    if isinstance(day, date) and isinstance(moment, time):
        return datetime.combine(day, moment)
    return f"{str(day).strip()} {str(moment).strip()}"


def _is_whole(cell: Any) -> bool:
    return type(cell) is int or (isinstance(cell, str) and cell.strip().isdecimal())


def _unit_by_size(number: Any) -> str:
    size = abs(number)
    return next((unit for limit, unit in _UNITS_BY_SIZE if size < limit), _NANOS)


def _micros(cell: Any, unit: str | None, zone: ZoneInfo) -> int:
    if is_empty(cell):
        raise ValueError("is empty")
    if isinstance(cell, datetime):
        return _since_epoch(cell, zone)
    if isinstance(cell, date):
        return _since_epoch(datetime(cell.year, cell.month, cell.day), zone)  # noqa: DTZ001
    text = str(cell).strip()
    if isinstance(cell, str) and not (unit and text.isdecimal()) and _BARE_DATE.match(text):
        return _since_epoch(datetime.fromisoformat(text), zone)
    try:
        number = Decimal(repr(cell) if isinstance(cell, float) else text)
    except InvalidOperation:
        return _since_epoch(datetime.fromisoformat(_dashed(text)), zone)
    if not number.is_finite() or isinstance(cell, bool):
        raise ValueError("no time")
    unit = unit or _unit_by_size(number)
    return int(number // 1_000) if unit == _NANOS else round(number * MICROS_PER_UNIT[unit])


def _dashed(text: str) -> str:
    text = _DAY_FIRST.sub(lambda match: f"{match[3]}-{int(match[2]):02}-{int(match[1]):02}", text)
    return _DATE_PART.sub(lambda match: f"{match[1]}-{int(match[2]):02}-{int(match[3]):02}", text)


def _since_epoch(moment: datetime, zone: ZoneInfo) -> int:
    return micros_since_epoch(moment if moment.tzinfo else moment.replace(tzinfo=zone))


def _time_reason(cell: Any, error: Exception) -> str:
    text = str(error)
    if text == "is empty" or text.startswith("must lie"):
        return text
    return f"{shown(cell)} is no time; write 2026-01-31T12:00:00Z, or seconds or milliseconds since 1970"


def _out_of_range(number: Decimal, *, is_positive: bool) -> str | None:
    if is_positive and number <= 0:
        return f"must be above zero, not {shown(number)}"
    if number < 0:
        return f"must not be negative, not {shown(number)}"
    if number and not _SMALLEST <= number <= _LARGEST:
        return f"must lie between {_SMALLEST:g} and {_LARGEST:g}"
    return None


_EARLIEST_NUMBER, _LATEST_NUMBER = map(micros_since_epoch, (EARLIEST, LATEST))
