"""Newer solutions of routes that nobody has started to fill."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from app.domain.event import RELAY, EventType, Stage, source_of
from app.infra.db import Connection
from app.infra.ids import new_id
from app.infra.repositories.deliveries import WORK_CHANNEL
from app.infra.repositories.stages import SAID


@dataclass(frozen=True, slots=True)
class Revision:
    """A solution about to replace the one of a known revision."""

    route_id: UUID
    replaces: int
    snapshot_id: UUID
    document: str
    timings: str
    inputs: str
    gap_bps: float


@dataclass(frozen=True, slots=True)
class LiveRoute:
    """A route that waits for its first fill, and what its solution was made on."""

    id: UUID
    instrument: str
    max_hops: int
    revision: int
    snapshot_id: UUID


async def live(connection: Connection, *, idle_s: float, limit: int) -> list[LiveRoute]:
    """Read the routes with the most time left that were not revised for a while."""
    rows = await connection.fetch(
        """
        SELECT r.id, r.instrument, (r.trade->'constraints'->>'max_hops')::int, r.revision, s.snapshot_id
        FROM (SELECT id, instrument, trade, revision FROM lake.route
              WHERE is_live AND status = 'ready' AND expires_at > now()
              ORDER BY expires_at DESC LIMIT $2) r
        JOIN warehouse.solution s ON s.route_id = r.id AND s.revision = r.revision
        WHERE s.created_at <= now() - make_interval(secs => $1)
        """,
        idle_s,
        limit,
    )
    return [LiveRoute(*row) for row in rows]


async def solved(connection: Connection, routes: Sequence[LiveRoute]) -> dict[UUID, tuple[str, str, str]]:
    """Read trade, solution and timings of routes that did not move on meanwhile."""
    rows = await connection.fetch(
        """
        SELECT r.id, r.trade, s.document, s.timings
        FROM unnest($1::uuid[], $2::int[]) AS t(id, revision)
        JOIN lake.route r USING (id, revision)
        JOIN warehouse.solution s ON s.route_id = t.id AND s.revision = t.revision
        """,
        [route.id for route in routes],
        [route.revision for route in routes],
    )
    return {row[0]: (row[1], row[2], row[3]) for row in rows}


async def market_lists(connection: Connection, snapshots: Sequence[UUID]) -> dict[UUID, str]:
    """Read which market revisions snapshots stand for."""
    rows = await connection.fetch("SELECT id, markets::text FROM lake.snapshot WHERE id = ANY($1)", list(snapshots))
    return {row[0]: row[1] for row in rows}


_REVISE = f"""
WITH input AS (
  SELECT * FROM unnest($1::uuid[], $2::int[], $3::uuid[], $4::json[], $5::json[], $6::jsonb[],
                       $7::float8[], $8::text[])
    AS t(route_id, replaces, snapshot_id, document, timings, inputs, gap_bps, event_id)
), moved AS (
  UPDATE lake.route r SET revision = r.revision + 1, event_count = r.event_count + 1, updated_at = now()
  FROM input i WHERE r.id = i.route_id AND r.status = 'ready' AND r.revision = i.replaces
  RETURNING r.id, r.program, r.revision, r.event_count, r.traceparent, i.snapshot_id, i.document, i.timings,
            i.inputs, i.gap_bps, i.event_id
), stored AS (
  INSERT INTO warehouse.solution (route_id, revision, snapshot_id, document, timings, inputs)
  SELECT id, revision, snapshot_id, document, timings, inputs FROM moved
), said AS (
  INSERT INTO lake.event (source, id, type, route_id, seq, program, status, revision, data, traceparent)
  SELECT '{source_of(Stage.SOLVE)}', event_id, '{EventType.ROUTE_SOLVED}', id, event_count, program, 'ready', revision,
         json_build_object('route_id', id, 'status', 'ready', 'revision', revision, 'gap_bps', gap_bps), traceparent
  FROM moved
  RETURNING source, id, route_id
), relayed AS (
  INSERT INTO lake.delivery (consumer, source, event_id, route_id)
  SELECT '{RELAY}', source, id, route_id FROM said WHERE $9
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
        relay,
    )
    return len(rows)
