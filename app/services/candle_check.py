"""What makes a candle one."""

import math
import re
from collections.abc import Iterable, Sequence
from datetime import timedelta

from app.domain.errors import FieldError, Invalid
from app.domain.times import EARLIEST, LATEST
from app.domain.values import INSTRUMENT_PATTERN
from app.infra.repositories.candles import Candle
from app.services.schemas.base import LARGEST, NAME_PATTERN, PATTERN_REMEDIES, SMALLEST

MAX_SPAN_S = 7 * 86_400
_MAX_ERRORS = 100
_FIELDS = ("open", "high", "low", "close", "volume")
_LATEST_START = LATEST - timedelta(seconds=MAX_SPAN_S)


def check_candles(instrument: str, interval_s: int, source: str, rows: Sequence[Candle]) -> None:
    """Refuse candles that cannot be. Raises Invalid with pointers `/row/field`."""
    errors: list[FieldError] = []
    if not re.fullmatch(INSTRUMENT_PATTERN, instrument):
        errors.append(FieldError("/instrument", PATTERN_REMEDIES[INSTRUMENT_PATTERN]))
    if not re.fullmatch(NAME_PATTERN, source) or len(source) > 128:
        errors.append(FieldError("/source", PATTERN_REMEDIES[NAME_PATTERN]))
    if not 1 <= interval_s <= MAX_SPAN_S:
        errors.append(FieldError("/interval_s", f"must lie between 1 and {MAX_SPAN_S}"))
    for number, row in enumerate(rows):
        errors += (FieldError(f"/{number}/{field}", message) for field, message in _wrong(row))
        if len(errors) >= _MAX_ERRORS:
            break
    if errors:
        raise Invalid("the candles are not valid", tuple(errors[:_MAX_ERRORS]))


def _wrong(row: Candle) -> Iterable[tuple[str, str]]:
    start, open_, high, low, close, _ = row
    if start.tzinfo is None:
        yield "start", "needs a time zone, for example 2026-01-01T00:00:00Z"
    elif start.microsecond or not EARLIEST <= start < _LATEST_START:
        yield "start", "must be a whole second in the years 1 to 9999"
    for name, value in zip(_FIELDS, row[1:], strict=True):
        is_volume = name == "volume"
        if not math.isfinite(value) or not (0 if is_volume else SMALLEST) <= value <= LARGEST:
            yield name, f"must be a number {'of zero or more' if is_volume else 'above zero'}, up to {LARGEST:g}"
    if high < max(open_, low, close):
        yield "high", "is below another price of the candle"
    if low > min(open_, high, close):
        yield "low", "is above another price of the candle"
