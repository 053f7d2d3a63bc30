"""Ticks, and the one-second bars they add up to."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

import asyncpg

from app.infra.db import Connection
from app.infra.repositories.deliveries import WORK_CHANNEL

BAR_DUE = "bar_due"
"""What is notified when an instrument became due for measuring."""


NewTick: TypeAlias = tuple[str, str, datetime, str, float, float]
"""A tick about to be stored: instrument, source, time in UTC, id, price, size. Its order is that of the locks."""


@dataclass(frozen=True, slots=True)
class StoredTick:
    """One tick."""

    at: datetime
    source: str
    tick_id: str
    price: float
    size: float


@dataclass(frozen=True, slots=True)
class StoredBar:
    """One bar; it spans more than the interval asked for where only longer ones are known."""

    start: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float
    notional: float
    count: int
    first_at: datetime
    last_at: datetime
    span_s: int


_BAR_COLUMNS = (
    "instrument, start, span_s, open, high, low, close, volume, notional, count, price_sum, first_at, last_at"
)
_GROWN_SUMS = ",\n".join(
    f"  {name} = (CASE WHEN b.count = 0 THEN 0 ELSE b.{name}::text::numeric END"
    f" + excluded.{name}::text::numeric)::float8"
    for name in ("volume", "notional", "price_sum")
)
# Of ticks at one time the price decides, as in app/domain/bars.py. Unlike floats, decimals of as many digits as a float
# keeps have the same sum in any order. A bar without ticks was imported: ticks replace it.
MERGE = f"""
INSERT INTO lake.bar AS b ({_BAR_COLUMNS}, known_at)
SELECT {_BAR_COLUMNS}, {{known_at}} FROM {{source}} ORDER BY instrument, start
ON CONFLICT (instrument, start, span_s) DO UPDATE SET
  open = CASE WHEN b.count = 0 OR (excluded.first_at, excluded.open) < (b.first_at, b.open)
              THEN excluded.open ELSE b.open END,
  high = CASE WHEN b.count = 0 THEN excluded.high ELSE greatest(b.high, excluded.high) END,
  low = CASE WHEN b.count = 0 THEN excluded.low ELSE least(b.low, excluded.low) END,
  close = CASE WHEN b.count = 0 OR (excluded.last_at, excluded.close) > (b.last_at, b.close)
               THEN excluded.close ELSE b.close END,
{_GROWN_SUMS},
  count = b.count + excluded.count,
  first_at = CASE WHEN b.count = 0 THEN excluded.first_at ELSE least(b.first_at, excluded.first_at) END,
  last_at = CASE WHEN b.count = 0 THEN excluded.last_at ELSE greatest(b.last_at, excluded.last_at) END,
  known_at = greatest(b.known_at, excluded.known_at)
WHERE excluded.count > 0 OR b.count = 0
"""
DUE = """
INSERT INTO lake.bar_due AS d (instrument, from_start, to_start)
SELECT instrument, min(start), max(start) FROM {source} GROUP BY 1 ORDER BY 1
ON CONFLICT (instrument) DO UPDATE SET
  from_start = least(d.from_start, excluded.from_start),
  to_start = greatest(d.to_start, excluded.to_start),
  changed_at = now()
RETURNING xmax = 0 AS is_new
"""
_ADDED_UP_ANEW = 1_000
"""Most ticks of a second that a late one has added up anew, which takes as long as there are many."""

# A column comes as one text: to write thousands of values one by one would take long, and no name has a space in it.
# Only ticks that are new reach the bars. Rows are locked in one order everywhere, so that concurrent batches never wait
# for each other in a circle: first prices, then bars, then, for as short as can be, what is due.
_ADD = f"""
WITH added AS (
  INSERT INTO lake.price (instrument, source, at, tick_id, price, size)
  SELECT * FROM unnest(string_to_array($1, ' '), string_to_array($2, ' '), string_to_array($3, ' ')::timestamptz[],
                       string_to_array($4, ' '), string_to_array($5, ' ')::float8[], string_to_array($6, ' ')::float8[])
  ON CONFLICT (instrument, source, at, tick_id) DO NOTHING
  RETURNING instrument, at, price, size
), seconds AS (
  SELECT instrument, date_trunc('second', at) AS start, 1 AS span_s,
         (array_agg(price ORDER BY at, price))[1] AS open, max(price) AS high, min(price) AS low,
         (array_agg(price ORDER BY at, price))[count(*)] AS close,
         sum(size::numeric)::float8 AS volume, sum(price::numeric * size::numeric)::float8 AS notional,
         sum(price::numeric)::float8 AS price_sum, count(*)::int AS count,
         min(at) AS first_at, max(at) AS last_at
  FROM added GROUP BY 1, 2
), merged AS ({MERGE.format(source="seconds", known_at="now()")}
  RETURNING b.instrument, b.start, b.count,
            (b.volume, b.notional, b.price_sum)
            = (b.volume::numeric::float8, b.notional::numeric::float8, b.price_sum::numeric::float8) AS is_exact
), due AS ({DUE.format(source="(SELECT * FROM seconds WHERE start >= $7) recent")}),
grown AS (
  SELECT m.instrument, m.start FROM merged m JOIN seconds s USING (instrument, start)
  WHERE m.count > s.count AND NOT m.is_exact AND m.count <= {_ADDED_UP_ANEW}
)
SELECT (SELECT count(*) FROM added), (SELECT array_agg(instrument) FROM grown), (SELECT array_agg(start) FROM grown),
       (SELECT count(pg_notify('{WORK_CHANNEL}', '{BAR_DUE}')) FROM due WHERE is_new)
"""

# A sum of more digits than the 15 that a float surely keeps depends on the order of its parts: it is taken anew.
# Whoever else wrote ticks of these seconds has committed, as the bars are locked here: a new statement sees them all.
# Without the ticks that retention took nothing can be added up anew.
_ADD_UP = """
WITH RECURSIVE grown AS (
  SELECT * FROM unnest($1::text[], $2::timestamptz[]) AS t(instrument, start)
), sources AS (
  SELECT g.*, (
    SELECT p.source FROM lake.price p WHERE p.instrument = g.instrument AND p.at >= g.begins AND p.at < g.ends
    ORDER BY p.source LIMIT 1
  ) AS source
  FROM (
    SELECT DISTINCT instrument, begins, ends
    FROM (SELECT DISTINCT instrument, date_trunc('month', start) AS month FROM grown) months
    CROSS JOIN LATERAL lake.partition_of(month)
  ) g
  UNION ALL
  SELECT s.instrument, s.begins, s.ends, (
    SELECT p.source FROM lake.price p
    WHERE p.instrument = s.instrument AND p.source > s.source AND p.at >= s.begins AND p.at < s.ends
    ORDER BY p.source LIMIT 1
  )
  FROM sources s WHERE s.source IS NOT NULL
), seconds AS (
  SELECT g.instrument, g.start, sum(ticks.count) AS count, sum(ticks.volume)::float8 AS volume,
         sum(ticks.notional)::float8 AS notional, sum(ticks.price_sum)::float8 AS price_sum
  FROM grown g JOIN sources s
       ON s.instrument = g.instrument AND g.start >= s.begins AND g.start < s.ends AND s.source IS NOT NULL
  -- Summed up in here, so that each second is looked up on its own.
  CROSS JOIN LATERAL (
    SELECT count(*) AS count, sum(size::numeric) AS volume, sum(price::numeric * size::numeric) AS notional,
           sum(price::numeric) AS price_sum
    FROM lake.price p
    WHERE p.instrument = g.instrument AND p.source = s.source
      AND p.at >= g.start AND p.at < g.start + interval '1 second'
  ) ticks
  GROUP BY 1, 2
)
UPDATE lake.bar b SET volume = s.volume, notional = s.notional, price_sum = s.price_sum
FROM seconds s WHERE b.instrument = s.instrument AND b.start = s.start AND b.span_s = 1 AND b.count = s.count
"""

# The index has the source before the time: each source is walked on its own, and skipped to without reading its rows.
_TICKS = """
WITH RECURSIVE sources AS (
  (SELECT source FROM lake.price WHERE instrument = $1 ORDER BY source LIMIT 1)
  UNION ALL
  SELECT (SELECT p.source FROM lake.price p WHERE p.instrument = $1 AND p.source > s.source ORDER BY p.source LIMIT 1)
  FROM sources s WHERE s.source IS NOT NULL
)
SELECT t.at, t.source, t.tick_id, t.price, t.size
FROM sources s CROSS JOIN LATERAL (
  SELECT at, source, tick_id, price, size FROM lake.price
  WHERE instrument = $1 AND source = s.source AND at >= $2 AND at < $3
    AND ($4::timestamptz IS NULL OR (at {after_or_at} $4 AND (at, source, tick_id) {after} ($4, $5::text, $6::text)))
  ORDER BY at {order}, tick_id {order} LIMIT $7
) t
WHERE s.source IS NOT NULL AND ($8::text IS NULL OR s.source = $8)
ORDER BY t.at {order}, t.source {order}, t.tick_id {order} LIMIT $7
"""
_TICKS_DOWN = _TICKS.format(after="<", after_or_at="<=", order="DESC")
_TICKS_UP = _TICKS.format(after=">", after_or_at=">=", order="ASC")

# What ticks made adds up, rolled up or not; imported bars stand in where there are no ticks, the finest of them.
# An interval has at most one second per second, and few longer bars: so many rows surely hold the wanted intervals,
# the last perhaps in part.
_BARS = """
SELECT bucket, (array_agg(open ORDER BY first_at, open))[1], max(high), min(low),
       (array_agg(close ORDER BY last_at DESC, close DESC))[1],
       sum(volume ORDER BY first_at, open), sum(notional ORDER BY first_at, open), sum(count)::bigint,
       min(first_at), max(last_at), greatest(max(span_s), $4::int)
FROM (
  SELECT *, min(grade) OVER (PARTITION BY bucket) AS finest
  FROM (
    SELECT to_timestamp(floor(extract(epoch FROM start) / $4::int) * $4::int) AS bucket,
           CASE WHEN count > 0 THEN 0 ELSE span_s END AS grade,
           span_s, open, high, low, close, volume, notional, count, first_at, last_at
    FROM lake.bar WHERE instrument = $1 AND start >= $2 AND start < $3
    ORDER BY start {order} LIMIT $5::bigint * ($4::int + $4::int / 4 + 20)
  ) rows
) graded
WHERE grade = finest GROUP BY 1 ORDER BY 1 {order} LIMIT $5
"""
_BARS_DOWN = _BARS.format(order="DESC")
_BARS_UP = _BARS.format(order="ASC")

_LATEST = """
SELECT name, s.* FROM unnest($1::text[]) AS name CROSS JOIN LATERAL (
  SELECT array_agg(extract(epoch FROM start)::float8 ORDER BY start), array_agg(open ORDER BY start),
         array_agg(high ORDER BY start), array_agg(low ORDER BY start), array_agg(close ORDER BY start),
         array_agg(volume ORDER BY start), array_agg(notional ORDER BY start),
         array_agg(count::float8 ORDER BY start), array_agg(price_sum ORDER BY start),
         array_agg(extract(epoch FROM last_at)::float8 ORDER BY start)
  FROM (
    SELECT * FROM lake.bar WHERE instrument = name AND start <= $2 AND span_s = 1 ORDER BY start DESC LIMIT $3
  ) latest
) s
"""


def packed(ticks: Sequence[NewTick]) -> list[str]:
    """Write ticks, sorted ones, as `add` takes them: a column a text."""
    instruments, sources, moments, tick_ids, prices, sizes = zip(*ticks, strict=True)
    # Many ticks share their time, and to write one takes long.
    written = {moment: moment.isoformat() for moment in set(moments)}
    columns = instruments, sources, map(written.__getitem__, moments), tick_ids, map(repr, prices), map(repr, sizes)
    return [" ".join(column) for column in columns]


async def add(connection: Connection, columns: Sequence[str], *, due_from: datetime) -> int:
    """Store packed ticks and merge the new ones into the bars; answers how many were new.

    Metrics become due for the bars that changed, except for those before `due_from`.
    """
    row = await connection.fetchrow(_ADD, *columns, due_from)
    assert row is not None
    added, instruments, starts, _ = row
    if instruments is not None:
        await connection.execute(_ADD_UP, instruments, starts)
    return int(added)


async def ticks(
    connection: Connection,
    instrument: str,
    *,
    begin: datetime,
    end: datetime,
    source: str | None,
    after: tuple[datetime, str, str] | None,
    limit: int,
    newest_first: bool,
) -> list[StoredTick]:
    """Read ticks of [begin, end) behind a place (time, source, id)."""
    rows = await connection.fetch(
        _TICKS_DOWN if newest_first else _TICKS_UP,
        instrument,
        begin,
        end,
        *(after or (None, None, None)),
        limit,
        source,
    )
    return [StoredTick(*row) for row in rows]


async def bars(
    connection: Connection,
    instrument: str,
    *,
    interval_s: int,
    begin: datetime,
    end: datetime,
    limit: int,
    newest_first: bool,
) -> list[StoredBar]:
    """Add up bars of [begin, end), both on the interval's grid, to longer ones."""
    rows = await connection.fetch(_BARS_DOWN if newest_first else _BARS_UP, instrument, begin, end, interval_s, limit)
    return [StoredBar(*row) for row in rows]


async def latest(
    connection: Connection, instruments: Sequence[str], *, until: datetime, limit: int
) -> list[asyncpg.Record]:
    """Read the latest one-second bars of each instrument: its name, then the columns of `Bars` as arrays."""
    return await connection.fetch(_LATEST, list(instruments), until, limit)


async def has_any(connection: Connection, instrument: str) -> bool:
    """Say whether any price of an instrument was ever stored."""
    return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM lake.bar WHERE instrument = $1)", instrument))


async def instruments_with_bars(connection: Connection) -> list[str]:
    """Name every instrument that has bars."""
    rows = await connection.fetch(
        """
        WITH RECURSIVE names AS (
          (SELECT instrument FROM lake.bar ORDER BY instrument LIMIT 1)
          UNION ALL
          SELECT (SELECT b.instrument FROM lake.bar b WHERE b.instrument > n.instrument ORDER BY b.instrument LIMIT 1)
          FROM names n WHERE n.instrument IS NOT NULL
        )
        SELECT instrument FROM names WHERE instrument IS NOT NULL
        """
    )
    return [row[0] for row in rows]


async def has_bars_before(connection: Connection, instrument: str, moment: datetime) -> bool:
    """Say whether an instrument's history reaches back beyond a time."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM lake.bar WHERE instrument = $1 AND start <= $2)", instrument, moment
    )
    return found


async def volume_by_time_of_day(
    connection: Connection, instrument: str, *, begin: datetime, end: datetime, part_s: int
) -> list[tuple[int, float]]:
    """Read the mean volume of each part of a day (UTC) that has any: (number of the part, volume)."""
    rows = await connection.fetch(
        """
        SELECT part, sum(volume) / count(*) FROM (
          SELECT day, part, sum(volume) AS volume FROM (
            SELECT *, min(grade) OVER (PARTITION BY day, part) AS finest FROM (
              SELECT floor(extract(epoch FROM start) / 86400)::int AS day,
                     (extract(epoch FROM start)::bigint % 86400 / $4)::int AS part,
                     CASE WHEN count > 0 THEN 0 ELSE span_s END AS grade, volume
              FROM lake.bar WHERE instrument = $1 AND start >= $2 AND start < $3
            ) rows
          ) graded WHERE grade = finest GROUP BY 1, 2
        ) days GROUP BY 1 ORDER BY 1
        """,
        instrument,
        begin,
        end,
        part_s,
    )
    return [(row[0], row[1]) for row in rows]
