"""Newer solutions of live routes: of those nobody has started to fill, and of those that have a schedule."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from app.domain.event import RELAY, EventType, Stage, source_of
from app.infra.db import Connection
from app.infra.ids import new_id
from app.infra.repositories.deliveries import WORK_CHANNEL
from app.infra.repositories.stages import SAID

SCHEDULE_IDLE_S = 5.0
"""The longest that a schedule waits between two looks at the market."""

DUE = "due"
"""Notified when the schedule of a route is to be looked at before its next slice is due."""


@dataclass(frozen=True, slots=True)
class Revision:
    """A solution about to replace the one of a known revision; `due_at` must still be what the schedule waited for."""

    route_id: UUID
    replaces: int
    snapshot_id: UUID
    document: str
    timings: str
    inputs: str
    gap_bps: float
    due_at: datetime | None = None
    next_due_at: datetime | None = None
    forecast: str | None = None


@dataclass(frozen=True, slots=True)
class LiveRoute:
    """A live route, what its solution was made on, and until when its schedule needs no look.

    `outlook` is what a schedule was planned with, but for its profile.
    """

    id: UUID
    instrument: str
    max_hops: int
    revision: int
    snapshot_id: UUID
    due_at: datetime | None
    outlook: str | None


@dataclass(frozen=True, slots=True)
class Postponed:
    """A route whose schedule was looked at in vain: when to look next, and why it cannot go on, if it cannot."""

    route: LiveRoute
    next_due_at: datetime | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Solved:
    """The trade, the latest solution and the fills of a route."""

    trade: str
    document: str
    timings: str
    inputs: str | None
    sent: Decimal
    received: Decimal


_LIVE = """
SELECT r.id, r.instrument, (r.trade->'constraints'->>'max_hops')::int, r.revision, s.snapshot_id, r.next_due_at,
       CASE WHEN r.next_due_at IS NOT NULL THEN ((s.inputs->'outlook') - 'profile')::text END
FROM ({routes}) r
JOIN warehouse.solution s ON s.route_id = r.id AND s.revision = r.revision
"""

_GOES_ON = "CASE WHEN status = 'ready' THEN expires_at ELSE horizon_ends_at END > now()"
_READY = "SELECT * FROM lake.route WHERE is_live AND status = 'ready' AND expires_at > now()"
_SCHEDULED = f"SELECT * FROM lake.route WHERE is_live AND next_due_at IS NOT NULL AND {_GOES_ON}"

_MOVABLE = _LIVE.format(
    routes=f"""
  ({_READY} AND next_due_at IS NULL ORDER BY expires_at DESC LIMIT $2)
  UNION ALL ({_SCHEDULED} ORDER BY next_due_at LIMIT $2)
"""
)
_DUE = _LIVE.format(routes=f"{_SCHEDULED} AND next_due_at <= now() ORDER BY next_due_at LIMIT $1")


# A schedule is long to store, and has time: it follows the market ten times per slice.
_IDLE_S = """greatest($1, CASE WHEN r.next_due_at IS NOT NULL THEN least($3,
    (r.trade->'schedule'->>'horizon_s')::float8 / (r.trade->'schedule'->>'slices')::float8 / 10) END)"""


async def live(connection: Connection, *, idle_s: float, limit: int) -> list[LiveRoute]:
    """Read live routes that were not revised for a while: those with the most time left, and those with a schedule."""
    rows = await connection.fetch(
        f"{_MOVABLE} WHERE s.created_at <= now() - make_interval(secs => {_IDLE_S})", idle_s, limit, SCHEDULE_IDLE_S
    )
    return [LiveRoute(*row) for row in rows]


async def due(connection: Connection, *, limit: int) -> list[LiveRoute]:
    """Read routes whose schedule is to be looked at now."""
    return [LiveRoute(*row) for row in await connection.fetch(_DUE, limit)]


async def next_due_s(connection: Connection) -> float | None:
    """Tell in how many seconds the next schedule is to be looked at, or None when there is none."""
    wait_s: float | None = await connection.fetchval(
        """
        SELECT extract(epoch FROM next_due_at - now())::float8 FROM lake.route
        WHERE is_live AND next_due_at IS NOT NULL ORDER BY next_due_at LIMIT 1
        """
    )
    return wait_s


async def solved(connection: Connection, routes: Sequence[LiveRoute]) -> dict[UUID, Solved]:
    """Read what routes that did not move on meanwhile have and got."""
    rows = await connection.fetch(
        """
        SELECT r.id, r.trade, s.document, s.timings, s.inputs, coalesce(f.sent, 0), coalesce(f.received, 0)
        FROM unnest($1::uuid[], $2::int[]) AS t(id, revision)
        JOIN lake.route r USING (id, revision)
        JOIN warehouse.solution s ON s.route_id = t.id AND s.revision = t.revision
        CROSS JOIN LATERAL (
          SELECT sum(sent) AS sent, sum(received) AS received FROM lake.fill WHERE route_id = t.id AND NOT late
        ) f
        """,
        [route.id for route in routes],
        [route.revision for route in routes],
    )
    return {row[0]: Solved(*row[1:]) for row in rows}


async def market_digests(connection: Connection, snapshots: Sequence[UUID]) -> dict[UUID, str]:
    """Read the MD5 of the market revisions that snapshots stand for."""
    rows = await connection.fetch(
        "SELECT id, md5(markets::text) FROM lake.snapshot WHERE id = ANY($1)", list(snapshots)
    )
    return {row[0]: row[1] for row in rows}


# What a schedule waited for must be what it waits for now: a fill that came in meanwhile makes it due again, and would
# be forgotten by a revision that does not know of it. A route without one is only revised before its first fill.
_REVISE = f"""
WITH input AS (
  SELECT * FROM unnest($1::uuid[], $2::int[], $3::uuid[], $4::json[], $5::json[], $6::jsonb[], $7::float8[], $8::text[],
                       $9::timestamptz[], $10::timestamptz[], $11::json[])
    AS t(route_id, replaces, snapshot_id, document, timings, inputs, gap_bps, event_id, due_at, next_due_at, forecast)
), moved AS (
  UPDATE lake.route r
  SET revision = r.revision + 1, event_count = r.event_count + 1, next_due_at = i.next_due_at,
      reason = NULL, updated_at = now()
  FROM input i
  WHERE r.id = i.route_id AND r.revision = i.replaces AND r.next_due_at IS NOT DISTINCT FROM i.due_at
    AND (r.status = 'ready' OR r.status = 'executing' AND i.due_at IS NOT NULL)
  RETURNING r.id, r.program, r.status, r.revision, r.event_count, r.traceparent, i.snapshot_id, i.document, i.timings,
            i.inputs, i.gap_bps, i.event_id, i.forecast
), stored AS (
  INSERT INTO warehouse.solution (route_id, revision, snapshot_id, document, timings, inputs)
  SELECT id, revision, snapshot_id, document, timings, inputs FROM moved
), expected AS (
  UPDATE warehouse.forecast f SET document = m.forecast FROM moved m WHERE f.route_id = m.id AND m.forecast IS NOT NULL
), said AS (
  INSERT INTO lake.event (source, id, type, route_id, seq, program, status, revision, data, traceparent)
  SELECT '{source_of(Stage.SOLVE)}', event_id, '{EventType.ROUTE_SOLVED}', id, event_count, program, status, revision,
         json_build_object('route_id', id, 'status', status, 'revision', revision, 'gap_bps', gap_bps), traceparent
  FROM moved
  RETURNING source, id, route_id
), relayed AS (
  INSERT INTO lake.delivery (consumer, source, event_id, route_id)
  SELECT '{RELAY}', source, id, route_id FROM said WHERE $12
)
SELECT id, (SELECT pg_notify('{WORK_CHANNEL}', '{SAID}')) FROM moved
"""


async def revise(connection: Connection, revisions: Sequence[Revision], *, relay: bool) -> int:
    """Store newer solutions; routes that moved on meanwhile are left alone."""
    rows = await connection.fetch(
        _REVISE,
        [revision.route_id for revision in revisions],
        [revision.replaces for revision in revisions],
        [revision.snapshot_id for revision in revisions],
        [revision.document for revision in revisions],
        [revision.timings for revision in revisions],
        [revision.inputs for revision in revisions],
        [revision.gap_bps for revision in revisions],
        [str(new_id()) for _ in revisions],
        [revision.due_at for revision in revisions],
        [revision.next_due_at for revision in revisions],
        [revision.forecast for revision in revisions],
        relay,
    )
    return len(rows)


async def postpone(connection: Connection, postponed: Sequence[Postponed]) -> None:
    """Set when schedules are to be looked at next, unless something came in meanwhile."""
    await connection.execute(
        """
        UPDATE lake.route r
        SET next_due_at = i.next_due_at, reason = i.reason,
            updated_at = CASE WHEN r.reason::text IS DISTINCT FROM i.reason::text THEN now() ELSE r.updated_at END
        FROM unnest($1::uuid[], $2::int[], $3::timestamptz[], $4::timestamptz[], $5::json[])
          AS i(route_id, revision, due_at, next_due_at, reason)
        WHERE r.id = i.route_id AND r.revision = i.revision AND r.next_due_at = i.due_at
        """,
        [each.route.id for each in postponed],
        [each.route.revision for each in postponed],
        [each.route.due_at for each in postponed],
        [each.next_due_at for each in postponed],
        [each.reason for each in postponed],
    )


async def hasten(connection: Connection, route_id: UUID) -> None:
    """Have the schedule of a locked route looked at now, if it has one and goes on."""
    await connection.execute(
        f"""
        WITH hastened AS (
          UPDATE lake.route SET next_due_at = CASE WHEN is_live THEN clock_timestamp() END, reason = NULL
          WHERE id = $1 AND trade->'schedule'->>'kind' <> 'immediate' RETURNING id
        )
        SELECT pg_notify('{WORK_CHANNEL}', '{DUE}') FROM hastened
        """,
        route_id,
    )
