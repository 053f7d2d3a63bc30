"""Old market history: seconds become minutes, and what nobody wants any more goes, a little at a time."""

from dataclasses import dataclass
from datetime import datetime

from app.infra.db import Connection
from app.infra.repositories.prices import MERGE

ROLLED_UP_S = 60
_TURN = 7_305_782
"""The advisory lock of whoever works on old history."""


@dataclass(frozen=True, slots=True)
class History:
    """A table in partitions by time; its key starts with `lead`, then `time`, and may go on with `rest`."""

    table: str
    lead: tuple[str, ...]
    time: str
    rest: tuple[str, ...] = ()


PRICES = History("lake.price", ("instrument", "source"), "at", ("tick_id",))
METRICS = History("warehouse.metric", ("instrument", "interval_s"), "event_ts", ("known_ts",))
FEATURES = History("warehouse.feature_history", ("instrument", "interval_s", "schema_hash"), "event_ts", ("known_ts",))
OUTCOMES = History("warehouse.outcome", ("instrument", "interval_s", "horizon_s"), "event_ts", ("known_ts",))
BOOK_SAMPLES = History("lake.book_sample", ("instrument",), "at")

# The keys are skipped from one to the next, and each of them is read from its oldest row on: the index serves it all.
_DELETE = """
WITH RECURSIVE leads AS (
  (SELECT {lead} FROM {table} ORDER BY {lead} LIMIT 1)
  UNION ALL
  SELECT following.* FROM leads k CROSS JOIN LATERAL (
    SELECT {lead} FROM {table} t WHERE ({t_lead}) > ({k_lead}) ORDER BY {lead} LIMIT 1
  ) following
), old AS (
  SELECT o.* FROM leads k CROSS JOIN LATERAL (
    SELECT {key} FROM {table} t WHERE ({t_lead}) = ({k_lead}) AND {time} < $1 ORDER BY {time} LIMIT $2
  ) o LIMIT $2
)
DELETE FROM {table} t USING old WHERE ({t_key}) = ({old_key}) AND t.{time} < $1
"""

# A writer that holds a second is not waited for: the next round finds it. A minute may come in parts, which add up.
# It is known since its seconds were.
# Sums are taken in the order of time, as where bars are read: their last digit depends on it.
_ROLL_UP = f"""
WITH old AS (
  SELECT instrument, start FROM lake.bar WHERE instrument = $1 AND span_s = 1 AND start < $2
  ORDER BY start LIMIT $3 FOR UPDATE SKIP LOCKED
), gone AS (
  DELETE FROM lake.bar b USING old
  WHERE b.instrument = old.instrument AND b.start = old.start AND b.span_s = 1 AND b.start < $2
  RETURNING b.*
), parts AS (
  SELECT *, date_trunc('minute', start) AS minute,
         bool_or(count > 0) OVER (PARTITION BY date_trunc('minute', start)) AS has_ticks
  FROM gone
), minutes AS (
  SELECT instrument, minute AS start, {ROLLED_UP_S} AS span_s,
         (array_agg(open ORDER BY first_at, open))[1] AS open, max(high) AS high, min(low) AS low,
         (array_agg(close ORDER BY last_at DESC, close DESC))[1] AS close, sum(count)::int AS count,
         sum(volume ORDER BY start) AS volume, sum(notional ORDER BY start) AS notional,
         sum(price_sum ORDER BY start) AS price_sum,
         min(first_at) AS first_at, max(last_at) AS last_at, max(known_at) AS known_at
  FROM parts WHERE count > 0 OR NOT has_ticks GROUP BY instrument, minute
), merged AS ({MERGE.format(source="minutes", known_at="known_at")} RETURNING 1)
SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM merged)
"""


async def take_turn(connection: Connection) -> bool:
    """Say whether this transaction is the only one to work on old history; it is until it ends."""
    return bool(await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _TURN))


async def roll_up(connection: Connection, instrument: str, before: datetime, *, limit: int) -> int:
    """Turn seconds before a whole minute into minutes, the oldest first; answers how many there were."""
    row = await connection.fetchrow(_ROLL_UP, instrument, before, limit)
    assert row is not None
    return int(row[0])


async def drop_partitions(connection: Connection, history: History, before: datetime) -> int:
    """Drop the partitions all of whose rows are older; answers how many."""
    return int(await connection.fetchval("SELECT lake.drop_partitions($1, $2)", history.table, before))


async def delete(connection: Connection, history: History, before: datetime, *, limit: int) -> int:
    """Delete rows that are older, up to a limit; answers how many."""
    status = await connection.execute(delete_statement(history), before, limit)
    return int(status.split()[-1])


def delete_statement(history: History) -> str:
    """Write what deletes rows of a table: before a time, up to a limit."""
    key = (*history.lead, history.time, *history.rest)
    return _DELETE.format(
        table=history.table,
        time=history.time,
        lead=", ".join(history.lead),
        key=", ".join(key),
        t_lead=_of("t", history.lead),
        k_lead=_of("k", history.lead),
        t_key=_of("t", key),
        old_key=_of("old", key),
    )


def _of(alias: str, columns: tuple[str, ...]) -> str:
    return ", ".join(f"{alias}.{column}" for column in columns)
