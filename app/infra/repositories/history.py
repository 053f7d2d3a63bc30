"""Features and outcomes of the past, version by version, and which parts of backfills are done."""

from dataclasses import dataclass
from datetime import date, datetime

import numpy as np

from app.domain.bars import FloatArray
from app.infra.db import Connection
from app.infra.repositories.binary_copy import Field, binary_rows, copy_rows, micros_of


@dataclass(frozen=True, slots=True, eq=False)
class VersionRows:
    """Versions of moments; times are seconds since 1970."""

    event_s: FloatArray
    known_s: FloatArray
    values: FloatArray

    def __len__(self) -> int:
        return len(self.event_s)

    def chosen(self, which: np.typing.NDArray[np.bool_]) -> "VersionRows":
        """Keep some of them."""
        return VersionRows(self.event_s[which], self.known_s[which], self.values[which])


@dataclass(frozen=True, slots=True)
class Series:
    """Where versions are kept: a table, and what names one series in it."""

    table: str
    keys: tuple[tuple[str, str | int], ...]


@dataclass(frozen=True, slots=True)
class BarsSeen:
    """What tells whether the inputs of a part are still the same."""

    count: int
    newest: datetime | None
    sum_known_s: float
    samples: int
    newest_sample: datetime | None


def feature_series(instrument: str, interval_s: int, schema_hash: str) -> Series:
    """Name the features of an instrument."""
    return Series(
        "feature_history", (("instrument", instrument), ("interval_s", interval_s), ("schema_hash", schema_hash))
    )


def outcome_series(instrument: str, interval_s: int, horizon_s: int) -> Series:
    """Name the outcomes of an instrument over one horizon."""
    return Series("outcome", (("instrument", instrument), ("interval_s", interval_s), ("horizon_s", horizon_s)))


async def latest(
    connection: Connection, series: Series, *, begin: datetime, end: datetime, as_of: datetime | None = None
) -> VersionRows:
    """Read the latest version of each moment in [begin, end), of those known at `as_of`."""
    names = [name for name, _ in series.keys]
    rows = await connection.fetch(
        f"""
        SELECT DISTINCT ON (event_ts) extract(epoch FROM event_ts)::float8, extract(epoch FROM known_ts)::float8, values
        FROM warehouse.{series.table}
        WHERE {" AND ".join(f"{name} = ${number}" for number, name in enumerate(names, 4))}
          AND event_ts >= $1 AND event_ts < $2 AND ($3::timestamptz IS NULL OR known_ts <= $3)
        ORDER BY event_ts, known_ts DESC
        """,
        begin,
        end,
        as_of,
        *(value for _, value in series.keys),
    )
    if not rows:
        return VersionRows(np.empty(0), np.empty(0), np.empty((0, 0)))
    return VersionRows(*(np.array(column) for column in zip(*rows, strict=True)))


async def add(connection: Connection, series: Series, rows: VersionRows) -> None:
    """Append versions."""
    names, keys = zip(*series.keys, strict=True)
    fields: list[Field] = [*keys, micros_of(rows.event_s), micros_of(rows.known_s), rows.values]
    columns = (*names, "event_ts", "known_ts", "values")
    await copy_rows(connection, "warehouse", series.table, columns, [binary_rows(len(rows), fields)])


async def take_turn(connection: Connection, instrument: str) -> None:
    """Wait until nobody else writes the history of an instrument, and keep it so until the transaction ends."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('history ' || $1, 0))", instrument)


async def days_with_bars(connection: Connection, instrument: str, *, begin: datetime, end: datetime) -> list[date]:
    """List the days (UTC) on which any bar of [begin, end) starts."""
    rows = await connection.fetch(
        """
        WITH RECURSIVE days AS (
          (SELECT date_trunc('day', start) AS day FROM lake.bar
           WHERE instrument = $1 AND start >= $2 AND start < $3 ORDER BY start LIMIT 1)
          UNION ALL
          SELECT (SELECT date_trunc('day', b.start) FROM lake.bar b
                  WHERE b.instrument = $1 AND b.start >= d.day + interval '1 day' AND b.start < $3
                  ORDER BY b.start LIMIT 1)
          FROM days d WHERE d.day IS NOT NULL
        )
        SELECT day::date FROM days WHERE day IS NOT NULL ORDER BY 1
        """,
        instrument,
        begin,
        end,
    )
    return [row[0] for row in rows]


async def bars_seen(connection: Connection, instrument: str, *, begin: datetime, end: datetime) -> BarsSeen:
    """Look at what a part depends on without reading it."""
    row = await connection.fetchrow(
        """
        SELECT b.*, s.* FROM
          (SELECT count(*), max(known_at), coalesce(sum(extract(epoch FROM known_at)), 0)::float8 FROM lake.bar
           WHERE instrument = $1 AND start >= $2 AND start < $3) b,
          (SELECT count(*), max(known_ts) FROM lake.book_sample
           WHERE instrument = $1 AND at >= $2 AND at < $3) s
        """,
        instrument,
        begin,
        end,
    )
    assert row is not None
    return BarsSeen(*row)


async def rows_of_part(connection: Connection, scope_hash: str, instrument: str, day: date) -> int | None:
    """Tell how many rows a part added, if it is done."""
    rows: int | None = await connection.fetchval(
        "SELECT rows FROM warehouse.backfill_chunk WHERE scope_hash = $1 AND instrument = $2 AND day = $3",
        scope_hash,
        instrument,
        day,
    )
    return rows


async def finish_part(connection: Connection, scope_hash: str, instrument: str, day: date, rows: int) -> None:
    """Note that a part is done."""
    await connection.execute(
        """
        INSERT INTO warehouse.backfill_chunk (scope_hash, instrument, day, rows) VALUES ($1, $2, $3, $4)
        ON CONFLICT DO NOTHING
        """,
        scope_hash,
        instrument,
        day,
        rows,
    )


def newer_than(rows: VersionRows, stored: VersionRows) -> VersionRows:
    """Keep the versions that say something else than what is stored, and were known later."""
    if not len(stored) or not len(rows):
        return rows
    place = np.minimum(np.searchsorted(stored.event_s, rows.event_s), len(stored) - 1)
    is_stored = stored.event_s[place] == rows.event_s
    before = stored.values[place]
    is_same = ((rows.values == before) | (np.isnan(rows.values) & np.isnan(before))).all(axis=1)
    return rows.chosen(~is_stored | ~(is_same | (rows.known_s <= stored.known_s[place])))
