"""Which instruments have to be measured again, from when, and who does it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.infra.db import Connection


@dataclass(frozen=True, slots=True)
class DueBars:
    """An instrument that was taken. Times are seconds since 1970.

    Everything up to `after` is measured; bars from `changed_from` on changed since `previous` was taken.
    """

    instrument: str
    after: float
    changed_from: float | None
    to_start: float
    previous: UUID | None
    unsaid_from: float | None
    unsaid_ts: datetime | None


# A lost take is only taken again, so its commit need not wait for the disk. Writers of bars hold these rows for a
# moment each; skipping those that are held would wait for ever behind a busy feed.
_TAKE = """
WITH oldest AS (
  SELECT instrument FROM lake.bar_due
  WHERE (least(from_start, taken_from) < $1 OR unsaid_ts IS NOT NULL) AND (leased_until IS NULL OR leased_until < now())
  ORDER BY least(from_start, taken_from) LIMIT $2
), due AS (
  SELECT * FROM lake.bar_due
  WHERE instrument IN (SELECT instrument FROM oldest) AND (least(from_start, taken_from) < $1 OR unsaid_ts IS NOT NULL)
    AND (leased_until IS NULL OR leased_until < now())
  ORDER BY instrument FOR UPDATE
)
UPDATE lake.bar_due b
SET taken_from = least(due.from_start, due.taken_from), from_start = 'infinity', token = $3,
    leased_until = now() + make_interval(secs => $4)
FROM due, (SELECT set_config('synchronous_commit', 'off', true) AS relaxed) s
WHERE b.instrument = due.instrument AND s.relaxed IS NOT NULL
RETURNING b.instrument, extract(epoch FROM b.taken_from)::float8,
          extract(epoch FROM nullif(due.from_start, 'infinity'))::float8, extract(epoch FROM b.to_start)::float8,
          due.token, extract(epoch FROM b.unsaid_from)::float8, b.unsaid_ts
"""


async def take(connection: Connection, *, before: datetime, token: UUID, limit: int, lease_s: float) -> list[DueBars]:
    """Take the instruments that wait longest, of those that have a moment up to `before` to measure."""
    rows = await connection.fetch(_TAKE, before, limit, token, lease_s)
    return sorted((DueBars(*row) for row in rows), key=lambda due: due.instrument)


async def advance(
    connection: Connection, token: UUID, through: Sequence[tuple[str, datetime]], *, unsaid_ts: datetime | None
) -> int:
    """Say up to where instruments are measured; answers how many of them are still ours.

    With `unsaid_ts` they stay taken, and what was measured counts as unpublished until they are given back.
    """
    rows = await connection.fetch(
        """
        UPDATE lake.bar_due b
        SET unsaid_from = CASE WHEN $4::timestamptz IS NULL THEN b.unsaid_from ELSE b.taken_from END,
            unsaid_ts = coalesce($4, b.unsaid_ts), taken_from = t.through
        FROM unnest($1::text[], $2::timestamptz[]) AS t(instrument, through)
        WHERE b.instrument = t.instrument AND b.token = $3 RETURNING 1
        """,
        [instrument for instrument, _ in through],
        [moment for _, moment in through],
        token,
        unsaid_ts,
    )
    return len(rows)


async def give_back(connection: Connection, token: UUID, *, done: Sequence[str]) -> None:
    """Let others take what is ours, all of it published; forget what is done unless it changed meanwhile."""
    await connection.execute(
        "DELETE FROM lake.bar_due WHERE instrument = ANY($1) AND token = $2 AND from_start = 'infinity'",
        list(done),
        token,
    )
    await connection.execute(
        "UPDATE lake.bar_due SET leased_until = NULL, unsaid_from = NULL, unsaid_ts = NULL WHERE token = $1", token
    )


async def release(connection: Connection, token: UUID, instruments: Sequence[str]) -> None:
    """Let others take some of what is ours, as it was."""
    await connection.execute(
        "UPDATE lake.bar_due SET leased_until = NULL WHERE token = $1 AND instrument = ANY($2)",
        token,
        list(instruments),
    )


async def fence(connection: Connection, instrument: str) -> None:
    """Keep everyone else from measuring an instrument until this transaction ends; who is at it starts over."""
    await connection.execute(
        """
        INSERT INTO lake.bar_due (instrument, from_start, to_start) VALUES ($1, 'infinity', '-infinity')
        ON CONFLICT (instrument) DO UPDATE SET token = NULL, leased_until = NULL
        """,
        instrument,
    )


async def unfence(connection: Connection, instrument: str) -> None:
    """Forget an instrument that nothing but the fence had entered."""
    await connection.execute(
        "DELETE FROM lake.bar_due WHERE instrument = $1 AND from_start = 'infinity' AND taken_from IS NULL", instrument
    )
