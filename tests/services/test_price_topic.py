import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from app.bootstrap import PRICE_SUBSCRIPTION
from app.domain.errors import Malformed, Unavailable
from app.domain.event import PRICES
from app.domain.message import Message
from app.infra.db import Database
from app.services.price_topic import PriceReceiver, read_price_message
from app.services.publishing import price_message_of, subscribers
from tests import scenarios
from tests.scenarios import Desk
from tests.twins import MemoryBus

AT = "2026-01-05T12:00:00.250Z"
MOMENT = datetime(2026, 1, 5, 12, 0, 0, 250_000, tzinfo=UTC)
BARE: dict[str, Any] = {"symbol": "EUR-USD", "value": "1.0834"}
EVENT = {"specversion": "1.0", "type": "prices.tick", "source": "desk", "id": "e-1", "data": BARE}


def message(body: Any, **attributes: str) -> Message:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Message(PRICES, content, attributes=attributes)


@pytest.fixture
async def desk(clean_database: Database, postgres_url: str) -> AsyncIterator[Desk]:
    async with scenarios.desk(postgres_url) as desk:
        yield desk


@pytest.fixture
async def bus() -> MemoryBus:
    bus = MemoryBus(lease_s=0.1)
    await bus.ensure([PRICES], {PRICE_SUBSCRIPTION: PRICES})
    return bus


def receiver_on(desk: Desk, bus: MemoryBus) -> PriceReceiver:
    return PriceReceiver(desk.database, bus, desk.services.prices, subscription=PRICE_SUBSCRIPTION, attempts=3)


@pytest.mark.parametrize("symbol", ["EUR-USD", "EURUSD", "EUR/USD"])
@pytest.mark.parametrize("value", ["1.0834", 1.0834, "10834e-4"])
@pytest.mark.parametrize("timestamp", [AT, "2026-01-05T14:00:00.25+02:00", "1767614400250"])
def test_a_price_may_be_written_in_several_ways(symbol: str, value: Any, timestamp: str) -> None:
    [tick] = read_price_message(message({"symbol": symbol, "value": value}, timestamp=timestamp))
    assert tick == ("EUR-USD", "topic", MOMENT, "1.0834x0.0", 1.0834, 0.0)


def test_everything_else_about_a_price_may_be_said_too() -> None:
    body = {**BARE, "size": 2, "source": "kraken", "id": "7"}
    assert read_price_message(message(body, timestamp=AT)) == [("EUR-USD", "kraken", MOMENT, "7", 1.0834, 2.0)]
    assert read_price_message(message({**body, "timestamp": 1767614400250})) == [
        ("EUR-USD", "kraken", MOMENT, "7", 1.0834, 2.0)
    ]
    assert read_price_message(message({"symbol": "btc-USD", "value": 1e-7, "timestamp": AT}))[0][0] == "btc-USD"


def test_an_event_says_the_same() -> None:
    [tick] = read_price_message(message(EVENT, timestamp=AT))
    assert tick == ("EUR-USD", "desk", MOMENT, "1.0834x0.0", 1.0834, 0.0)
    assert read_price_message(message({**EVENT, "time": AT})) == [tick]
    assert read_price_message(message({**EVENT, "data": {**BARE, "source": "topic"}, "time": AT}))[0][1] == "topic"


def test_a_message_may_carry_many() -> None:
    bodies = [{**BARE, "timestamp": AT}, {"symbol": "GBP-USD", "value": 2, "id": "x"}]
    assert len(read_price_message(message(bodies, timestamp=AT))) == 2
    with pytest.raises(Malformed, match="/timestamp: is required"):
        read_price_message(message(bodies))


BROKEN: dict[str, tuple[Any, str]] = {
    "no JSON": (b"{", "not JSON"),
    "no UTF-8": (b"\xff", "not JSON"),
    "NaN": (b'{"symbol": "EUR-USD", "value": NaN}', "not JSON"),
    "half a character": (b'{"symbol": "EUR-USD", "value": 1, "id": "\\ud800"}', "not JSON"),
    "a number": (7, "must be a JSON object"),
    "nothing": ([], "1 to 10000 prices"),
    "no symbol": ({"value": 1}, "/symbol: is required"),
    "no value": ({"symbol": "EUR-USD"}, "/value: is required"),
    "an odd symbol": ({**BARE, "symbol": "EUR"}, "/symbol: must be an instrument"),
    "a symbol that is none": ({**BARE, "symbol": 7}, "/symbol: must be a string"),
    "a price of zero": ({**BARE, "value": 0}, "/value: must be a decimal string above zero"),
    "a price below": ({**BARE, "value": -1.5}, "/value"),
    "true": ({**BARE, "value": True}, "/value"),
    "a huge price": ({**BARE, "value": 1e300}, "/value"),
    "another field": ({**BARE, "colour": "red"}, "/colour: is not a field"),
    "an odd time": ({**BARE, "timestamp": "soon"}, "/timestamp"),
    "a time out of range": ({**BARE, "timestamp": 10**18}, "/timestamp"),
    "a name with a space": ({**BARE, "source": "a b"}, "/source: must be a name"),
    "one of many": ([{**BARE, "timestamp": AT}, {**BARE, "value": "x"}], "/1/value"),
    "another CloudEvents": ({**EVENT, "specversion": "0.3"}, "specversion"),
    "another type": ({**EVENT, "type": "prices.bar"}, "prices.tick"),
    "an event without an id": ({**EVENT, "id": ""}, "id and source"),
    "an event without data": ({**EVENT, "data": None}, "must be a JSON object"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_price_is_refused_with_the_reason(name: str) -> None:
    body, reason = BROKEN[name]
    with pytest.raises(Malformed) as refusal:
        read_price_message(message(body, timestamp=AT))
    assert reason in refusal.value.detail


async def test_prices_are_stored_once_however_often_they_come(desk: Desk, bus: MemoryBus) -> None:
    receiver = receiver_on(desk, bus)
    sent = [message({**BARE, "value": 1 + number / 100}, timestamp=AT) for number in range(5)]
    await bus.publish([*sent, *sent, message(EVENT, timestamp=AT)])
    assert await receiver.receive() == 11
    await bus.publish(sent)
    assert await receiver.receive() == 5
    assert await desk.count("lake.price") == 6
    assert await desk.value("SELECT count FROM lake.bar") == 6
    assert await bus.receive(PRICE_SUBSCRIPTION, limit=1, wait_s=0.0) == []


async def test_what_is_no_price_stops_nothing_and_can_be_replayed(desk: Desk, bus: MemoryBus) -> None:
    await bus.publish([message(BARE), message(BARE, timestamp=AT), message(b"{", timestamp=AT)])
    assert await receiver_on(desk, bus).receive() == 3
    assert await desk.count("lake.price") == 1
    first, second = await desk.dead()
    assert (first["consumer"], first["code"]) == ("prices", "malformed-event")
    assert "timestamp" in first["reason"]
    assert json.loads(second["payload"])["attributes"] == {"timestamp": AT}
    assert await desk.services.publishing.replay(None) == 2
    assert await desk.stages.price_receiver.receive() == 2
    assert len(await desk.dead()) == 4


async def test_what_was_not_stored_comes_again(desk: Desk, bus: MemoryBus) -> None:
    async with scenarios.desk("postgresql://solver@127.0.0.1:1/x", role="tool") as cut_off:
        await bus.publish([message(BARE, timestamp=AT)])
        with pytest.raises(Unavailable):
            await receiver_on(cut_off, bus).receive()
    assert await receiver_on(desk, bus).receive() == 1
    assert await desk.count("lake.price") == 1


async def test_prices_published_by_hand_take_the_same_way(desk: Desk) -> None:
    bodies = [json.dumps(body).encode() for body in ({**BARE, "timestamp": AT}, {**EVENT, "time": AT})]
    for _ in range(2):
        await desk.services.publishing.publish_prices(bodies)
        assert await desk.stages.price_receiver.receive() > 0
    rows = await desk.fetch("SELECT source FROM lake.price ORDER BY source")
    assert [row["source"] for row in rows] == ["desk", "topic"]


def test_a_bare_price_is_not_known_by_its_id() -> None:
    body = json.dumps({**BARE, "source": "kraken", "id": "7"}).encode()
    assert price_message_of(body, PRICES).attributes == {}
    named = price_message_of(json.dumps(EVENT).encode(), PRICES).attributes
    assert named == {"type": "prices.tick", "source": "desk", "id": "e-1"}
    assert subscribers(Message(PRICES, b"")) == [PRICES]
    assert subscribers(Message("other", b"")) == ["intake"]
