"""What order books held, second by second."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from app.domain.bars import FloatArray
from app.infra.db import Connection


@dataclass(frozen=True, slots=True, eq=False)
class BookSamples:
    """Samples of one instrument, oldest first; times are seconds since 1970."""

    at: FloatArray
    known_s: FloatArray
    values: FloatArray


async def add(connection: Connection, at: datetime, instruments: Sequence[str], values: FloatArray) -> int:
    """Store what books held at one second; what another worker stored stays. Answers how many were new."""
    rows = await connection.fetch(
        """
        INSERT INTO lake.book_sample (instrument, at, values)
        SELECT instrument, $1, ($3::float8[])[(n - 1) * $4 + 1 : n * $4]
        FROM unnest($2::text[]) WITH ORDINALITY AS t(instrument, n) ORDER BY instrument
        ON CONFLICT (instrument, at) DO NOTHING RETURNING 1
        """,
        at,
        list(instruments),
        values.ravel().tolist(),
        values.shape[1],
    )
    return len(rows)


async def read(connection: Connection, instrument: str, *, begin: datetime, end: datetime) -> BookSamples:
    """Read the samples of [begin, end)."""
    rows = await connection.fetch(
        """
        SELECT extract(epoch FROM at)::float8, extract(epoch FROM known_ts)::float8, values FROM lake.book_sample
        WHERE instrument = $1 AND at >= $2 AND at < $3 ORDER BY at
        """,
        instrument,
        begin,
        end,
    )
    return BookSamples(*(np.array(column) for column in zip(*rows, strict=True))) if rows else NO_SAMPLES


NO_SAMPLES = BookSamples(np.empty(0), np.empty(0), np.empty((0, 0)))
