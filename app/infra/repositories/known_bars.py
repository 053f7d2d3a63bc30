"""Bars and ticks as tables of numbers, with when each was known."""

from datetime import UTC, datetime

import numpy as np

from app.domain.bars import FloatArray
from app.domain.known_bars import KNOWN_COLUMNS, TICK_COLUMNS, Ranges
from app.infra.db import Connection

# Numbers travel as one string of bytes: decoding arrays of them would hold the event loop up.
_BAR = """float8send({start}) || float8send(open) || float8send(high) || float8send(low) || float8send(close)
  || float8send(volume) || float8send(notional) || float8send(count::float8) || float8send(price_sum)
  || float8send(extract(epoch FROM last_at)::float8) || float8send(extract(epoch FROM known_at)::float8)"""

_RANGES = "unnest($2::float8[], $3::float8[]) AS r(begins, ends)"

_SECONDS = f"""
SELECT count(*), string_agg({_BAR.format(start="extract(epoch FROM b.start)::float8")}, ''::bytea ORDER BY b.start)
FROM {_RANGES} CROSS JOIN LATERAL (
  SELECT * FROM lake.bar
  WHERE instrument = $1 AND start >= to_timestamp(r.begins) AND start < to_timestamp(r.ends) AND span_s = 1
) b
"""

# What ticks made adds up, rolled up or not; imported bars stand in where there are no ticks, the finest of them.
_INTERVALS = f"""
{{with_sources}}
SELECT coalesce(sum(rows), 0)::bigint, string_agg({_BAR.format(start="bucket")}, ''::bytea ORDER BY bucket)
FROM (
  SELECT DISTINCT ON (bucket) * FROM (
    SELECT (floor(extract(epoch FROM b.start) / $4::int) * $4::int)::float8 AS bucket,
           CASE WHEN count > 0 THEN 0 ELSE span_s END AS grade, count(*) AS rows,
           (array_agg(open ORDER BY first_at, open))[1] AS open, max(high) AS high, min(low) AS low,
           (array_agg(close ORDER BY last_at DESC, close DESC))[1] AS close,
           sum(volume) AS volume, sum(notional) AS notional, sum(count) AS count, sum(price_sum) AS price_sum,
           max(last_at) AS last_at, max(known_at) AS known_at
    FROM {_RANGES} CROSS JOIN LATERAL (
      SELECT * FROM lake.bar b
      WHERE instrument = $1 AND start >= to_timestamp(r.begins) AND start < to_timestamp(r.ends)
        AND span_s <= $4 {{known}}
    ) b
    GROUP BY 1, 2
  ) graded ORDER BY bucket, grade
) intervals
"""

_TICKS = f"""
SELECT count(*), string_agg(float8send(extract(epoch FROM p.at)::float8) || float8send(p.price) || float8send(p.size)
                            || float8send(extract(epoch FROM p.known_at)::float8), ''::bytea ORDER BY p.at, p.price)
FROM {_RANGES} CROSS JOIN LATERAL (
  SELECT at, price, size, known_at FROM lake.price
  WHERE instrument = $1 AND at >= to_timestamp(r.begins) AND at < to_timestamp(r.ends) AND known_at <= $4
) p
"""

# A bar that changed later was there before if one of its ticks was. The index of ticks has the source before the time.
_SOURCES = """
WITH RECURSIVE sources AS (
  (SELECT source FROM lake.price WHERE instrument = $1 ORDER BY source LIMIT 1)
  UNION ALL
  SELECT (SELECT p.source FROM lake.price p WHERE p.instrument = $1 AND p.source > s.source ORDER BY p.source LIMIT 1)
  FROM sources s WHERE s.source IS NOT NULL
)
"""
_KNOWN_BY = """
AND (b.known_at <= {moment} OR b.count > 0 AND EXISTS (
  SELECT FROM sources s JOIN lake.price p ON p.instrument = $1 AND p.source = s.source
  WHERE p.at >= b.start AND p.at < b.start + b.span_s * interval '1 second' AND p.known_at <= {moment}))
"""


async def bars(
    connection: Connection, instrument: str, interval_s: int, ranges: Ranges, *, as_of: datetime | None = None
) -> tuple[int, FloatArray]:
    """Read bars as they stand, rows of `KNOWN_COLUMNS`; the first answer is how many stored rows they add up.

    With `as_of`, bars that came later hide none that was there then.
    """
    arguments = (instrument, ranges.begins.tolist(), ranges.ends.tolist())
    if interval_s == 1:
        row = await connection.fetchrow(_SECONDS, *arguments)
    else:
        with_sources, known, moments = _known_by(as_of, "$5")
        query = _INTERVALS.format(with_sources=with_sources, known=known)
        row = await connection.fetchrow(query, *arguments, interval_s, *moments)
    assert row is not None
    return row[0], _table(row[1], len(KNOWN_COLUMNS))


async def ticks(connection: Connection, instrument: str, ranges: Ranges, as_of: datetime) -> FloatArray:
    """Read the ticks known at a time, rows of `TICK_COLUMNS`, ordered by time and price."""
    row = await connection.fetchrow(_TICKS, instrument, ranges.begins.tolist(), ranges.ends.tolist(), as_of)
    assert row is not None
    return _table(row[1], len(TICK_COLUMNS))


async def starts(
    connection: Connection,
    instrument: str,
    interval_s: int,
    begin_s: float,
    end_s: float,
    *,
    as_of: datetime | None = None,
) -> FloatArray:
    """Tell which intervals that begin in [begin, end) have a bar, ascending; with `as_of`, had one then."""
    with_sources, known, moments = _known_by(as_of, "$5")
    row = await connection.fetchrow(
        f"""
        {with_sources}
        SELECT string_agg(float8send(bucket), ''::bytea ORDER BY bucket) FROM (
          SELECT DISTINCT (floor(extract(epoch FROM start) / $4::int) * $4::int)::float8 AS bucket FROM lake.bar b
          WHERE instrument = $1 AND start >= to_timestamp($2::float8) AND start < to_timestamp($3::float8)
            AND span_s <= $4 {known}
        ) buckets
        """,
        instrument,
        begin_s,
        end_s,
        interval_s,
        *moments,
    )
    assert row is not None
    return _table(row[0], 1)[:, 0]


async def latest_starts(
    connection: Connection, instrument: str, interval_s: int, ranges: Ranges, *, as_of: datetime | None = None
) -> FloatArray:
    """Find the last stored bar that begins in each range, of those that have one; with `as_of`, had one then."""
    with_sources, known, moments = _known_by(as_of, "$5")
    row = await connection.fetchrow(
        f"""
        {with_sources}
        SELECT string_agg(float8send(extract(epoch FROM l.start)::float8), ''::bytea ORDER BY l.start)
        FROM {_RANGES} CROSS JOIN LATERAL (
          SELECT start FROM lake.bar b
          WHERE instrument = $1 AND start >= to_timestamp(r.begins) AND start < to_timestamp(r.ends)
            AND span_s <= $4 {known}
          ORDER BY start DESC LIMIT 1
        ) l
        """,
        instrument,
        ranges.begins.tolist(),
        ranges.ends.tolist(),
        interval_s,
        *moments,
    )
    assert row is not None
    return _table(row[0], 1)[:, 0]


async def nearest_start(
    connection: Connection,
    instrument: str,
    begin_s: float,
    end_s: float,
    *,
    newest: bool,
    span_s: int,
    as_of: datetime | None = None,
) -> float | None:
    """Find the first or the last bar that begins in [begin, end) and is no longer than `span_s`.

    With `as_of`, of those that were there then.
    """
    order = "DESC" if newest else "ASC"
    with_sources, known, moments = _known_by(as_of, "$5")
    start: datetime | None = await connection.fetchval(
        f"""
        {with_sources}
        SELECT start FROM lake.bar b WHERE instrument = $1 AND start >= to_timestamp($2::float8)
          AND start < to_timestamp($3::float8) AND span_s <= $4 {known} ORDER BY start {order} LIMIT 1
        """,
        instrument,
        begin_s,
        end_s,
        span_s,
        *moments,
    )
    return None if start is None else start.astimezone(UTC).timestamp()


async def newest_known(
    connection: Connection, instrument: str, before_s: float, as_of: datetime, *, span_s: int, looks_at: int
) -> float | None:
    """Find the newest bar before a time of which anything was known at `as_of`, looking at so many bars."""
    start: datetime | None = await connection.fetchval(
        """
        SELECT start FROM (
          SELECT start, b.span_s, known_at FROM lake.bar b
          WHERE instrument = $1 AND start < to_timestamp($2::float8) AND b.span_s <= $4 ORDER BY start DESC LIMIT $5
        ) b
        WHERE known_at <= $3 OR EXISTS (
          SELECT FROM lake.price p WHERE p.instrument = $1 AND p.at >= b.start
            AND p.at < b.start + make_interval(secs => b.span_s) AND p.known_at <= $3)
        LIMIT 1
        """,
        instrument,
        before_s,
        as_of,
        span_s,
        looks_at,
    )
    return None if start is None else start.astimezone(UTC).timestamp()


async def has_older_writer(connection: Connection, moment: datetime) -> bool:
    """Say whether a transaction that began no later than a time is still under way."""
    found: bool = await connection.fetchval(
        """
        SELECT EXISTS (
          SELECT FROM pg_stat_activity WHERE xact_start <= $1 AND pid <> pg_backend_pid()
            AND datname = current_database() AND backend_type = 'client backend')
        """,
        moment,
    )
    return found


def _known_by(as_of: datetime | None, moment: str) -> tuple[str, str, tuple[datetime, ...]]:
    return ("", "", ()) if as_of is None else (_SOURCES, _KNOWN_BY.format(moment=moment), (as_of,))


def _table(content: bytes | None, columns: int) -> FloatArray:
    return np.frombuffer(content or b"", dtype=">f8").reshape(-1, columns).astype(np.float64)
