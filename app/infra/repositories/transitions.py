"""Moves of a route outside its stages: cancelled, filled, expired, failed."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from app.domain.event import API_SOURCE, RELAY, SWEEPER_SOURCE, EventType, source_of
from app.domain.route import PENDING, RouteStatus, may_become
from app.infra.db import Connection
from app.infra.ids import new_id
from app.infra.repositories.deliveries import WORK_CHANNEL
from app.infra.repositories.stages import SAID


@dataclass(frozen=True, slots=True)
class RouteState:
    """What a move depends on, read under the route's lock."""

    id: UUID
    program: str
    status: RouteStatus
    revision: int
    trade: dict[str, Any]
    horizon_ends_at: datetime | None


async def lock(connection: Connection, route_id: UUID) -> RouteState | None:
    """Read a route and keep others from moving it until this transaction ends."""
    row = await connection.fetchrow(
        "SELECT id, program, status, revision, trade, horizon_ends_at FROM lake.route WHERE id = $1 FOR UPDATE",
        route_id,
    )
    return None if row is None else _state(row)


def _state(row: asyncpg.Record) -> RouteState:
    return RouteState(row[0], row[1], RouteStatus(row[2]), row[3], json.loads(row[4]), row[5])


_MOVE = f"""
WITH moved AS (
  UPDATE lake.route r
  SET status = $2, event_count = r.event_count + 1, reason = coalesce($7::json, r.reason),
      late_fills = r.late_fills + $8, updated_at = now()
  WHERE r.id = ANY($1::uuid[]) AND r.status = ANY($10::text[])
  RETURNING r.id, r.program, r.event_count, r.revision, r.traceparent
), said AS (
  INSERT INTO lake.event (source, id, type, route_id, seq, program, status, revision, data, traceparent)
  SELECT $3, e.id, $4, m.id, m.event_count, m.program, $2, m.revision,
         (jsonb_build_object('route_id', m.id) || $6::jsonb)::json, m.traceparent
  FROM moved m JOIN unnest($1::uuid[], $5::text[]) AS e(route_id, id) ON e.route_id = m.id
  RETURNING source, id, route_id
), relayed AS (
  INSERT INTO lake.delivery (consumer, source, event_id, route_id)
  SELECT '{RELAY}', source, id, route_id FROM said WHERE $9
)
SELECT count(pg_notify('{WORK_CHANNEL}', w)) FROM unnest(ARRAY['{SAID}', CASE WHEN $9 THEN '{RELAY}' END]) AS q(w)
WHERE w IS NOT NULL
"""


async def move(
    connection: Connection,
    routes: Sequence[UUID],
    status: RouteStatus,
    event: EventType,
    *,
    source: str = API_SOURCE,
    data: dict[str, Any] | None = None,
    reason: dict[str, Any] | None = None,
    late_fills: int = 0,
    relay: bool = False,
) -> None:
    """Give locked routes a status and say so; one that may not get there from where it stands is left alone."""
    origins = [each for each in RouteStatus if may_become(each, status) or (late_fills and each is status)]
    await connection.execute(
        _MOVE,
        list(routes),
        status,
        source,
        event,
        [str(new_id()) for _ in routes],
        json.dumps(data or {}),
        None if reason is None else json.dumps(reason),
        late_fills,
        relay,
        origins,
    )


async def renew(connection: Connection, route_id: UUID) -> None:
    """Let a route's time to live begin anew."""
    await connection.execute(
        "UPDATE lake.route SET expires_at = now() + make_interval(secs => (trade->>'ttl_s')::float8) WHERE id = $1",
        route_id,
    )


async def fail(connection: Connection, route_id: UUID, *, stage: str, code: str, detail: str, relay: bool) -> None:
    """End a route that a stage gave up on, unless it ended otherwise meanwhile."""
    state = await lock(connection, route_id)
    if state is not None and state.status in PENDING:
        reason = {"code": code, "stage": stage, "detail": detail}
        await move(
            connection,
            [route_id],
            RouteStatus.FAILED,
            EventType.ROUTE_FAILED,
            source=source_of(stage),
            data={"status": RouteStatus.FAILED, **reason},
            reason=reason,
            relay=relay,
        )


async def due(connection: Connection, status: RouteStatus, column: str, *, limit: int) -> list[UUID]:
    """Lock routes of a status whose `expires_at` or `horizon_ends_at` has passed."""
    assert column in ("expires_at", "horizon_ends_at")
    rows = await connection.fetch(
        f"""
        SELECT id FROM lake.route
        WHERE is_live AND status = $1 AND {column} < now()
        ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED
        """,
        status,
        limit,
    )
    return [row[0] for row in rows]


async def overdue(connection: Connection, *, limit: int) -> list[UUID]:
    """Lock unsettled routes whose time ran out before they were solved."""
    rows = await connection.fetch(
        """
        SELECT id FROM lake.route
        WHERE is_pending AND expires_at < now()
        ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED
        """,
        limit,
    )
    return [row[0] for row in rows]


_CONFIRM = f"""
WITH confirmed AS (
  UPDATE warehouse.solution s SET is_confirmed = true
  FROM (SELECT route_id, revision FROM warehouse.solution WHERE NOT is_confirmed
        ORDER BY route_id LIMIT $1 FOR UPDATE SKIP LOCKED) due
  WHERE s.route_id = due.route_id AND s.revision = due.revision
  RETURNING s.route_id, s.revision
), counted AS (
  SELECT route_id, array_agg(revision ORDER BY revision) AS revisions FROM confirmed GROUP BY route_id
), moved AS (
  UPDATE lake.route r SET event_count = r.event_count + cardinality(c.revisions)
  FROM counted c WHERE r.id = c.route_id
  RETURNING r.id, r.program, r.event_count - cardinality(c.revisions) AS said_before, r.status, r.revision,
            r.traceparent, c.revisions
), said AS (
  INSERT INTO lake.event (source, id, type, route_id, seq, program, status, revision, data, traceparent)
  SELECT '{SWEEPER_SOURCE}', m.id || '/' || c.revision, '{EventType.ROUTE_EXISTS}', m.id, m.said_before + c.k,
         m.program, m.status, m.revision, json_build_object('route_id', m.id, 'revision', c.revision), m.traceparent
  FROM moved m CROSS JOIN LATERAL unnest(m.revisions) WITH ORDINALITY AS c(revision, k)
  RETURNING source, id, route_id
), relayed AS (
  INSERT INTO lake.delivery (consumer, source, event_id, route_id)
  SELECT '{RELAY}', source, id, route_id FROM said WHERE $2
)
SELECT route_id, (SELECT pg_notify('{WORK_CHANNEL}', '{SAID}')) FROM confirmed
"""


async def confirm_solutions(connection: Connection, *, limit: int, relay: bool) -> int:
    """Say of each new solution that it was found in the warehouse."""
    return len(await connection.fetch(_CONFIRM, limit, relay))


async def orphans(connection: Connection, *, older_than_s: float, limit: int) -> list[tuple[str, str, str, UUID]]:
    """Find unsettled routes that no consumer has anything open for: (type, source, event id, route) to queue again.

    One that was queued again lately is left to those who carry it.
    """
    rows = await connection.fetch(
        """
        SELECT e.type, e.source, e.id, r.id
        FROM (
          SELECT id FROM lake.route
          WHERE is_pending
            AND updated_at < now() - make_interval(secs => $1)
          ORDER BY id LIMIT 10 * $2
        ) r
        CROSS JOIN LATERAL (
          SELECT type, source, id FROM lake.event
          WHERE route_id = r.id AND type LIKE '%.insertion_ok' ORDER BY seq DESC LIMIT 1
        ) e
        WHERE NOT EXISTS (
            SELECT FROM lake.delivery d
            WHERE d.source = e.source AND d.event_id = e.id
              AND (d.state = 0 OR d.available_at > now() - make_interval(secs => $1)))
        LIMIT $2
        """,
        older_than_s,
        limit,
    )
    return [(row[0], row[1], row[2], row[3]) for row in rows]
