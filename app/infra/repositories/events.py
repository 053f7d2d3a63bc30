"""The event trail, per route and as one feed."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from app.domain.event import Cursor, Event
from app.infra.db import Connection


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One row of the trail."""

    cursor: Cursor
    source: str
    id: str
    type: str
    route_id: UUID
    seq: int
    program: str
    status: str
    revision: int
    data: str
    traceparent: str | None
    time: datetime


_COLUMNS = "xid::text, position, source, id, type, route_id, seq, program, status, revision, data, traceparent, time"


def _event(row: asyncpg.Record) -> StoredEvent:
    return StoredEvent(Cursor(int(row[0]), row[1]), *row[2:])


async def of_route(connection: Connection, route_id: UUID, *, after: int, limit: int) -> list[StoredEvent]:
    """Read a route's events behind a seq, in order."""
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM lake.event WHERE route_id = $1 AND seq > $2 ORDER BY seq LIMIT $3",
        route_id,
        after,
        limit,
    )
    return [_event(row) for row in rows]


# Only transactions older than any still open are read: a later look can then never find an earlier row. The order is
# that of the table's column: the one selected is text, in which 1000 comes before 999.
_FEED = f"""
SELECT {_COLUMNS} FROM lake.event
WHERE (xid, position) > ($1::text::xid8, $2) AND xid < pg_snapshot_xmin(pg_current_snapshot())
  AND ($4::text IS NULL OR program = $4)
ORDER BY event.xid, event.position LIMIT $3
"""


async def feed(connection: Connection, after: Cursor, *, limit: int, program: str | None = None) -> list[StoredEvent]:
    """Read what was said since a cursor, by anyone or about one program's routes."""
    rows = await connection.fetch(_FEED, str(after.xid), after.position, limit, program)
    return [_event(row) for row in rows]


async def feed_end(connection: Connection) -> Cursor:
    """Find the cursor of the last event that the feed shows now."""
    # A number that only transactions without durable rows had may be given out again after a crash; an event's is not.
    row = await connection.fetchrow(
        """
        SELECT xid::text, position FROM lake.event WHERE xid < pg_snapshot_xmin(pg_current_snapshot())
        ORDER BY event.xid DESC, event.position DESC LIMIT 1
        """
    )
    return Cursor() if row is None else Cursor(int(row[0]), row[1])


async def seq_at(connection: Connection, route_id: UUID, cursor: Cursor) -> int:
    """Find the highest seq of a route that the feed shows up to a cursor; 0 when there is none."""
    seq: int = await connection.fetchval(
        """
        SELECT coalesce(max(seq), 0) FROM lake.event
        WHERE route_id = $1 AND (xid, position) <= ($2::text::xid8, $3)
        """,
        route_id,
        str(cursor.xid),
        cursor.position,
    )
    return seq


async def solutions(
    connection: Connection, wanted: Sequence[tuple[UUID, int]]
) -> dict[tuple[UUID, int], tuple[str, str]]:
    """Read solutions and timings by (route, revision), as JSON."""
    identifiers, revisions = zip(*wanted, strict=True) if wanted else ((), ())
    rows = await connection.fetch(
        """
        SELECT route_id, revision, document, timings
        FROM warehouse.solution JOIN unnest($1::uuid[], $2::int[]) AS t(route_id, revision) USING (route_id, revision)
        """,
        list(identifiers),
        list(revisions),
    )
    return {(row[0], row[1]): (row[2], row[3]) for row in rows}


async def by_ids(connection: Connection, names: Sequence[tuple[str, str]]) -> dict[tuple[str, str], StoredEvent]:
    """Read events by (source, id)."""
    sources, identifiers = zip(*names, strict=True) if names else ((), ())
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM lake.event JOIN unnest($1::text[], $2::text[]) AS t(source, id) USING (source, id)",
        list(sources),
        list(identifiers),
    )
    return {(row["source"], row["id"]): _event(row) for row in rows}


async def epoch(connection: Connection) -> str:
    """Name the history that this store continues; a restored store has another."""
    row = await connection.fetchrow(
        "SELECT system_identifier::text, (SELECT timeline_id FROM pg_control_checkpoint()) FROM pg_control_system()"
    )
    assert row is not None
    return f"{row[0]}-{row[1]}"


def envelope(event: StoredEvent) -> dict[str, Any]:
    """Write a row of the trail as a CloudEvent."""
    document = Event(
        source=event.source,
        id=event.id,
        type=event.type,
        subject=str(event.route_id),
        time=event.time,
        data=json.loads(event.data),
        traceparent=event.traceparent,
    ).envelope()
    document["sequence"] = str(event.seq)
    return document
