"""Find what got stuck or ran out of time, and put it right."""

import time
from collections.abc import Mapping

from app import telemetry
from app.config import PipelineSettings, RetentionSettings
from app.domain.event import SWEEPER_SOURCE, EventType
from app.domain.route import RouteStatus
from app.infra.db import Database
from app.infra.repositories import deliveries, transitions
from app.services.retention import Retention

_BATCH = 200
_CONFIRMED = 50
"""Solutions confirmed in one go: few, as their routes are locked meanwhile."""
_FORGET_EVERY_S = 60.0


class Sweeper:
    """Runs in every worker; rows it works on are locked, so sweepers do not meet."""

    def __init__(
        self,
        database: Database,
        *,
        pipeline: PipelineSettings,
        retention: RetentionSettings,
        history: Retention,
        consumers: Mapping[str, str],
        relay: bool,
    ) -> None:
        self._database = database
        self._pipeline = pipeline
        self._retention = retention
        self._history = history
        self._consumers = consumers
        self._relay = relay
        self._forget_at = 0.0

    async def sweep(self) -> None:
        """Do one round. Raises Unavailable."""
        await self._confirm()
        await self._expire()
        await self._end_horizons()
        await self._republish()
        if time.monotonic() >= self._forget_at:
            await self._forget()
        await self._history.work()

    async def _confirm(self) -> None:
        async with self._database.connection() as connection:
            while await transitions.confirm_solutions(connection, limit=_CONFIRMED, relay=self._relay) == _CONFIRMED:
                pass

    async def _expire(self) -> None:
        async with self._database.transaction() as connection:
            unfilled = await transitions.due(connection, RouteStatus.READY, "expires_at", limit=_BATCH)
            unsolved = await transitions.overdue(connection, limit=_BATCH)
            if unfilled or unsolved:
                await transitions.move(
                    connection,
                    [*unfilled, *unsolved],
                    RouteStatus.EXPIRED,
                    EventType.ROUTE_EXPIRED,
                    source=SWEEPER_SOURCE,
                    data={"status": RouteStatus.EXPIRED},
                    reason={"code": "expired", "detail": "ttl_s ran out before the first fill"},
                    relay=self._relay,
                )
                telemetry.routes_expired(len(unfilled) + len(unsolved))

    async def _end_horizons(self) -> None:
        async with self._database.transaction() as connection:
            due = await transitions.due(connection, RouteStatus.EXECUTING, "horizon_ends_at", limit=_BATCH)
            if due:
                await transitions.move(
                    connection,
                    due,
                    RouteStatus.PARTIALLY_FILLED,
                    EventType.ROUTE_ENDED,
                    source=SWEEPER_SOURCE,
                    data={"status": RouteStatus.PARTIALLY_FILLED},
                    relay=self._relay,
                )

    async def _republish(self) -> None:
        async with self._database.transaction() as connection:
            stuck = await transitions.orphans(connection, older_than_s=self._pipeline.stuck_after_s, limit=_BATCH)
            for event_type, source, event_id, route_id in stuck:
                consumer = self._consumers.get(event_type)
                if consumer is not None:
                    await deliveries.revive(
                        connection, consumer=consumer, source=source, event_id=event_id, route_id=route_id
                    )
            if stuck:
                telemetry.routes_republished(len(stuck))

    async def _forget(self) -> None:
        async with self._database.connection() as connection:
            deliveries_gone = await deliveries.purge_done(connection, older_than_h=self._retention.deliveries_h)
            keys_gone = await deliveries.purge_keys(connection, older_than_h=self._retention.idempotency_h)
        if not deliveries_gone and not keys_gone:
            self._forget_at = time.monotonic() + _FORGET_EVERY_S
