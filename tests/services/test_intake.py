from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from app.domain.event import Stage, route_id_of
from app.infra.db import Database
from tests import scenarios
from tests.factories import requested, trade
from tests.scenarios import Desk, as_json


@pytest.fixture
async def desk(clean_database: Database, postgres_url: str) -> AsyncIterator[Desk]:
    async with scenarios.desk(postgres_url, attempts={"intake": 2}) as desk:
        await desk.list_markets()
        await desk.services.access.create_key("desk", ["trade"])
        yield desk


async def publish(desk: Desk, *bodies: bytes) -> None:
    """Put events on the topic and take them in."""
    await desk.services.publishing.publish(bodies)
    await desk.step(Stage.INTAKE)


async def test_an_event_makes_the_route_that_a_post_makes(desk: Desk) -> None:
    posted = (await desk.request(client_order_id="posted")).route_id
    asked = trade(client_order_id="published")
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    await publish(desk, requested(data={"program": "desk", "trade": asked}, traceparent=trace))
    published = route_id_of("desk", "event-1")

    first, second = await desk.route(posted), await desk.route(published)
    differing = {name for name in first if first[name] != second[name]}
    assert differing == {"id", "client_order_id", "trade", "created_at", "updated_at", "expires_at", "traceparent"}
    assert orjson.loads(second["trade"]) == {**orjson.loads(first["trade"]), "client_order_id": "published"}
    assert second["expires_at"] - second["created_at"] == first["expires_at"] - first["created_at"]
    assert second["traceparent"] == trace
    assert await desk.trail(posted) == await desk.trail(published)
    event = (await desk.events(published))[0]
    assert (event["source"], event["id"]) == ("desk", "event-1")

    await desk.settle()
    assert await desk.trail(posted) == await desk.trail(published)
    assert await desk.status(published) == "ready"


async def test_the_order_id_beside_the_trade_counts(desk: Desk) -> None:
    await publish(desk, requested(data={"program": "desk", "client_order_id": "abc-1", "trade": trade()}))
    asked = {"program": "desk", "client_order_id": "abc-2", "trade": trade(client_order_id=None)}
    await publish(desk, requested("event-2", data=asked))
    rows = await desk.fetch("SELECT client_order_id FROM lake.route ORDER BY client_order_id")
    assert [row["client_order_id"] for row in rows] == ["abc-1", "abc-2"]


async def test_an_event_delivered_again_makes_no_second_route(desk: Desk) -> None:
    await publish(desk, requested(), requested())
    await publish(desk, requested())
    await desk.execute("UPDATE lake.delivery SET state = 0, attempts = 0 WHERE consumer = 'intake'")
    await desk.step(Stage.INTAKE)
    await desk.execute("DELETE FROM lake.delivery WHERE consumer = 'intake'")
    await publish(desk, requested(time="2026-01-05T13:00:00Z"))

    assert await desk.count("lake.route") == 1
    assert await desk.count("lake.event") == 3
    assert await desk.count("lake.dead_letter") == 0


def test_the_id_of_a_route_follows_from_its_event() -> None:
    identifier = route_id_of("desk", "event-1")
    assert identifier == route_id_of("desk", "event-1")
    assert identifier != route_id_of("desk", "event-2")
    assert identifier != route_id_of("other", "event-1")
    assert identifier.version == 7


@pytest.mark.parametrize("when", [{"time": None}, {"time": "yesterday"}, {"time": 7}, {"traceparent": ["x"]}])
async def test_odd_times_and_traces_do_no_harm(desk: Desk, when: dict[str, Any]) -> None:
    await publish(desk, requested(**when))
    assert await desk.count("lake.route") == 1
    assert await desk.value("SELECT traceparent FROM lake.route") is None


BROKEN = {
    "no JSON": (b"{", "malformed-event", "not JSON"),
    "no text": (b"\xff\xfe", "malformed-event", "not JSON"),
    "no object": (b"[]", "malformed-event", "CloudEvent"),
    "deep": (b"[" * 100_000, "malformed-event", "not JSON"),
    "NaN": (requested().replace(b'"0.5"', b"NaN"), "malformed-event", "NaN"),
    "a NUL": (requested("a\x00b"), "malformed-event", "NUL"),
    "a lone surrogate": (requested().replace(b"event-1", b"\\ud800"), "malformed-event", "surrogates"),
    "no id": (requested(""), "malformed-event", "id must be"),
    "a long id": (requested("x" * 257), "malformed-event", "id must be"),
    "another CloudEvents": (requested(specversion="0.3"), "malformed-event", "specversion"),
    "an unknown version": (
        requested(dataschema="urn:solver:event:route_request:v9"),
        "malformed-event",
        "unknown version",
    ),
    "another schema": (requested(dataschema="urn:solver:event:route_data:v1"), "malformed-event", "dataschema"),
    "another type": (requested(type="route_request.nonsense"), "malformed-event", "starts nothing"),
    "no data": (requested(data=None), "malformed-event", "data must be"),
    "no trade": (requested(data={"program": "desk"}), "malformed-event", "trade"),
    "a field too many": (
        requested(data={"program": "desk", "trade": trade(), "x": 1}),
        "malformed-event",
        "x",
    ),
    "an unknown program": (requested(program="nobody"), "malformed-event", "nobody"),
    "a bad trade": (
        requested(data={"program": "desk", "trade": trade(quantity="-1")}),
        "invalid",
        "/trade/quantity must be a decimal",
    ),
    "an unknown field": (
        requested(data={"program": "desk", "trade": trade(speed="high")}),
        "invalid",
        "/trade/speed",
    ),
    "an unknown asset": (
        requested(data={"program": "desk", "trade": trade(instrument="DOGE-USD")}),
        "invalid",
        "/instrument DOGE",
    ),
    "a number too large": (
        requested(data={"program": "desk", "trade": trade(ttl_s=1)}).replace(b'"ttl_s": 1', b'"ttl_s": 1e999'),
        "invalid",
        "/trade/ttl_s",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_what_cannot_be_a_route_is_dead_lettered_with_the_reason(desk: Desk, name: str) -> None:
    body, code, reason = BROKEN[name]
    await publish(desk, body, requested("good"))

    (letter,) = await desk.dead()
    assert (letter["consumer"], letter["code"], letter["attempts"]) == ("intake", code, 1)
    assert reason in letter["reason"]
    assert letter["payload"] == body
    rows = await desk.fetch("SELECT id FROM lake.route")
    assert [row["id"] for row in rows] == [route_id_of("desk", "good")]
    assert await desk.count("lake.event") == 3


async def test_a_taken_order_id_is_dead_lettered(desk: Desk) -> None:
    first = await desk.request(client_order_id="abc-1")
    await publish(desk, requested(data={"program": "desk", "trade": trade(client_order_id="abc-1")}))
    (letter,) = await desk.dead()
    assert letter["code"] == "duplicate-client-order-id"
    assert str(first.route_id) in letter["reason"]
    assert await desk.count("lake.route") == 1


async def test_once_the_cause_is_gone_a_replay_makes_the_route(desk: Desk) -> None:
    await publish(desk, requested(program="late"))
    (letter,) = await desk.dead()
    await desk.services.access.create_key("late", ["trade"])
    assert await desk.services.publishing.replay([letter["id"]]) == 1
    assert await desk.services.publishing.replay([letter["id"]]) == 0
    assert await desk.services.publishing.replay(None) == 0
    await desk.settle()
    (row,) = await desk.fetch("SELECT program, status FROM lake.route")
    assert row == {"program": "late", "status": "ready"}


async def test_an_unnamed_message_can_be_replayed_too(desk: Desk) -> None:
    await publish(desk, b"{")
    await desk.services.publishing.replay(None)
    await desk.step(Stage.INTAKE)
    assert [as_json(letter["payload"] + b"}") for letter in await desk.dead()] == [{}, {}]
