"""Candles as programs send them."""

import re

from app.domain.errors import FieldError, Invalid
from app.services.price_history import PriceHistory
from app.services.schemas.candles import CandlesIn
from app.services.turns import off_the_loop

_FEW = 200
_PLACES = ("start", "open", "high", "low", "close", "volume")
_ROW = re.compile(r"^/(\d+)(?:/(\w+))?$")


async def write_candles(prices: PriceHistory, message: CandlesIn, *, default_source: str) -> int:
    """Store candles, all or none; answers how many were new or differ from before. Raises Invalid, Unavailable."""
    rows = await off_the_loop(message.rows, is_much=len(message.candles) > _FEW)
    source = message.source or default_source
    try:
        return await prices.write_candles(message.instrument, message.interval_s, source, rows)
    except Invalid as error:
        raise Invalid(error.detail, tuple(map(_in_the_body, error.errors))) from error


def _in_the_body(error: FieldError) -> FieldError:
    match = _ROW.match(error.pointer)
    if match is None:
        return error
    place = f"/{_PLACES.index(match[2])}" if match[2] in _PLACES else ""
    return FieldError(f"/candles/{match[1]}{place}", error.message)
