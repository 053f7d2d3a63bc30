"""Bars of many instruments as arrays, of any interval, with the time each was last changed."""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg
import numpy as np

from app.domain.bars import BAR_COLUMNS, Bars, FloatArray
from app.infra.db import Connection


@dataclass(frozen=True, slots=True)
class BarSpan:
    """Bars that start in [since, until), in seconds since 1970; both lie on the interval's grid."""

    instrument: str
    since: float
    until: float


@dataclass(frozen=True, slots=True, eq=False)
class ReadBars:
    """Bars, in seconds since 1970 when each was last changed, and up to where there are no others."""

    bars: Bars
    known_s: FloatArray
    until: float


_ARRAYS = """
       array_agg(date_part('epoch', start) ORDER BY start), array_agg(open ORDER BY start),
       array_agg(high ORDER BY start), array_agg(low ORDER BY start), array_agg(close ORDER BY start),
       array_agg(volume ORDER BY start), array_agg(notional ORDER BY start),
       array_agg(count::float8 ORDER BY start), array_agg(price_sum ORDER BY start),
       array_agg(date_part('epoch', last_at) ORDER BY start),
       array_agg(date_part('epoch', known_at) ORDER BY start)
"""

_SECONDS = f"""
SELECT w.n::int, s.* FROM unnest($1::text[], $2::float8[], $3::float8[]) WITH ORDINALITY AS w(name, since, until, n)
CROSS JOIN LATERAL (
  SELECT {_ARRAYS} FROM (
    SELECT * FROM lake.bar
    WHERE instrument = w.name AND start >= to_timestamp(w.since) AND start < to_timestamp(w.until) AND span_s = 1
    ORDER BY start LIMIT $4
  ) seconds
) s
"""

# What ticks made adds up, rolled up or not; imported bars stand in where there are no ticks, the finest of them.
# The order of the rows decides the last digit of sums. No aggregate may ask for another one: all would get that.
# However long the span, no more rows are looked at than $4 bars may need and some more.
_LONGER = f"""
SELECT w.n::int, s.*, p.until FROM unnest($1::text[], $2::float8[], $3::float8[]) WITH ORDINALITY
                                   AS w(name, since, until, n)
CROSS JOIN LATERAL (
  SELECT least(w.until, (
    SELECT floor(date_part('epoch', start) / $5) * $5 FROM lake.bar
    WHERE instrument = w.name AND start >= to_timestamp(w.since) AND start < to_timestamp(w.until)
    ORDER BY start OFFSET $6 LIMIT 1
  )) AS until
) p
CROSS JOIN LATERAL (
  SELECT {_ARRAYS} FROM (
    SELECT DISTINCT ON (bucket) bucket AS start, open, high, low, close, volume, notional, count, price_sum, last_at,
           known_at
    FROM (
      SELECT bucket, grade, (min(ARRAY[date_part('epoch', first_at), open]))[2] AS open, max(high) AS high,
             min(low) AS low, (max(ARRAY[date_part('epoch', last_at), close]))[2] AS close, sum(volume) AS volume,
             sum(notional) AS notional, sum(count) AS count, sum(price_sum) AS price_sum, max(last_at) AS last_at,
             max(known_at) AS known_at
      FROM (
        SELECT *, CASE WHEN count > 0 THEN 0 ELSE span_s END AS grade,
               to_timestamp(floor(date_part('epoch', start) / $5) * $5) AS bucket
        FROM lake.bar
        WHERE instrument = w.name AND start >= to_timestamp(w.since) AND start < to_timestamp(p.until) AND span_s <= $5
        ORDER BY bucket, grade, start, span_s
      ) ordered
      GROUP BY bucket, grade
    ) graded
    ORDER BY bucket, grade LIMIT $4
  ) longer
) s
"""
_ROWS_MORE = 60_000
_NAMES = (*BAR_COLUMNS, "known_at")


async def read(connection: Connection, spans: Sequence[BarSpan], *, interval_s: int, limit: int) -> list[ReadBars]:
    """Read up to `limit` bars of each span, the oldest ones."""
    rows = await connection.fetch(
        _SECONDS if interval_s == 1 else _LONGER,
        [span.instrument for span in spans],
        [span.since for span in spans],
        [span.until for span in spans],
        limit,
        *(() if interval_s == 1 else (float(interval_s), limit * interval_s + _ROWS_MORE)),
    )
    found = {row[0]: row for row in rows}
    return [_read_bars(span, interval_s, limit, found[number]) for number, span in enumerate(spans, 1)]


def _read_bars(span: BarSpan, interval_s: int, limit: int, row: asyncpg.Record) -> ReadBars:
    until = span.until if interval_s == 1 else float(row[12])
    if row[1] is None:
        return ReadBars(Bars.empty(span.instrument, interval_s), np.empty(0), until)
    columns = {name: np.array(column, dtype=np.float64) for name, column in zip(_NAMES, row[1:12], strict=True)}
    known_s = columns.pop("known_at")
    if len(known_s) == limit:
        until = min(until, float(columns["start"][-1]) + interval_s)
    return ReadBars(Bars.from_columns(span.instrument, columns, interval_s), known_s, until)
