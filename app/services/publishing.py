"""Events out to a broker and in from it; and the manual way for both."""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from app import telemetry
from app.config import AttemptSettings
from app.domain.claim import Claim
from app.domain.errors import Malformed, SolverError, Unavailable
from app.domain.event import PRICES, RELAY, EventType, Stage, consumer_of
from app.domain.message import Delivery, Message, pack, unpack
from app.domain.route import RouteStatus
from app.infra.db import Connection, Database
from app.infra.repositories import deliveries, events, stages, transitions
from app.services.event_check import MAX_NAME, check_event
from app.services.ports import Bus
from app.services.staging import backoff_s, fail

_RECEIVE_BATCH = 200
_RECEIVE_WAIT_S = 1.0


def message_of(body: bytes, topic: str) -> Message:
    """Wrap an event, or what should have been one, for a topic."""
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        event = None
    named = {name: text for name, text in event.items() if _is_name(text)} if isinstance(event, dict) else {}
    attributes = {name: named[name] for name in ("type", "source", "id") if name in named}
    return Message(topic, body, key=named.get("subject", ""), attributes=attributes)


def price_message_of(body: bytes, topic: str) -> Message:
    """Wrap a price. Only events are known by source and id: those of a bare price count within its instrument."""
    message = message_of(body, topic)
    return Message(topic, body, attributes=message.attributes if "type" in message.attributes else {})


def _anew(message: Message) -> Message:
    # Without the name under which it was taken already; what it says counts once anyway.
    return replace(message, attributes={name: text for name, text in message.attributes.items() if name == "timestamp"})


def _is_name(text: object) -> bool:
    return isinstance(text, str) and 0 < len(text) <= MAX_NAME and text.isprintable()


def subscribers(message: Message, *, price_topic: str = PRICES) -> Sequence[str]:
    """Name the consumer of a message; what starts nothing goes to the intake, which says so."""
    if message.topic == price_topic:
        return [PRICES]
    consumer = consumer_of(message.attributes.get("type", ""), message.attributes.get("source", ""))
    return [consumer or Stage.INTAKE]


class Relay:
    """Hands events of the outbox to a broker, in order."""

    stage = RELAY

    def __init__(self, database: Database, bus: Bus, *, topic: str, attempts: AttemptSettings) -> None:
        self._database = database
        self._bus = bus
        self._topic = topic
        self._attempts = attempts

    async def run(self, claims: Sequence[Claim]) -> None:
        """Publish a batch, then mark it. Raises Unavailable when the broker or Postgres is away."""
        try:
            await self._publish(claims)
        except Unavailable:
            raise
        except Exception as error:
            if len(claims) == 1:
                await self._give_up_or_retry(claims[0], error)
                return
            for claim in claims:
                await self.run([claim])

    async def _publish(self, claims: Sequence[Claim]) -> None:
        async with self._database.connection() as connection:
            found = await events.by_ids(connection, [(claim.source, claim.event_id) for claim in claims])
        messages = [
            Message(
                self._topic,
                json.dumps(events.envelope(event)).encode(),
                key=str(event.route_id),
                attributes={"type": event.type, "source": event.source, "id": event.id},
            )
            for claim in claims
            if (event := found.get((claim.source, claim.event_id))) is not None
        ]
        await self._bus.publish(messages)
        telemetry.published(self._topic, len(messages))
        async with self._database.connection() as connection:
            await deliveries.finish(connection, [claim for claim in claims if (claim.source, claim.event_id) in found])
        for claim in claims:
            if (claim.source, claim.event_id) not in found:
                lost = LookupError("the event is not in the trail")
                await fail(self._database, self.stage, claim, lost, relay=True)

    async def _give_up_or_retry(self, claim: Claim, error: Exception) -> None:
        is_hopeless = isinstance(error, SolverError) and not error.retryable
        if is_hopeless or claim.attempts >= self._attempts.publish:
            await fail(self._database, self.stage, claim, error, relay=True)
            return
        telemetry.stage_retried(self.stage, str(claim.route_id), claim.attempts, repr(error))
        async with self._database.connection() as connection:
            delay_s = backoff_s(claim.attempts, self._attempts)
            await deliveries.release(connection, [claim], delays_s=[delay_s], counted=True)


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
        try:
            await self._store(rows, broken)
        except Unavailable:
            with contextlib.suppress(Unavailable):
                await self._bus.release(received)
            raise
        await self._bus.acknowledge(received)
        for _, refusal in broken:
            telemetry.request_refused("topic", refusal.code, refusal.detail)
        return len(received)

    async def _store(
        self,
        rows: Sequence[tuple[str, str, str, UUID | None, bytes | None]],
        broken: Sequence[tuple[Delivery, Malformed]],
    ) -> None:
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

    def __init__(self, database: Database, bus: Bus, *, topic: str, price_topic: str = PRICES, relay: bool) -> None:
        self._database = database
        self._bus = bus
        self._topic = topic
        self._price_topic = price_topic
        self._relay = relay

    async def publish(self, bodies: Sequence[bytes]) -> None:
        """Put events on the topic of routes as a program would. Raises Unavailable."""
        await self._bus.publish([message_of(body, self._topic) for body in bodies])

    async def publish_prices(self, bodies: Sequence[bytes]) -> None:
        """Put prices on their topic as a feed would. Raises Unavailable."""
        await self._bus.publish([price_message_of(body, self._price_topic) for body in bodies])

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
                await self._reopen(connection, letter)
                if letter["route_id"] is not None:
                    await self._revive(connection, letter["route_id"], letter["consumer"])
                await deliveries.notify(connection, {letter["consumer"]})
            # Before the commit that marks them: a crash in between publishes them twice, never not at all.
            messages = [
                _anew(unpack(letter["payload"]))
                if letter["consumer"] == PRICES
                else message_of(letter["payload"], self._topic)
                for letter in letters
                if letter["source"] is None and letter["payload"]
            ]
            if messages:
                await self._bus.publish(messages)
        return len(letters)

    async def _reopen(self, connection: Connection, letter: dict[str, Any]) -> None:
        consumer, source, event_id = letter["consumer"], letter["source"], letter["event_id"]
        if not await deliveries.reopen(connection, consumer=consumer, source=source, event_id=event_id):
            # The delivery was forgotten meanwhile; the letter keeps what it carried.
            payload = letter["payload"] and pack(message_of(letter["payload"], self._topic))
            await deliveries.add(connection, [(consumer, source, event_id, letter["route_id"], payload)])

    async def _revive(self, connection: Connection, route_id: UUID, consumer: str) -> None:
        state = await transitions.lock(connection, route_id)
        status = next((status for stage, status in stages.FROM_STATUS.items() if stage == consumer), None)
        if state is not None and state.status is RouteStatus.FAILED and status is not None:
            await transitions.move(
                connection,
                [route_id],
                status,
                EventType.ROUTE_REPLAYED,
                data={"status": status, "stage": consumer},
                relay=self._relay,
            )
            await transitions.renew(connection, route_id)
