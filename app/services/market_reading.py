"""Read markets from the JSON that programs send, however much it is, without holding everyone else up."""

import json
import re
from collections.abc import AsyncIterator
from typing import Any, NoReturn

from pydantic import ValidationError

from app.domain.errors import FieldError, Invalid
from app.services.market_listing import KINDS
from app.services.schemas.market import MARKET, AnyMarketIn, ConcentratedIn, MarketsIn, OrderBookIn, RfqIn
from app.services.schemas.trade import field_errors
from app.services.turns import Turn

MAX_ERRORS = 100
_MARKETS = "markets"
_SPACE = re.compile(r"[ \t\r\n]*")


async def read_market_batch(raw: bytes) -> MarketsIn:
    """Check a batch of markets or a snapshot. Raises Invalid with the pointers of what is wrong."""
    reader = _Reader(raw)
    members: dict[str, Any] = {}
    read: list[AnyMarketIn] = []
    errors: list[FieldError] = []
    is_list = False
    async for name, number, value in reader.members():
        if number is None:
            members[name] = value
        elif number < 0:
            is_list, read, errors = True, [], []
        elif len(errors) < MAX_ERRORS:
            try:
                read.append(MARKET.validate_python(value))
            except ValidationError as error:
                errors += market_errors(error, value, f"/{_MARKETS}/{number}")
    try:
        envelope = MarketsIn.model_validate({**members, _MARKETS: ()} if is_list else members)
    except ValidationError as error:
        errors = [*field_errors(error), *errors]
    if errors:
        raise invalid_markets(errors)
    return envelope.model_copy(update={_MARKETS: tuple(read)})


def read_one_market(market_id: str, parsed: Any) -> AnyMarketIn:
    """Check one market that came as parsed JSON under its id. Raises Invalid."""
    if not isinstance(parsed, dict):
        raise invalid_markets([FieldError("", "must be a JSON object: one market")])
    if parsed.get("market_id", market_id) != market_id:
        remedy = f"differs from the URL, which names {market_id}; remove it or make them equal"
        raise invalid_markets([FieldError("/market_id", remedy)])
    try:
        return MARKET.validate_python({**parsed, "market_id": market_id})
    except ValidationError as error:
        raise invalid_markets(market_errors(error, parsed, "")) from error


def invalid_markets(errors: list[FieldError]) -> Invalid:
    """Refuse markets, naming what is wrong with them."""
    count = "1 field is" if len(errors) == 1 else f"{len(errors)} fields are"
    return Invalid(f"{count} not valid", tuple(errors[:MAX_ERRORS]))


def wrong_field(market: AnyMarketIn) -> str:
    """Name the field to point at when a market contradicts itself."""
    match market:
        case OrderBookIn():
            return "quote" if market.base == market.quote else "bids"
        case ConcentratedIn():
            return "asset1"
        case RfqIn():
            return "takes" if market.gives == market.takes else "expires_at"
        case _:
            return "reserves"


def market_errors(error: ValidationError, item: Any, prefix: str) -> list[FieldError]:
    """Say what is wrong with one market, under its pointer."""
    found: list[FieldError] = []
    for each in field_errors(error):
        # Pydantic names the kind it chose as the first step of the way; the message has no such step.
        step, _, rest = each.pointer.removeprefix("/").partition("/")
        if step in KINDS:
            found.append(FieldError(f"{prefix}/{rest}" if rest else prefix, each.message))
        elif not each.pointer and isinstance(item, dict):
            found.append(FieldError(f"{prefix}/kind", f"must be one of {', '.join(KINDS)}"))
        else:
            found.append(FieldError(prefix + each.pointer, each.message))
    return found


class _Reader:
    """Walks over a JSON object; of the member `markets` it parses one element at a time."""

    def __init__(self, raw: bytes) -> None:
        try:
            self._text = raw.decode()
        except UnicodeDecodeError as error:
            raise _not_json(f"not UTF-8 at byte {error.start}") from error
        self._at = 0
        self._decoder = json.JSONDecoder(parse_constant=_refuse_constant)

    async def members(self) -> AsyncIterator[tuple[str, int | None, Any]]:
        """Yield (name, None, value) for members, ("markets", number, value) for markets, number −1 before them."""
        if not self._take("{"):
            self._value()
            raise invalid_markets([FieldError("", 'must be a JSON object: {"markets": […]}')])
        if not self._take("}"):
            while True:
                name = self._value()
                if not isinstance(name, str):
                    self._fail("a member's name")
                self._require(":")
                if name == _MARKETS and self._take("["):
                    async for item in self._elements():
                        yield item
                else:
                    yield name, None, self._value()
                if self._take("}"):
                    break
                self._require(",")
        if self._at < len(self._text):
            self._fail("the end")

    async def _elements(self) -> AsyncIterator[tuple[str, int | None, Any]]:
        yield _MARKETS, -1, None
        if self._take("]"):
            return
        turn = Turn()
        number = 0
        while True:
            await turn.pass_on()
            yield _MARKETS, number, self._value()
            if self._take("]"):
                return
            self._require(",")
            number += 1

    def _value(self) -> Any:
        self._skip_space()
        try:
            value, self._at = self._decoder.raw_decode(self._text, self._at)
        except json.JSONDecodeError as error:
            raise _not_json(str(error)) from error
        except (ValueError, RecursionError) as error:
            raise _not_json(f"{error} (at character {self._at} or later)") from error
        self._skip_space()
        return value

    def _take(self, sign: str) -> bool:
        self._skip_space()
        if not self._text.startswith(sign, self._at):
            return False
        self._at += 1
        self._skip_space()
        return True

    def _require(self, sign: str) -> None:
        if not self._take(sign):
            self._fail(f"{sign!r}")

    def _skip_space(self) -> None:
        match = _SPACE.match(self._text, self._at)
        assert match is not None
        self._at = match.end()

    def _fail(self, expected: str) -> NoReturn:
        raise _not_json(f"{expected} is expected at character {self._at}")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON; numbers must be finite")


def _not_json(why: str) -> Invalid:
    return Invalid("the body is not JSON", (FieldError("", why),))
