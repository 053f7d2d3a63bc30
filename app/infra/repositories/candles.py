"""Candles as exchanges and files state them, and the bars that follow from those of all sources."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from app.infra.db import Connection
from app.infra.repositories.deliveries import WORK_CHANNEL
from app.infra.repositories.prices import BAR_DUE, DUE

Candle: TypeAlias = tuple[datetime, float, float, float, float, float]
"""Start, open, high, low, close, volume."""

# A candle of several sources opens and closes as the busiest of them. Nothing is known of the prices within: the close
# stands for their sum, the middle of high, low and close for what was paid, and no ticks are counted. A bar that ticks
# made stays as it is.
_ADD = f"""
WITH stated AS (
  INSERT INTO lake.candle AS c (instrument, interval_s, start, source, open, high, low, close, volume)
  SELECT $1, $2, t.start, $3, t.open, t.high, t.low, t.close, t.volume
  FROM unnest($4::timestamptz[], $5::float8[], $6::float8[], $7::float8[], $8::float8[], $9::float8[])
       AS t(start, open, high, low, close, volume)
  ORDER BY t.start
  ON CONFLICT (instrument, interval_s, start, source) DO UPDATE SET
    open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close, volume = excluded.volume,
    known_at = now()
  WHERE (c.open, c.high, c.low, c.close, c.volume)
        IS DISTINCT FROM (excluded.open, excluded.high, excluded.low, excluded.close, excluded.volume)
  RETURNING c.*
), every AS (
  SELECT * FROM stated
  UNION ALL
  SELECT c.* FROM lake.candle c JOIN stated USING (instrument, interval_s, start) WHERE c.source <> $3
), summed AS (
  SELECT instrument, start, interval_s AS span_s,
         (array_agg(open ORDER BY volume DESC, source))[1] AS open, max(high) AS high, min(low) AS low,
         (array_agg(close ORDER BY volume DESC, source))[1] AS close, sum(volume) AS volume,
         sum(volume * (high + low + close) / 3) AS notional, start + make_interval(secs => interval_s) AS last_at
  FROM every GROUP BY instrument, start, interval_s
), merged AS (
  INSERT INTO lake.bar AS b
    (instrument, start, span_s, open, high, low, close, volume, notional, count, price_sum, first_at, last_at)
  SELECT instrument, start, span_s, open, high, low, close, volume, notional, 0, close, start, last_at
  FROM summed ORDER BY start
  ON CONFLICT (instrument, start, span_s) DO UPDATE SET
    open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close,
    volume = excluded.volume, notional = excluded.notional, price_sum = excluded.price_sum, known_at = now()
  WHERE b.count = 0
  RETURNING b.instrument, b.start
), due AS ({DUE.format(source="merged")})
SELECT (SELECT count(*) FROM stated), (SELECT count(*) FROM merged),
       (SELECT count(pg_notify('{WORK_CHANNEL}', '{BAR_DUE}')) FROM due WHERE is_new)
"""

# The key has the start before the source, so that a page is one walk along it.
_LISTED = """
SELECT start, source, open, high, low, close, volume FROM lake.candle
WHERE instrument = $1 AND interval_s = $2 AND start >= $3 AND start < $4 AND ($5::text IS NULL OR source = $5)
  AND ($6::timestamptz IS NULL OR (start {after_or_at} $6 AND (start, source) {after} ($6, $7::text)))
ORDER BY start {order}, source {order} LIMIT $8
"""
_LISTED_DOWN = _LISTED.format(after="<", after_or_at="<=", order="DESC")
_LISTED_UP = _LISTED.format(after=">", after_or_at=">=", order="ASC")


@dataclass(frozen=True, slots=True)
class StoredCandle:
    """One candle of one source."""

    start: datetime
    source: str
    open: float
    high: float
    low: float
    close: float
    volume: float


async def add(connection: Connection, instrument: str, interval_s: int, source: str, candles: Sequence[Candle]) -> int:
    """Store candles of one source, one per start, and the bars that change; answers how many were new or differed."""
    columns = map(list, zip(*candles, strict=True))
    row = await connection.fetchrow(_ADD, instrument, interval_s, source, *columns)
    assert row is not None
    return int(row[0])


async def listed(
    connection: Connection,
    instrument: str,
    interval_s: int,
    *,
    begin: datetime,
    end: datetime,
    source: str | None,
    after: tuple[datetime, str] | None,
    limit: int,
    newest_first: bool,
) -> list[StoredCandle]:
    """Read candles that start in [begin, end), behind a place (start, source)."""
    rows = await connection.fetch(
        _LISTED_DOWN if newest_first else _LISTED_UP,
        instrument,
        interval_s,
        begin,
        end,
        source,
        *(after or (None, None)),
        limit,
    )
    return [StoredCandle(*row) for row in rows]
