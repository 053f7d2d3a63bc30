"""Events out to a broker and in from it; and the manual way for both."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from app import telemetry
from app.config import AttemptSettings
from app.domain.claim import Claim
from app.domain.errors import Malformed
from app.domain.event import RELAY, TOPIC_ROUTE_EVENTS, EventType, Stage, consumer_of
from app.domain.message import Delivery, Message, pack
from app.domain.route import RouteStatus
from app.infra.db import Connection, Database
from app.infra.repositories import deliveries, events, stages, transitions
from app.services.event_check import check_event
from app.services.ports import Bus

_RECEIVE_BATCH = 200
_RECEIVE_WAIT_S = 1.0


def message_of(body: bytes) -> Message:
    """Wrap an event, or what should have been one, for the topic of routes."""
    attributes: dict[str, str] = {}
    key = ""
    try:
        event = json.loads(body)
        attributes = {name: str(event[name]) for name in ("type", "source", "id") if event.get(name)}
        key = str(event.get("subject") or "")
    except (ValueError, AttributeError, KeyError):
        pass
    return Message(TOPIC_ROUTE_EVENTS, body, key=key, attributes=attributes)


def subscribers(message: Message) -> Sequence[str]:
    """Name the consumer of a message; what starts nothing goes to the intake, which says so."""
    consumer = consumer_of(message.attributes.get("type", ""), message.attributes.get("source", ""))
    return [consumer or Stage.INTAKE]


class Relay:
    """Hands events of the outbox to a broker, in order."""

    stage = RELAY

    def __init__(self, database: Database, bus: Bus, *, attempts: AttemptSettings) -> None:
        self._database = database
        self._bus = bus
        self._attempts = attempts

    async def run(self, claims: Sequence[Claim]) -> None:
        """Publish a batch, then mark it. Raises Unavailable when the broker or Postgres is away."""
        async with self._database.connection() as connection:
            found = await events.by_ids(connection, [(claim.source, claim.event_id) for claim in claims])
        messages = [
            Message(
                TOPIC_ROUTE_EVENTS,
                json.dumps(events.envelope(event)).encode(),
                key=str(event.route_id),
                attributes={"type": event.type, "source": event.source, "id": event.id},
            )
            for claim in claims
            if (event := found.get((claim.source, claim.event_id))) is not None
        ]
        await self._bus.publish(messages)
        async with self._database.connection() as connection:
            await deliveries.finish(connection, claims)


class Receiver:
    """Takes events from a broker into the inbox; acknowledged once they are stored there."""

    def __init__(self, database: Database, bus: Bus, *, subscription: str) -> None:
        self._database = database
        self._bus = bus
        self._subscription = subscription

    async def receive(self) -> int:
        """Take one batch. Raises Unavailable."""
        received = await self._bus.receive(self._subscription, limit=_RECEIVE_BATCH, wait_s=_RECEIVE_WAIT_S)
        if not received:
            return 0
        rows: list[tuple[str, str, str, UUID | None, bytes | None]] = []
        broken: list[tuple[Delivery, Malformed]] = []
        for delivery in received:
            try:
                rows += self._rows(delivery.message)
            except Malformed as error:
                broken.append((delivery, error))
        async with self._database.transaction() as connection:
            if rows:
                await deliveries.add(connection, rows)
            for delivery, refusal in broken:
                await deliveries.add_dead_letter(
                    connection,
                    consumer=Stage.INTAKE,
                    claim=None,
                    payload=delivery.message.body,
                    code=refusal.code,
                    reason=refusal.detail,
                )
        await self._bus.acknowledge(received)
        for _, refusal in broken:
            telemetry.request_refused("topic", refusal.code, refusal.detail)
        return len(received)

    def _rows(self, message: Message) -> list[tuple[str, str, str, UUID | None, bytes | None]]:
        event = check_event(message.body)
        consumer = consumer_of(event["type"], event["source"])
        if consumer is None:
            return []
        if consumer is Stage.INTAKE:
            return [(consumer, event["source"], event["id"], None, pack(message))]
        return [(consumer, event["source"], event["id"], _route(event), None)]


def _route(event: dict[str, Any]) -> UUID:
    try:
        return UUID(str(event.get("subject")))
    except ValueError as error:
        raise Malformed(f"subject {event.get('subject')!r} is not a route id") from error


class Publishing:
    """The manual way: publish an event, look at what could not be handled, and put it back."""

    def __init__(self, database: Database, bus: Bus) -> None:
        self._database = database
        self._bus = bus

    async def publish(self, bodies: Sequence[bytes]) -> None:
        """Put events on the topic as a program would. Raises Unavailable."""
        await self._bus.publish([message_of(body) for body in bodies])

    async def dead(self, *, limit: int = 100, replayed: bool = False) -> list[dict[str, Any]]:
        """List dead letters, newest first. Raises Unavailable."""
        async with self._database.connection() as connection:
            return await deliveries.list_dead_letters(connection, limit=limit, replayed=replayed)

    async def replay(self, identifiers: Sequence[UUID] | None) -> int:
        """Put dead letters back, all of them without ids; one that was put back before is left alone."""
        async with self._database.transaction() as connection:
            letters = await deliveries.take_dead_letters(connection, identifiers)
            for letter in letters:
                if letter["source"] is None:
                    continue
                await deliveries.reopen(
                    connection,
                    consumer=letter["consumer"],
                    source=letter["source"],
                    event_id=letter["event_id"],
                )
                if letter["route_id"] is not None:
                    await self._revive(connection, letter["route_id"], Stage(letter["consumer"]))
                await deliveries.notify(connection, {letter["consumer"]})
        unnamed = [letter["payload"] for letter in letters if letter["source"] is None and letter["payload"]]
        if unnamed:
            await self.publish(unnamed)
        return len(letters)

    async def _revive(self, connection: Connection, route_id: UUID, stage: Stage) -> None:
        state = await transitions.lock(connection, route_id)
        if state is not None and state.status is RouteStatus.FAILED and stage in stages.FROM_STATUS:
            await transitions.move(
                connection,
                [route_id],
                stages.FROM_STATUS[stage],
                EventType.ROUTE_REPLAYED,
                data={"status": stages.FROM_STATUS[stage], "stage": stage},
            )
