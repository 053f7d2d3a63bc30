"""Metrics of instruments, version by version."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg
import numpy as np

from app.domain.bars import FloatArray
from app.infra.db import Connection
from app.infra.repositories.binary_copy import binary_rows, copy_rows, micros_of


@dataclass(frozen=True, slots=True)
class MetricSpan:
    """Moments of one instrument at one interval, in (after, until], in seconds since 1970."""

    instrument: str
    interval_s: int
    after: float
    until: float


@dataclass(frozen=True, slots=True, eq=False)
class MetricRows:
    """Values of one instrument at one interval, a row for each moment in seconds since 1970."""

    instrument: str
    interval_s: int
    set_hash: str
    event_s: FloatArray
    values: FloatArray


@dataclass(frozen=True, slots=True)
class StoredMetric:
    """The latest version of one moment's values."""

    set_hash: str
    values: list[float]


_COLUMNS = ("instrument", "interval_s", "event_ts", "known_ts", "set_hash", "values")

_LATEST = """
SELECT w.n::int, extract(epoch FROM m.event_ts)::float8, m.set_hash, m.values
FROM unnest($1::text[], $2::int[], $3::float8[], $4::float8[]) WITH ORDINALITY
     AS w(instrument, interval_s, after, until, n)
CROSS JOIN LATERAL (
  SELECT DISTINCT ON (event_ts) event_ts, set_hash, values FROM warehouse.metric
  WHERE instrument = w.instrument AND interval_s = w.interval_s
    AND event_ts > to_timestamp(w.after) AND event_ts <= to_timestamp(w.until)
  ORDER BY event_ts, known_ts DESC
) m
"""

_AS_KNOWN = """
SELECT w.n::int, m.interval_s, extract(epoch FROM m.event_ts)::float8, m.set_hash, m.values
FROM unnest($1::text[], $2::timestamptz[], $3::timestamptz[]) WITH ORDINALITY AS w(instrument, after, known_ts, n)
CROSS JOIN LATERAL (
  SELECT * FROM warehouse.metric
  WHERE instrument = w.instrument AND interval_s = ANY($4) AND event_ts > w.after AND known_ts = w.known_ts
  ORDER BY interval_s, event_ts
) m
ORDER BY 1, 2, 3
"""


async def latest(connection: Connection, spans: Sequence[MetricSpan]) -> list[dict[float, StoredMetric]]:
    """Read the latest version of each moment in each span."""
    found: list[dict[float, StoredMetric]] = [{} for _ in spans]
    if spans:
        rows = await connection.fetch(
            _LATEST,
            [span.instrument for span in spans],
            [span.interval_s for span in spans],
            [span.after for span in spans],
            [span.until for span in spans],
        )
        for number, event_s, set_hash, values in rows:
            found[number - 1][event_s] = StoredMetric(set_hash, values)
    return found


async def newest_moments(connection: Connection, pairs: Sequence[tuple[str, int]]) -> list[float | None]:
    """Read the newest moment that is stored of each instrument and interval."""
    rows = await connection.fetch(
        """
        SELECT (SELECT extract(epoch FROM m.event_ts)::float8 FROM warehouse.metric m
                WHERE m.instrument = w.instrument AND m.interval_s = w.interval_s ORDER BY m.event_ts DESC LIMIT 1)
        FROM unnest($1::text[], $2::int[]) WITH ORDINALITY AS w(instrument, interval_s, n) ORDER BY n
        """,
        [instrument for instrument, _ in pairs],
        [interval_s for _, interval_s in pairs],
    )
    return [row[0] for row in rows]


async def add(connection: Connection, rows: Sequence[MetricRows], *, known_ts: datetime) -> None:
    """Append versions."""
    shapes: dict[tuple[int, int, str], list[tuple[bytes, MetricRows]]] = {}
    for each in rows:
        name = each.instrument.encode()
        shapes.setdefault((len(name), each.interval_s, each.set_hash), []).append((name, each))
    parts: list[bytes] = []
    for (_, interval_s, set_hash), group in shapes.items():
        counts = [len(each.event_s) for _, each in group]
        names = np.repeat(np.array([name for name, _ in group]), counts)
        event_s = np.concatenate([each.event_s for _, each in group])
        values = np.concatenate([each.values for _, each in group])
        fields = (names, interval_s, micros_of(event_s), known_ts, set_hash, values)
        parts.append(binary_rows(len(event_s), fields))
    await copy_rows(connection, "warehouse", "metric", _COLUMNS, parts)


async def add_set(connection: Connection, set_hash: str, names: Sequence[str]) -> None:
    """Keep what the values of a set are; doing it again changes nothing."""
    await connection.execute(
        "INSERT INTO warehouse.metric_set (set_hash, names) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        set_hash,
        list(names),
    )


async def as_known(
    connection: Connection, wanted: Sequence[tuple[str, datetime, datetime]], intervals: Sequence[int]
) -> list[MetricRows]:
    """Read the rows of (instrument, behind this moment, known at exactly this time)."""
    rows = await connection.fetch(
        _AS_KNOWN,
        [instrument for instrument, _, _ in wanted],
        [after for _, after, _ in wanted],
        [known_ts for _, _, known_ts in wanted],
        list(intervals),
    )
    groups: dict[tuple[int, int, str], list[asyncpg.Record]] = {}
    for row in rows:
        groups.setdefault((row[0], row[1], row[3]), []).append(row)
    return [
        MetricRows(
            wanted[number - 1][0],
            interval_s,
            set_hash,
            np.array([row[2] for row in group]),
            np.array([row[4] for row in group]),
        )
        for (number, interval_s, set_hash), group in groups.items()
    ]
