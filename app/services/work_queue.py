"""What is due for each stage, taken under a lease."""

import asyncio
from collections.abc import Sequence

from app.config import PipelineSettings
from app.domain.claim import Claim
from app.domain.event import Stage
from app.infra.db import Database
from app.infra.listener import Listener
from app.infra.repositories import deliveries, stages


class WorkQueue:
    """Lends events to one worker slot."""

    def __init__(self, database: Database, listener: Listener, *, owner: str, pipeline: PipelineSettings) -> None:
        self._database = database
        self._listener = listener
        self._owner = owner
        self._pipeline = pipeline

    @property
    def batch(self) -> int:
        """The most events that are taken at once."""
        return self._pipeline.batch

    def waker(self, consumer: str) -> asyncio.Event:
        """Make an event that is set when something may be due."""
        return self._listener.waker(consumer)

    def forget(self, consumer: str, waker: asyncio.Event) -> None:
        """Stop waking."""
        self._listener.forget(consumer, waker)

    async def free_own(self, consumer: str) -> None:
        """Make due what a dead predecessor of this slot had taken. Raises Unavailable."""
        async with self._database.connection() as connection:
            await deliveries.free_owner(connection, self._name(consumer))

    async def take(self, consumer: str, *, retried: bool) -> list[Claim]:
        """Take a batch of what was never tried, or one event that was. Raises Unavailable."""
        # What failed before is tried alone, so that one poisonous event takes no other down with it.
        limit = 1 if retried else self._pipeline.batch
        owner, lease_s = self._name(consumer), self._pipeline.lease_s
        async with self._database.connection() as connection:
            if consumer in stages.FROM_STATUS:
                return await stages.claim(
                    connection, Stage(consumer), limit=limit, owner=owner, lease_s=lease_s, retried=retried
                )
            return await deliveries.claim(
                connection, consumer, limit=limit, owner=owner, lease_s=lease_s, retried=retried
            )

    async def give_back(self, claims: Sequence[Claim]) -> None:
        """Return claims after an outage, which is no attempt. Raises Unavailable."""
        async with self._database.connection() as connection:
            await deliveries.release(connection, claims, delays_s=[0.0] * len(claims), counted=False)

    def _name(self, consumer: str) -> str:
        return f"{self._owner}/{consumer}"
