import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.domain.errors import Invalid, Unavailable
from app.domain.event import RELAY, TOPIC_ROUTE_EVENTS, Stage
from app.domain.message import Delivery, Message
from app.infra.db import Database
from app.services.ports import Bus
from app.services.publishing import Publishing, Receiver, Relay, message_of, subscribers
from app.services.staging import Result, StageWork
from tests import scenarios
from tests.factories import requested
from tests.scenarios import Desk
from tests.twins import MemoryBus

SUBSCRIPTION = "solver_route_events"


@pytest.fixture
async def desk(clean_database: Database, postgres_url: str) -> AsyncIterator[Desk]:
    async with scenarios.desk(postgres_url) as desk:
        await desk.list_markets()
        yield desk


@pytest.fixture
async def bus() -> MemoryBus:
    bus = MemoryBus()
    await bus.ensure([TOPIC_ROUTE_EVENTS], {SUBSCRIPTION: TOPIC_ROUTE_EVENTS})
    return bus


class RefusingBus(MemoryBus):
    """A bus that cannot carry events of one type."""

    def __init__(self, refused: str, error: Exception) -> None:
        super().__init__()
        self._refused = refused
        self._error = error

    async def publish(self, messages: Sequence[Message]) -> None:
        if any(message.attributes["type"] == self._refused for message in messages):
            raise self._error
        await super().publish(messages)


def relay_on(desk: Desk, bus: Bus) -> Relay:
    """Make the relay of a desk."""
    return Relay(desk.database, bus, topic=TOPIC_ROUTE_EVENTS, attempts=desk.services.settings.attempts)


async def queue_for_relay(desk: Desk) -> None:
    """Queue every event said so far, as a process with a broker does."""
    await desk.execute(
        "INSERT INTO lake.delivery (consumer, source, event_id, route_id)"
        " SELECT 'relay', source, id, route_id FROM lake.event ORDER BY route_id, seq"
    )


async def published(bus: MemoryBus) -> list[Message]:
    """Take what was published."""
    received = await bus.receive(SUBSCRIPTION, limit=1000, wait_s=0.0)
    await bus.acknowledge(received)
    return [delivery.message for delivery in received]


async def test_the_relay_publishes_events_in_order_under_their_route(desk: Desk, bus: MemoryBus) -> None:
    route_id = await desk.ready()
    await queue_for_relay(desk)
    await relay_on(desk, bus).run(await desk.take(RELAY))

    messages = await published(bus)
    assert [json.loads(message.body) for message in messages] == await desk.events(route_id)
    assert {message.key for message in messages} == {str(route_id)}
    for message in messages:
        event = json.loads(message.body)
        assert message.attributes == {name: event[name] for name in ("type", "source", "id")}
    assert await desk.value("SELECT count(*) FROM lake.delivery WHERE consumer = 'relay' AND state = 0") == 0


async def test_while_the_broker_is_away_nothing_is_marked(desk: Desk, bus: MemoryBus) -> None:
    await desk.request()
    await queue_for_relay(desk)
    claims = await desk.take(RELAY)
    closed = MemoryBus()
    await closed.close()
    with pytest.raises(Unavailable):
        await relay_on(desk, closed).run(claims)
    await desk.stages.queue.give_back(claims)
    again = await desk.take(RELAY)
    assert [claim.attempts for claim in again] == [1, 1, 1]
    await relay_on(desk, bus).run(again)
    assert len(await published(bus)) == 3


async def test_an_event_the_broker_never_carries_is_dead_lettered_alone(desk: Desk) -> None:
    accepted = await desk.request()
    bus = RefusingBus("route_data.insertion_ok", Invalid("too long"))
    await bus.ensure([TOPIC_ROUTE_EVENTS], {SUBSCRIPTION: TOPIC_ROUTE_EVENTS})
    await queue_for_relay(desk)
    await relay_on(desk, bus).run(await desk.take(RELAY))

    assert len(await published(bus)) == 2
    (letter,) = await desk.dead()
    assert (letter["consumer"], letter["code"], letter["route_id"]) == ("relay", "invalid", accepted.route_id)
    assert await desk.status(accepted.route_id) == "failed"
    last = (await desk.events(accepted.route_id))[-1]
    assert last["type"] == "route_update.failed"
    queued = await desk.fetch("SELECT event_id FROM lake.delivery WHERE consumer = 'relay' AND state = 0")
    assert [row["event_id"] for row in queued] == [last["id"]]


async def test_publishing_is_tried_ten_times(desk: Desk) -> None:
    await desk.request()
    bus = RefusingBus("route_request.trade_route", LookupError("odd"))
    await bus.ensure([TOPIC_ROUTE_EVENTS], {SUBSCRIPTION: TOPIC_ROUTE_EVENTS})
    await queue_for_relay(desk)
    relay = relay_on(desk, bus)
    await relay.run(await desk.take(RELAY))
    for attempt in range(2, 11):
        assert await desk.dead() == []
        await desk.retry_now()
        claims = await desk.take(RELAY, retried=True)
        assert [claim.attempts for claim in claims] == [attempt]
        await relay.run(claims)
    assert [(letter["attempts"], letter["code"]) for letter in await desk.dead()] == [(10, "LookupError")]


async def receive(desk: Desk, bus: MemoryBus, *bodies: bytes) -> None:
    """Publish events and take them into the inbox."""
    await bus.publish([message_of(body, TOPIC_ROUTE_EVENTS) for body in bodies])
    receiver = Receiver(desk.database, bus, subscription=SUBSCRIPTION)
    assert await receiver.receive() == len(bodies)
    assert await bus.receive(SUBSCRIPTION, limit=1, wait_s=0.0) == []


async def test_the_receiver_queues_each_event_for_its_stage(desk: Desk, bus: MemoryBus) -> None:
    route_id = await desk.ready()
    events = await desk.events(route_id)
    await desk.execute("DELETE FROM lake.delivery")
    await receive(desk, bus, *(json.dumps(event).encode() for event in events), requested())
    await receive(desk, bus, *(json.dumps(event).encode() for event in events), requested())
    rows = await desk.fetch("SELECT consumer, event_id, route_id FROM lake.delivery ORDER BY position")
    assert [tuple(row.values()) for row in rows] == [
        ("features", events[2]["id"], route_id),
        ("inference", events[5]["id"], route_id),
        ("solve", events[8]["id"], route_id),
        ("intake", "event-1", None),
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[" * 100_000,
        requested().replace(b'"0.5"', b"NaN"),
        requested("a\x00b"),
        requested(dataschema="urn:solver:event:route_request:v9"),
        requested(type="route_data.insertion_ok", subject="no route", data={"route_id": str(uuid4())}),
    ],
)
async def test_what_no_schema_accepts_is_dead_lettered_and_stops_nothing(
    desk: Desk, bus: MemoryBus, body: bytes
) -> None:
    await receive(desk, bus, requested("before"), body, requested("after"))
    (letter,) = await desk.dead()
    assert (letter["consumer"], letter["code"], letter["payload"]) == ("intake", "malformed-event", body)
    rows = await desk.fetch("SELECT event_id FROM lake.delivery ORDER BY position")
    assert [row["event_id"] for row in rows] == ["before", "after"]


async def test_what_was_not_stored_comes_again(desk: Desk) -> None:
    bus = MemoryBus(lease_s=0.1)
    await bus.ensure([TOPIC_ROUTE_EVENTS], {SUBSCRIPTION: TOPIC_ROUTE_EVENTS})
    away = Database("postgresql://solver@127.0.0.1:1/x", pool_size=1, connect_timeout_s=1, timeout_s=1, name="away")
    await away.open()
    await bus.publish([message_of(requested(), TOPIC_ROUTE_EVENTS)])
    with pytest.raises(Unavailable):
        await Receiver(away, bus, subscription=SUBSCRIPTION).receive()
    await away.close()
    assert await Receiver(desk.database, bus, subscription=SUBSCRIPTION).receive() == 1
    assert await desk.count("lake.delivery") == 1


class Failing:
    """A stage that fails until it is mended."""

    def __init__(self, work: StageWork) -> None:
        self.stage = work.stage
        self.is_mended = False
        self._work = work

    async def compute(self, rows: Sequence[Mapping[str, Any]]) -> list[Result | Exception]:
        if not self.is_mended:
            return [Invalid("broken") for _ in rows]
        return await self._work.compute(rows)


async def failed(desk: Desk, stage: Stage) -> tuple[UUID, Failing]:
    """Bring a route to `failed` in a stage."""
    failing = Failing(desk.real_work(stage))
    desk.put(failing)
    route_id = await desk.ready()
    assert await desk.status(route_id) == "failed"
    return route_id, failing


@pytest.mark.parametrize("stage", [Stage.FEATURES, Stage.INFERENCE, Stage.SOLVE])
async def test_a_replay_takes_a_failed_route_up_again(desk: Desk, stage: Stage) -> None:
    route_id, failing = await failed(desk, stage)
    failing.is_mended = True
    await desk.execute("UPDATE lake.route SET expires_at = now() - interval '1 hour'")
    (letter,) = await desk.services.publishing.dead()
    assert await desk.services.publishing.replay([letter["id"]]) == 1
    await desk.stages.sweeper.sweep()
    await desk.settle()

    assert await desk.status(route_id) == "ready"
    trail = await desk.trail(route_id)
    assert [seq for seq, _, _ in trail] == list(range(1, 14))
    assert [kind for _, kind, _ in trail].count("route_update.replayed") == 1
    assert (await desk.route(route_id))["reason"] is None

    assert await desk.services.publishing.replay([letter["id"]]) == 0
    assert await desk.services.publishing.dead() == []
    assert len(await desk.services.publishing.dead(replayed=True)) == 1
    await desk.settle()
    assert await desk.trail(route_id) == trail


async def test_a_replay_outlives_the_delivery(desk: Desk) -> None:
    route_id, failing = await failed(desk, Stage.SOLVE)
    failing.is_mended = True
    await desk.services.publishing.publish([requested(program="late")])
    await desk.settle()
    await desk.execute("DELETE FROM lake.delivery")
    await desk.services.access.create_key("late", ["trade"])
    assert await desk.services.publishing.replay(None) == 2
    await desk.settle()
    assert await desk.status(route_id) == "ready"
    assert {row["status"] for row in await desk.fetch("SELECT status FROM lake.route")} == {"ready"}
    assert await desk.count("lake.route") == 2


async def test_a_replay_of_what_is_still_broken_fails_anew(desk: Desk) -> None:
    route_id, _ = await failed(desk, Stage.SOLVE)
    assert await desk.services.publishing.replay(None) == 1
    await desk.settle()
    assert await desk.status(route_id) == "failed"
    assert len(await desk.services.publishing.dead()) == 1
    assert await desk.count("lake.dead_letter") == 2


async def test_a_replay_says_so_to_the_broker_too(desk: Desk, bus: MemoryBus) -> None:
    route_id, _ = await failed(desk, Stage.FEATURES)
    publishing = Publishing(desk.database, bus, topic=TOPIC_ROUTE_EVENTS, relay=True)
    await publishing.replay(None)
    (row,) = await desk.fetch("SELECT event_id FROM lake.delivery WHERE consumer = 'relay'")
    event = (await desk.events(route_id))[-1]
    assert (event["id"], event["type"]) == (row["event_id"], "route_update.replayed")


async def test_a_replay_leaves_a_route_that_ended_otherwise(desk: Desk) -> None:
    accepted = await desk.request()
    runner = desk.put(Failing(desk.real_work(Stage.FEATURES)))
    claims = await desk.take(Stage.FEATURES)
    await desk.services.canceller.cancel("desk", accepted.route_id)
    await runner.run(claims)
    assert await desk.services.publishing.replay(None) == 1
    await desk.settle()
    assert await desk.status(accepted.route_id) == "cancelled"


@pytest.mark.parametrize(
    ("body", "key", "attributes"),
    [
        (b"{", "", {}),
        (b"[1]", "", {}),
        (b'{"id": 7, "type": "", "source": "s", "subject": null}', "", {"source": "s"}),
        (b'{"id": "a\\u0000", "type": "\\ud800", "source": "' + b"x" * 300 + b'"}', "", {}),
        (b'{"id": "1", "type": "t.u", "source": "s", "subject": "r"}', "r", {"id": "1", "type": "t.u", "source": "s"}),
    ],
)
def test_only_plain_names_travel_beside_a_message(body: bytes, key: str, attributes: dict[str, str]) -> None:
    assert message_of(body, "topic") == Message("topic", body, key=key, attributes=attributes)


@pytest.mark.parametrize(
    ("kind", "source", "consumer"),
    [
        ("route_request.trade_route", "desk", "intake"),
        ("route_data.insertion_ok", "solver-api", "features"),
        ("features_data.insertion_ok", "solver-features", "inference"),
        ("inference_data.insertion_ok", "solver-inference", "solve"),
        ("route_update.solution_ok", "solver-solve", "intake"),
        ("", "", "intake"),
    ],
)
def test_every_message_has_a_consumer(kind: str, source: str, consumer: str) -> None:
    message = Message("topic", b"{}", attributes={"type": kind, "source": source})
    assert list(subscribers(message)) == [consumer]
    assert Delivery(message, 1, None).message == message
