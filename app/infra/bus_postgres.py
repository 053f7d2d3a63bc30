"""The bus that needs nothing but the database: the delivery table as queue, taken with SKIP LOCKED."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from uuid import UUID

from app.domain.claim import Claim
from app.domain.errors import Unavailable
from app.domain.message import Delivery, Message, pack, unpack
from app.infra.db import Connection, Database
from app.infra.ids import new_id
from app.infra.listener import Listener
from app.infra.repositories import deliveries

Subscribers = Callable[[Message], Sequence[str]]
_POLL_S = 0.5


class PostgresBus:
    """Delivers messages from a table. Receivers of one subscription share the work.

    A message that names its `source` and `id` is delivered once per subscription however often it is published.
    """

    def __init__(
        self, database: Database, listener: Listener, subscribers: Subscribers, *, owner: str, lease_s: float = 15.0
    ) -> None:
        self._database = database
        self._listener = listener
        self._subscribers = subscribers
        self._owner = owner
        self._lease_s = lease_s
        self._closed = asyncio.Event()

    async def publish(self, messages: Sequence[Message]) -> None:
        """Store messages for whoever subscribes. Raises Unavailable."""
        self._refuse_closed()
        rows = [row for message in messages for row in self._rows(message)]
        if rows:
            async with self._database.transaction() as connection:
                await deliveries.add(connection, rows)

    def _rows(self, message: Message) -> list[tuple[str, str, str, UUID | None, bytes | None]]:
        source, identifier = _name(message)
        packed = pack(message)
        return [(consumer, source, identifier, _route(message.key), packed) for consumer in self._subscribers(message)]

    async def receive(self, subscription: str, *, limit: int, wait_s: float) -> list[Delivery]:
        """Take what is due, waiting a while for the first. Raises Unavailable."""
        self._refuse_closed()
        waker = self._listener.waker(subscription)
        deadline = asyncio.get_running_loop().time() + wait_s
        try:
            while not self._closed.is_set():
                waker.clear()
                claims = await self._claim(subscription, limit)
                if claims:
                    return [_delivery(claim) for claim in claims]
                rest = deadline - asyncio.get_running_loop().time()
                if rest <= 0:
                    return []
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(waker.wait(), timeout=min(rest, _POLL_S))
            return []
        finally:
            self._listener.forget(subscription, waker)

    def _refuse_closed(self) -> None:
        if self._closed.is_set():
            raise Unavailable("the bus is closed")

    async def _claim(self, subscription: str, limit: int) -> list[Claim]:
        async with self._database.connection() as connection:
            for retried in (True, False):
                claims = await deliveries.claim(
                    connection, subscription, limit=limit, owner=self._owner, lease_s=self._lease_s, retried=retried
                )
                if claims:
                    return claims
            return []

    async def acknowledge(self, received: Sequence[Delivery]) -> None:
        """Never deliver these again. Raises Unavailable."""
        if received:
            async with self._database.connection() as connection:
                await deliveries.finish(connection, [delivery.handle for delivery in received])

    async def release(self, received: Sequence[Delivery], *, delay_s: float = 0.0) -> None:
        """Deliver these again. Raises Unavailable."""
        if not received:
            return
        async with self._database.connection() as connection:
            await self._release(connection, [delivery.handle for delivery in received], delay_s)

    async def _release(self, connection: Connection, claims: list[Claim], delay_s: float) -> None:
        await deliveries.release(connection, claims, delays_s=[delay_s] * len(claims), counted=True)

    async def close(self) -> None:
        """Stop receiving; what was not acknowledged is due again when its lease ends."""
        self._closed.set()


def _name(message: Message) -> tuple[str, str]:
    source, identifier = message.attributes.get("source"), message.attributes.get("id")
    return (source, identifier) if source and identifier else ("unnamed", str(new_id()))


def _route(key: str) -> UUID | None:
    try:
        return UUID(key)
    except ValueError:
        return None


def _delivery(claim: Claim) -> Delivery:
    return Delivery(message=unpack(claim.payload or b""), attempt=claim.attempts, handle=claim)
