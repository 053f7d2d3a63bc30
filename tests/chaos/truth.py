"""What the database holds in the end, and when it has come to rest."""

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import asyncpg


@dataclass(frozen=True, slots=True)
class TrailEvent:
    """One event of a route."""

    seq: int
    source: str
    id: str
    type: str
    status: str
    revision: int


@dataclass(frozen=True, slots=True)
class Truth:
    """The rows that the journal is compared with."""

    routes: dict[str, dict[str, Any]]
    trails: dict[str, list[TrailEvent]]
    keys: dict[str, str]
    fills: dict[str, dict[str, dict[str, Any]]]
    solutions: dict[str, int]
    dead_letters: list[str]


async def read_truth(connection: "asyncpg.Connection[asyncpg.Record]") -> Truth:
    """Read everything in one snapshot."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        routes = await connection.fetch(
            """
            SELECT r.id::text, client_order_id, trade, status, r.revision, event_count, late_fills, next_due_at,
                   json_array_length(document->'slices') AS slices_left
            FROM lake.route r LEFT JOIN warehouse.solution s ON s.route_id = r.id AND s.revision = r.revision
            """
        )
        events = await connection.fetch(
            "SELECT route_id::text, seq, source, id, type, status, revision FROM lake.event ORDER BY route_id, seq"
        )
        keys = await connection.fetch("SELECT key, route_id::text FROM lake.idempotency")
        fills = await connection.fetch("SELECT route_id::text, fill_id, document FROM lake.fill")
        solutions = await connection.fetch("SELECT route_id::text, count(*) FROM warehouse.solution GROUP BY route_id")
        dead = await connection.fetch("SELECT consumer, code, reason FROM lake.dead_letter")
    trails: dict[str, list[TrailEvent]] = defaultdict(list)
    for row in events:
        trails[row[0]].append(TrailEvent(*tuple(row)[1:]))
    documents: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for row in fills:
        documents[row[0]][row[1]] = json.loads(row[2])
    return Truth(
        routes={row[0]: {**dict(row), "trade": json.loads(row["trade"])} for row in routes},
        trails=dict(trails),
        keys={row[0]: row[1] for row in keys},
        fills=dict(documents),
        solutions={row[0]: row[1] for row in solutions},
        dead_letters=[f"{row[0]}: {row[1]}: {row[2]}" for row in dead],
    )


async def unsettled(connection: "asyncpg.Connection[asyncpg.Record]") -> list[str]:
    """List routes that are neither solved nor ended."""
    rows = await connection.fetch(
        "SELECT id::text FROM lake.route WHERE status IN ('requested','data_ready','features_ready','inference_ready')"
    )
    return [row[0] for row in rows]


async def is_at_rest(connection: "asyncpg.Connection[asyncpg.Record]") -> bool:
    """Say whether nothing is queued, nothing is about to expire and every solution was confirmed."""
    busy: bool = await connection.fetchval(
        """
        SELECT EXISTS (SELECT FROM lake.delivery WHERE state = 0)
            OR EXISTS (SELECT FROM warehouse.solution WHERE NOT is_confirmed)
            OR EXISTS (SELECT FROM lake.route
                       WHERE status IN ('ready','executing')
                         AND least(expires_at, next_due_at) < now() + interval '60 s')
        """
    )
    return not busy
