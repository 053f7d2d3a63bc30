"""How a stage commits: fence, move the route, store its row, say its events, queue what follows. One statement."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from app.domain.claim import Claim
from app.domain.event import EventType, Stage, source_of
from app.domain.route import RouteStatus
from app.infra.db import Connection
from app.infra.ids import new_id
from app.infra.repositories.deliveries import CLAIM, WORK_CHANNEL

SAID = "said"
"""Notified with every commit that says events, for those who stream them."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one stage did for one route; `row` holds the columns of its warehouse row, `wakes` who else waits for it."""

    claim: Claim
    status: RouteStatus
    events: tuple[EventType, ...]
    data: str
    row: tuple[Any, ...]
    reason: str | None = None
    wakes: str | None = None


@dataclass(frozen=True, slots=True)
class Moved:
    """A route that a stage moved."""

    route_id: UUID
    status: RouteStatus
    revision: int
    created_at: datetime


FROM_STATUS = {
    Stage.FEATURES: RouteStatus.DATA_READY,
    Stage.INFERENCE: RouteStatus.FEATURES_READY,
    Stage.SOLVE: RouteStatus.INFERENCE_READY,
}

_STORE = {
    Stage.FEATURES: """
  INSERT INTO warehouse.feature
    (route_id, instrument, event_at, schema_hash, market, request, missing, stale, compute_ms)
  SELECT m.id, x.instrument, x.event_at, x.schema_hash, x.market::float8[], x.request::float8[], x.missing::text[],
         x.stale::text[], x.compute_ms
  FROM moved m JOIN (
    SELECT * FROM unnest($15::text[], $16::timestamptz[], $17::text[], $18::text[], $19::text[], $20::text[],
                         $21::text[], $22::float8[])
      WITH ORDINALITY AS t(instrument, event_at, schema_hash, market, request, missing, stale, compute_ms, n)) x
    ON x.n = m.n
  ON CONFLICT (route_id) DO UPDATE
  SET instrument = excluded.instrument, event_at = excluded.event_at, schema_hash = excluded.schema_hash,
      market = excluded.market, request = excluded.request, missing = excluded.missing,
      stale = excluded.stale, compute_ms = excluded.compute_ms
""",
    Stage.INFERENCE: """
  INSERT INTO warehouse.forecast (route_id, document, compute_ms)
  SELECT m.id, x.document, x.compute_ms
  FROM moved m JOIN (
    SELECT * FROM unnest($15::json[], $16::float8[]) WITH ORDINALITY AS t(document, compute_ms, n)) x ON x.n = m.n
  ON CONFLICT (route_id) DO UPDATE SET document = excluded.document, compute_ms = excluded.compute_ms
""",
    Stage.SOLVE: """
  INSERT INTO warehouse.solution (route_id, revision, snapshot_id, document, inputs, timings)
  SELECT m.id, m.revision, x.snapshot_id, x.document, x.inputs,
         (x.timings::jsonb || jsonb_build_object('total',
           round((extract(epoch FROM clock_timestamp() - m.created_at) * 1000)::numeric, 3)))::json
  FROM moved m JOIN (
    SELECT * FROM unnest($15::uuid[], $16::json[], $17::json[], $18::jsonb[])
      WITH ORDINALITY AS t(snapshot_id, document, timings, inputs, n)) x ON x.n = m.n
  WHERE m.status = 'ready'
""",
}


# Without a schedule the program has the time it had for its first fill for the others too.
_HORIZON_S = """CASE
    WHEN r.trade->'schedule'->>'kind' <> 'immediate' AND (r.trade->'schedule'->>'horizon_s')::float8 > 0
    THEN (r.trade->'schedule'->>'horizon_s')::float8
    ELSE greatest((r.trade->>'ttl_s')::float8, (r.trade->'schedule'->>'horizon_s')::float8) END"""
_ALSO_SET = {Stage.SOLVE: ", next_due_at = w.due_at"}
_ALSO_READ = {
    Stage.SOLVE: " JOIN (SELECT * FROM unnest($19::timestamptz[]) WITH ORDINALITY AS t(due_at, n)) w ON w.n = i.n"
}


def _statement(stage: Stage) -> str:
    return f"""
WITH input AS (
  SELECT * FROM unnest($1::bigint[], $2::int[], $3::uuid[], $4::text[], $5::json[], $6::json[], $7::int[])
    WITH ORDINALITY AS t(position, token, route_id, status, data, reason, size, n)
), fenced AS (
  UPDATE lake.delivery d SET state = 1, owner = NULL FROM input i
  WHERE d.position = i.position AND d.claims = i.token AND d.state = 0
  RETURNING d.position
), moved AS (
  UPDATE lake.route r
  SET status = i.status, event_count = r.event_count + i.size, revision = r.revision + (i.status = 'ready')::int,
      reason = i.reason, updated_at = now(),
      expires_at = CASE WHEN i.status = 'ready'
        THEN now() + make_interval(secs => (r.trade->>'ttl_s')::float8) ELSE r.expires_at END,
      horizon_ends_at = CASE WHEN i.status = 'ready'
        THEN now() + make_interval(secs => {_HORIZON_S}) ELSE r.horizon_ends_at END{_ALSO_SET.get(stage, "")}
  FROM input i JOIN fenced f ON f.position = i.position{_ALSO_READ.get(stage, "")}
  WHERE r.id = i.route_id AND r.status = '{FROM_STATUS[stage]}'
  RETURNING r.id, r.program, r.event_count, r.revision, r.traceparent, r.created_at, i.status, i.data, i.size, i.n
), stored AS ({_STORE[stage]}
), said AS (
  INSERT INTO lake.event (source, id, type, route_id, seq, program, status, revision, data, traceparent)
  SELECT '{source_of(stage)}', e.id, e.type, m.id, m.event_count - m.size + e.k, m.program,
         CASE WHEN e.k = m.size THEN m.status ELSE '{FROM_STATUS[stage]}' END,
         CASE WHEN e.k = m.size THEN m.revision ELSE 0 END, m.data, m.traceparent
  FROM moved m JOIN unnest($8::text[], $9::text[], $10::int[], $11::int[]) AS e(id, type, n, k) ON e.n = m.n
  ORDER BY m.n, e.k
  RETURNING source, id, type, route_id, position
), queued AS (
  INSERT INTO lake.delivery (consumer, source, event_id, route_id)
  SELECT c.consumer, s.source, s.id, s.route_id
  FROM said s JOIN unnest($12::text[], $13::text[]) AS c(type, consumer) ON c.type = s.type
  ORDER BY s.position
)
SELECT m.id, m.status, m.revision, m.created_at,
       (SELECT count(pg_notify('{WORK_CHANNEL}', w)) FROM unnest($14::text[]) AS w)
FROM moved m
"""


_STATEMENTS = {stage: _statement(stage) for stage in _STORE}


async def advance(
    connection: Connection,
    stage: Stage,
    steps: Sequence[Step],
    consumers: Mapping[str, str],
    *,
    near: Collection[str] = (),
) -> list[Moved]:
    """Commit what a stage did; routes that moved on meanwhile, and claims whose lease ran out, are left alone.

    Consumers that are `near` are woken by the caller and not notified.
    """
    events = [
        (str(new_id()), event, n, k)
        for n, step in enumerate(steps, start=1)
        for k, event in enumerate(step.events, start=1)
    ]
    said = {event for _, event, _, _ in events}
    triggers = {event: consumer for event, consumer in consumers.items() if event in said}
    rows = await connection.fetch(
        _STATEMENTS[stage],
        [step.claim.position for step in steps],
        [step.claim.token for step in steps],
        [step.claim.route_id for step in steps],
        [step.status for step in steps],
        [step.data for step in steps],
        [step.reason for step in steps],
        [len(step.events) for step in steps],
        *(list(column) for column in zip(*events, strict=True)),
        list(triggers.keys()),
        list(triggers.values()),
        [SAID, *sorted({*triggers.values(), *(step.wakes for step in steps if step.wakes)} - set(near))],
        *(list(column) for column in zip(*(step.row for step in steps), strict=True)),
    )
    return [Moved(row[0], RouteStatus(row[1]), row[2], row[3]) for row in rows]


_INPUTS = {
    Stage.FEATURES: """
SELECT c.*, r.id, r.trade, r.snapshot_id FROM claimed c LEFT JOIN lake.route r ON r.id = c.route_id
""",
    Stage.INFERENCE: """
SELECT c.*, r.id, r.trade, f.market, f.event_at, f.schema_hash
FROM claimed c LEFT JOIN (lake.route r JOIN warehouse.feature f ON f.route_id = r.id) ON r.id = c.route_id
""",
    Stage.SOLVE: """
SELECT c.*, r.id, r.trade, r.snapshot_id, f.compute_ms AS features_ms, p.compute_ms AS inference_ms,
       p.document AS forecast
FROM claimed c
LEFT JOIN (lake.route r JOIN warehouse.feature f ON f.route_id = r.id JOIN warehouse.forecast p ON p.route_id = r.id)
  ON r.id = c.route_id
""",
}
_CLAIMS = {stage: f"WITH claimed AS ({CLAIM}) {inputs} ORDER BY c.position" for stage, inputs in _INPUTS.items()}


async def claim(
    connection: Connection, stage: Stage, *, limit: int, owner: str, lease_s: float, retried: bool
) -> list[Claim]:
    """Take due events of a stage together with what it works on."""
    rows = await connection.fetch(_CLAIMS[stage], stage, limit, owner, lease_s, retried)
    return [
        Claim(
            position=row["position"],
            token=row["claims"],
            attempts=row["attempts"],
            source=row["source"],
            event_id=row["event_id"],
            route_id=row["route_id"],
            payload=row["payload"],
            row=dict(row) if row["id"] is not None else None,
        )
        for row in rows
    ]
