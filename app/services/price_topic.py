"""Prices that come over a topic: `{symbol, value}` with the time as an attribute, bare or as a CloudEvent."""

import contextlib
import re
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import orjson

from app import telemetry
from app.domain.errors import Malformed, SolverError, Unavailable
from app.domain.event import PRICE_TICK, PRICES, SPEC_VERSION
from app.domain.message import Delivery, Message, pack
from app.domain.times import EPOCH
from app.infra.db import Database
from app.infra.repositories import deliveries
from app.infra.repositories.prices import NewTick
from app.services.ports import Bus
from app.services.price_history import PriceHistory
from app.services.schemas.prices import MAX_PRICES
from app.services.tick_reading import NAME, read_tick_rows

DEFAULT_SOURCE = "topic"
_RECEIVE_BATCH = 500
_RECEIVE_WAIT_S = 1.0
_FIELDS = {"symbol": "instrument", "value": "price", "timestamp": "at", "size": "size", "source": "source", "id": "id"}
_WIRE_NAMES = {ours: theirs for theirs, ours in _FIELDS.items()}
_SIX_LETTERS = re.compile(r"[A-Z]{6}")
_MILLISECONDS = re.compile(r"-?[0-9]{1,15}")


def read_price_message(message: Message) -> list[NewTick]:
    """Read the ticks of a message: one, or a list of them. Raises Malformed, and then keeps none."""
    try:
        body = orjson.loads(message.body)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"the message is not JSON: {error}") from error
    timestamp: Any = message.attributes.get("timestamp")
    source = DEFAULT_SOURCE
    if isinstance(body, dict) and "specversion" in body:
        body, source, said_at = _data_of_event(body)
        timestamp = timestamp or said_at
    items = body if isinstance(body, list) else [body]
    if not 1 <= len(items) <= MAX_PRICES:
        raise Malformed(f"a message carries 1 to {MAX_PRICES} prices, not {len(items)}")
    read = read_tick_rows([_row(item, timestamp, source) for item in items], source, prefix="")
    if read.rejected:
        first = read.errors[0]
        number, _, field = first.pointer.removeprefix("/").partition("/")
        where = f"/{number}/" if isinstance(body, list) else "/"
        raise Malformed(f"{where}{_WIRE_NAMES.get(field, field)}: {first.message}")
    return read.ticks


def _data_of_event(event: dict[str, Any]) -> tuple[Any, str, Any]:
    if event["specversion"] != SPEC_VERSION:
        raise Malformed(f"specversion is {event['specversion']!r}; this product speaks CloudEvents {SPEC_VERSION}")
    if event.get("type") != PRICE_TICK:
        raise Malformed(f"type is {event.get('type')!r}; on this topic publish {PRICE_TICK}")
    source = event.get("source")
    if not isinstance(source, str) or not isinstance(event.get("id"), str) or not event["id"]:
        raise Malformed("id and source must be strings")
    return event.get("data"), source if NAME.fullmatch(source) else DEFAULT_SOURCE, event.get("time")


def _row(item: Any, timestamp: Any, source: str) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise Malformed('a price must be a JSON object: {"symbol": "EUR-USD", "value": "1.0834"}')
    unknown = next((name for name in item if name not in _FIELDS), None)
    if unknown is not None:
        raise Malformed(f"/{unknown}: is not a field of a price; there are {', '.join(_FIELDS)}")
    given = {
        "timestamp": timestamp,
        "source": source,
        **{name: each for name, each in item.items() if each is not None},
    }
    for name in ("symbol", "value", "timestamp"):
        if given.get(name) is None:
            how = "as an attribute of the message" if name == "timestamp" else "in the message"
            raise Malformed(f"/{name}: is required; state it {how}")
    read = {"symbol": _instrument, "value": _decimal, "size": _decimal, "timestamp": _moment}
    return {_FIELDS[name]: read[name](value) if name in read else value for name, value in given.items()}


def _instrument(symbol: Any) -> Any:
    if not isinstance(symbol, str):
        return symbol
    if _SIX_LETTERS.fullmatch(symbol):
        return f"{symbol[:3]}-{symbol[3:]}"
    return symbol.replace("/", "-") if symbol.count("/") == 1 else symbol


def _decimal(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return format(Decimal(repr(value)), "f")


def _moment(timestamp: Any) -> Any:
    if isinstance(timestamp, str) and _MILLISECONDS.fullmatch(timestamp):
        timestamp = int(timestamp)
    if isinstance(timestamp, bool) or not isinstance(timestamp, int | float):
        return timestamp
    try:
        return (EPOCH + timedelta(milliseconds=timestamp)).isoformat()
    except OverflowError as error:
        raise Malformed(f"/timestamp: {timestamp} is out of range for milliseconds since 1970") from error


class PriceReceiver:
    """Takes prices from a topic; acknowledged once they are stored. What is no price becomes a dead letter."""

    def __init__(self, database: Database, bus: Bus, prices: PriceHistory, *, subscription: str, attempts: int) -> None:
        self._database = database
        self._bus = bus
        self._prices = prices
        self._subscription = subscription
        self._attempts = attempts

    async def receive(self) -> int:
        """Take one batch. Raises Unavailable."""
        received = await self._bus.receive(self._subscription, limit=_RECEIVE_BATCH, wait_s=_RECEIVE_WAIT_S)
        if not received:
            return 0
        try:
            await self._store(received)
        except Unavailable:
            with contextlib.suppress(Unavailable):
                await self._bus.release(received)
            raise
        await self._bus.acknowledge(received)
        return len(received)

    async def _store(self, received: Sequence[Delivery]) -> None:
        ticks: list[NewTick] = []
        broken: list[tuple[Delivery, SolverError]] = []
        for delivery in received:
            try:
                if delivery.attempt > self._attempts:
                    raise SolverError(f"{delivery.attempt - 1} attempts ended without an answer")
                ticks += read_price_message(delivery.message)
            except SolverError as error:
                broken.append((delivery, error))
        ticks.sort()
        for begin in range(0, len(ticks), MAX_PRICES):
            await self._prices.write_ticks(ticks[begin : begin + MAX_PRICES])
        if broken:
            await self._bury(broken)

    async def _bury(self, broken: Sequence[tuple[Delivery, SolverError]]) -> None:
        async with self._database.transaction() as connection:
            for delivery, refusal in broken:
                # With its attributes, one of which is the time.
                await deliveries.add_dead_letter(
                    connection,
                    consumer=PRICES,
                    claim=None,
                    payload=pack(delivery.message),
                    code=refusal.code,
                    reason=refusal.detail,
                )
        for delivery, refusal in broken:
            telemetry.dead_lettered(PRICES, delivery.message.key, delivery.attempt, refusal.code, refusal.detail)
