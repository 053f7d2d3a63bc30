"""Stored feature vectors of markets, and samples of the books they look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.infra.db import Connection


@dataclass(frozen=True, slots=True)
class StoredVector:
    """One row of a market's feature history."""

    event_ts: datetime
    known_ts: datetime
    values: list[float]


@dataclass(frozen=True, slots=True)
class BookSample:
    """What the books of an instrument held at a second; `moment` is the time it was asked for."""

    moment: datetime
    at: datetime
    known_ts: datetime
    values: list[float]


@dataclass(frozen=True, slots=True)
class Flags:
    """What a route's features lack, and which of their inputs were stale."""

    missing: list[str]
    stale: list[str]


_HISTORY = """
SELECT DISTINCT ON (event_ts) event_ts, known_ts, values FROM warehouse.feature_history
WHERE instrument = $1 AND interval_s = $2 AND schema_hash = $3 AND event_ts >= $4 AND event_ts < $5 AND known_ts <= $6
ORDER BY event_ts {order}, known_ts DESC LIMIT $7
"""
_HISTORY_DOWN, _HISTORY_UP = _HISTORY.format(order="DESC"), _HISTORY.format(order="ASC")


async def history(
    connection: Connection,
    instrument: str,
    *,
    interval_s: int,
    schema_hash: str,
    begin: datetime,
    end: datetime,
    as_of: datetime,
    limit: int,
    newest_first: bool,
) -> list[StoredVector]:
    """Read the vectors of [begin, end), of each moment the latest version known at a time."""
    rows = await connection.fetch(
        _HISTORY_DOWN if newest_first else _HISTORY_UP, instrument, interval_s, schema_hash, begin, end, as_of, limit
    )
    return [StoredVector(*row) for row in rows]


async def book_samples(
    connection: Connection, instrument: str, moments: Sequence[datetime], *, as_of: datetime
) -> list[BookSample]:
    """Read the latest sample known at `as_of` of or before each moment, where there is one."""
    rows = await connection.fetch(
        """
        SELECT m.moment, s.* FROM unnest($2::timestamptz[]) AS m(moment) CROSS JOIN LATERAL (
          SELECT at, known_ts, values FROM lake.book_sample
          WHERE instrument = $1 AND at <= m.moment AND known_ts <= $3 ORDER BY at DESC LIMIT 1
        ) s
        """,
        instrument,
        list(moments),
        as_of,
    )
    return [BookSample(*row) for row in rows]


async def flags(connection: Connection, route_id: UUID) -> Flags:
    """Read what was flagged when a route's features were computed; nothing before that."""
    row = await connection.fetchrow("SELECT missing, stale FROM warehouse.feature WHERE route_id = $1", route_id)
    return Flags([], []) if row is None else Flags(row[0], row[1])
