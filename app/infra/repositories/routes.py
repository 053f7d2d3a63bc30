"""Routes: requested in batches, advanced by stages, read back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select, tuple_

from app.domain.event import API_SOURCE, EventType
from app.infra.db import Connection, compiled
from app.infra.repositories.deliveries import WORK_CHANNEL
from app.models.route import route as route_table


@dataclass(frozen=True, slots=True)
class NewRoute:
    """A trade about to be stored, with the ids of its first three events."""

    id: UUID
    program: str
    client_order_id: str | None
    instrument: str
    trade: str
    snapshot_id: UUID
    created_at: datetime
    expires_at: datetime
    traceparent: str | None
    request_source: str
    event_ids: tuple[str, str, str]
    idempotency_key: str | None = None
    fingerprint: bytes = b""
    response: bytes = b""


@dataclass(frozen=True, slots=True)
class NewSnapshot:
    """The market revisions that a route uses; rows already stored are left alone."""

    id: UUID
    as_of: datetime
    markets: str
    decimals: str
    revisions: Sequence[tuple[str, int, str]]


_STORE_SNAPSHOT = """
WITH stored AS (
  INSERT INTO lake.snapshot (id, as_of, markets, decimals) VALUES ($1, $2, $3::json, $4::json) ON CONFLICT DO NOTHING
)
INSERT INTO lake.market_revision (market_id, revision, document)
SELECT * FROM unnest($5::text[], $6::bigint[], $7::json[]) ON CONFLICT DO NOTHING
"""

_REQUEST = f"""
WITH input AS (
  SELECT * FROM unnest(
    $1::uuid[], $2::text[], $3::text[], $4::text[], $5::json[], $6::uuid[], $7::timestamptz[], $8::timestamptz[],
    $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::bytea[], $16::bytea[]
  ) WITH ORDINALITY AS t(id, program, client_order_id, instrument, trade, snapshot_id, created_at, expires_at,
    traceparent, request_source, event_1, event_2, event_3, key, fingerprint, response, n)
), routes AS (
  INSERT INTO lake.route (id, program, client_order_id, instrument, trade, status, event_count, snapshot_id,
                          created_at, updated_at, expires_at, traceparent)
  SELECT id, program, client_order_id, instrument, trade, 'data_ready', 3, snapshot_id, created_at, created_at,
         expires_at, traceparent
  FROM input ORDER BY n
), keys AS (
  INSERT INTO lake.idempotency (program, key, fingerprint, route_id, response)
  SELECT program, key, fingerprint, id, response FROM input WHERE key IS NOT NULL
), events AS (
  INSERT INTO lake.event (source, id, type, route_id, seq, program, status, revision, data, traceparent, time)
  SELECT e.source, e.id, e.type, i.id, e.seq, i.program, e.status, 0, e.data, i.traceparent, i.created_at
  FROM input i CROSS JOIN LATERAL (VALUES
    (1, i.request_source, i.event_1, '{EventType.ROUTE_REQUESTED}', 'requested',
     json_build_object('program', i.program, 'client_order_id', i.client_order_id, 'trade', i.trade)),
    (2, '{API_SOURCE}', i.event_2, '{EventType.DATA_GENERATED}', 'requested',
     json_build_object('route_id', i.id, 'snapshot_id', i.snapshot_id)),
    (3, '{API_SOURCE}', i.event_3, '{EventType.DATA_INSERTED}', 'data_ready',
     json_build_object('route_id', i.id, 'snapshot_id', i.snapshot_id))
  ) AS e(seq, source, id, type, status, data)
  ORDER BY i.n, e.seq
  RETURNING source, id, type, route_id, position
), queued AS (
  INSERT INTO lake.delivery (consumer, source, event_id, route_id)
  SELECT c.consumer, e.source, e.id, e.route_id
  FROM events e JOIN unnest($17::text[], $18::text[]) AS c(type, consumer) ON c.type = e.type
  ORDER BY e.position
)
SELECT count(*), (SELECT count(pg_notify('{WORK_CHANNEL}', c)) FROM (SELECT DISTINCT unnest($18::text[]) c) w)
FROM input
"""


async def store_snapshot(connection: Connection, snapshot: NewSnapshot) -> None:
    """Keep the market revisions that routes are about to use."""
    identifiers, numbers, documents = zip(*snapshot.revisions, strict=True) if snapshot.revisions else ((), (), ())
    await connection.execute(
        _STORE_SNAPSHOT,
        snapshot.id,
        snapshot.as_of,
        snapshot.markets,
        snapshot.decimals,
        list(identifiers),
        list(numbers),
        list(documents),
    )


async def request(connection: Connection, routes: Sequence[NewRoute], consumers: dict[str, str]) -> None:
    """Store routes with their first events and what these trigger, in one statement.

    Raises asyncpg.UniqueViolationError when any id, client order id or key exists; nothing is stored then.
    """
    await connection.execute(
        _REQUEST,
        [r.id for r in routes],
        [r.program for r in routes],
        [r.client_order_id for r in routes],
        [r.instrument for r in routes],
        [r.trade for r in routes],
        [r.snapshot_id for r in routes],
        [r.created_at for r in routes],
        [r.expires_at for r in routes],
        [r.traceparent for r in routes],
        [r.request_source for r in routes],
        [r.event_ids[0] for r in routes],
        [r.event_ids[1] for r in routes],
        [r.event_ids[2] for r in routes],
        [r.idempotency_key for r in routes],
        [r.fingerprint for r in routes],
        [r.response for r in routes],
        list(consumers.keys()),
        list(consumers.values()),
    )


async def find_keys(
    connection: Connection, pairs: Sequence[tuple[str, str]], *, max_age_h: float
) -> dict[tuple[str, str], tuple[bytes, UUID, bytes]]:
    """Look up (program, key) → (fingerprint, route, response); forgets those past their age."""
    programs, keys = zip(*pairs, strict=True)
    rows = await connection.fetch(
        """
        SELECT i.program, i.key, i.fingerprint, i.route_id, i.response,
               i.created_at < now() - make_interval(secs => $3) AS is_expired
        FROM lake.idempotency i JOIN unnest($1::text[], $2::text[]) AS t(program, key) USING (program, key)
        """,
        programs,
        keys,
        max_age_h * 3600.0,
    )
    expired = [(row["program"], row["key"]) for row in rows if row["is_expired"]]
    if expired:
        await connection.execute(
            """
            DELETE FROM lake.idempotency i USING unnest($1::text[], $2::text[]) AS t(program, key)
            WHERE i.program = t.program AND i.key = t.key AND i.created_at < now() - make_interval(secs => $3)
            """,
            *zip(*expired, strict=True),
            max_age_h * 3600.0,
        )
    return {(row[0], row[1]): (row[2], row[3], row[4]) for row in rows if not row["is_expired"]}


async def find_client_order_ids(
    connection: Connection, pairs: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], UUID]:
    """Look up (program, client order id) → route."""
    programs, names = zip(*pairs, strict=True)
    rows = await connection.fetch(
        """
        SELECT r.program, r.client_order_id, r.id
        FROM lake.route r JOIN unnest($1::text[], $2::text[]) AS t(program, client_order_id)
          USING (program, client_order_id)
        """,
        programs,
        names,
    )
    return {(row[0], row[1]): row[2] for row in rows}


_READ = """
SELECT r.id, r.program, r.client_order_id, r.trade, r.status, r.revision, r.event_count, r.snapshot_id, r.reason,
       r.expires_at, r.created_at, r.updated_at, r.late_fills, s.document AS solution, s.timings,
       f.document AS forecast, s.snapshot_id AS solved_on
FROM lake.route r
LEFT JOIN warehouse.solution s ON s.route_id = r.id AND s.revision = r.revision
LEFT JOIN warehouse.forecast f ON f.route_id = r.id
"""


async def read(connection: Connection, identifiers: Sequence[UUID]) -> dict[UUID, dict[str, Any]]:
    """Read routes with their latest solution and forecast."""
    rows = await connection.fetch(f"{_READ} WHERE r.id = ANY($1::uuid[])", list(identifiers))
    return {row["id"]: dict(row) for row in rows}


async def owner(connection: Connection, identifier: UUID) -> str | None:
    """Name the program that owns a route."""
    program: str | None = await connection.fetchval("SELECT program FROM lake.route WHERE id = $1", identifier)
    return program


async def page(
    connection: Connection,
    program: str,
    *,
    limit: int,
    before: UUID | None,
    status: str | None,
    instrument: str | None,
    client_order_id: str | None,
    created_after: datetime | None,
    created_before: datetime | None,
) -> list[UUID]:
    """List the ids of a program's routes, newest first."""
    columns = route_table.c
    query = (
        select(columns.id)
        .where(columns.program == program)
        .order_by(columns.created_at.desc(), columns.id.desc())
        .limit(limit)
    )
    for column, value in (
        (columns.status, status),
        (columns.instrument, instrument),
        (columns.client_order_id, client_order_id),
    ):
        if value is not None:
            query = query.where(column == value)
    if before is not None:
        place = select(columns.created_at, columns.id).where(columns.id == before).scalar_subquery()
        query = query.where(tuple_(columns.created_at, columns.id) < place)
    if created_after is not None:
        query = query.where(columns.created_at >= created_after)
    if created_before is not None:
        query = query.where(columns.created_at < created_before)
    text, arguments = compiled(query)
    return [row[0] for row in await connection.fetch(text, *arguments)]
