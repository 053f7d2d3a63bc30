"""Who still has to handle which event: claims with a lease and a fencing token."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from app.domain.claim import Claim
from app.infra.db import Connection
from app.infra.ids import new_id

WORK_CHANNEL = "solver_work"


# A lost claim is only claimed again, so its commit need not wait for the disk.
CLAIM = """
UPDATE lake.delivery d
SET attempts = d.attempts + 1, claims = d.claims + 1, owner = $3, available_at = now() + make_interval(secs => $4)
FROM (SELECT set_config('synchronous_commit', 'off', true) AS relaxed) s,
     (SELECT position FROM lake.delivery
      WHERE consumer = $1 AND state = 0 AND available_at <= now() AND (attempts > 0) = $5
      ORDER BY position LIMIT $2 FOR UPDATE SKIP LOCKED) due
WHERE d.position = due.position AND s.relaxed IS NOT NULL
RETURNING d.position, d.claims, d.attempts, d.source, d.event_id, d.route_id, d.payload
"""


async def claim(
    connection: Connection, consumer: str, *, limit: int, owner: str, lease_s: float, retried: bool
) -> list[Claim]:
    """Take up to `limit` due events, oldest first: those never tried before, or those that were."""
    rows = await connection.fetch(CLAIM, consumer, limit, owner, lease_s, retried)
    return [Claim(*row) for row in sorted(rows, key=lambda row: row[0])]


async def add(
    connection: Connection,
    rows: Sequence[tuple[str, str, str, UUID | None, bytes | None]],
) -> None:
    """Queue (consumer, source, event id, route, payload); what is queued already, or was, is left alone."""
    columns = list(zip(*rows, strict=True))
    await connection.execute(
        """
        INSERT INTO lake.delivery (consumer, source, event_id, route_id, payload)
        SELECT t.consumer, t.source, t.event_id, t.route_id, t.payload
        FROM unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::bytea[])
             WITH ORDINALITY AS t(consumer, source, event_id, route_id, payload, n)
        ORDER BY n
        ON CONFLICT (source, event_id, consumer) DO NOTHING
        """,
        *columns,
    )
    await notify(connection, {row[0] for row in rows})


async def notify(connection: Connection, consumers: set[str]) -> None:
    """Wake the workers of some consumers once this transaction commits."""
    for consumer in sorted(consumers):
        await connection.execute("SELECT pg_notify($1, $2)", WORK_CHANNEL, consumer)


async def finish(connection: Connection, claims: Sequence[Claim]) -> set[int]:
    """Mark claims as done; answers the positions whose lease was still held."""
    return await _settle(connection, claims, state=1)


async def bury(connection: Connection, claims: Sequence[Claim]) -> set[int]:
    """Mark claims as dead; answers the positions whose lease was still held."""
    return await _settle(connection, claims, state=2)


async def _settle(connection: Connection, claims: Sequence[Claim], *, state: int) -> set[int]:
    rows = await connection.fetch(
        """
        UPDATE lake.delivery d SET state = $3, owner = NULL, available_at = now()
        FROM unnest($1::bigint[], $2::int[]) AS t(position, token)
        WHERE d.position = t.position AND d.claims = t.token AND d.state = 0
        RETURNING d.position
        """,
        [claim.position for claim in claims],
        [claim.token for claim in claims],
        state,
    )
    return {row[0] for row in rows}


async def release(connection: Connection, claims: Sequence[Claim], *, delays_s: Sequence[float], counted: bool) -> None:
    """Give claims back once, due after a delay; an outage does not count as an attempt."""
    await connection.execute(
        """
        UPDATE lake.delivery d
        SET owner = NULL, available_at = now() + make_interval(secs => t.delay), attempts = d.attempts - $4
        FROM unnest($1::bigint[], $2::int[], $3::float8[]) AS t(position, token, delay)
        WHERE d.position = t.position AND d.claims = t.token AND d.state = 0 AND d.owner IS NOT NULL
        """,
        [claim.position for claim in claims],
        [claim.token for claim in claims],
        list(delays_s),
        0 if counted else 1,
    )


async def free_owner(connection: Connection, owner: str) -> int:
    """Make due at once what a dead worker of the same slot had leased."""
    rows = await connection.fetch(
        "UPDATE lake.delivery SET available_at = now(), owner = NULL WHERE state = 0 AND owner = $1 RETURNING 1", owner
    )
    return len(rows)


async def open_counts(connection: Connection) -> dict[str, int]:
    """Count what each consumer has open."""
    rows = await connection.fetch("SELECT consumer, count(*) FROM lake.delivery WHERE state = 0 GROUP BY consumer")
    return {row[0]: row[1] for row in rows}


async def add_dead_letter(
    connection: Connection,
    *,
    consumer: str,
    claim: Claim | None,
    payload: bytes | None,
    code: str,
    reason: str,
) -> UUID:
    """Keep what could not be handled, with the reason."""
    identifier = new_id()
    await connection.execute(
        """
        INSERT INTO lake.dead_letter (id, consumer, source, event_id, route_id, payload, code, reason, attempts)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        """,
        identifier,
        consumer,
        claim.source if claim else None,
        claim.event_id if claim else None,
        claim.route_id if claim else None,
        payload,
        code,
        reason,
        claim.attempts if claim else 1,
    )
    return identifier


async def list_dead_letters(connection: Connection, *, limit: int, replayed: bool = False) -> list[dict[str, Any]]:
    """List what could not be handled, newest first."""
    rows = await connection.fetch(
        "SELECT * FROM lake.dead_letter WHERE $2 OR replayed_at IS NULL ORDER BY id DESC LIMIT $1", limit, replayed
    )
    return [dict(row) for row in rows]


async def take_dead_letters(connection: Connection, identifiers: Sequence[UUID] | None) -> list[dict[str, Any]]:
    """Mark dead letters as replayed (all of them without ids) and answer those that were not before."""
    rows = await connection.fetch(
        """
        UPDATE lake.dead_letter SET replayed_at = now()
        WHERE replayed_at IS NULL AND ($1::uuid[] IS NULL OR id = ANY($1)) RETURNING *
        """,
        list(identifiers) if identifiers is not None else None,
    )
    return [dict(row) for row in rows]


async def reopen(connection: Connection, *, consumer: str, source: str, event_id: str) -> bool:
    """Make a dead delivery due again with all its attempts."""
    row = await connection.fetchrow(
        """
        UPDATE lake.delivery SET state = 0, attempts = 0, available_at = now()
        WHERE consumer = $1 AND source = $2 AND event_id = $3 AND state = 2 RETURNING position
        """,
        consumer,
        source,
        event_id,
    )
    return row is not None


async def revive(connection: Connection, *, consumer: str, source: str, event_id: str, route_id: UUID | None) -> None:
    """Queue an event anew, whether its delivery was finished, lost or never made."""
    await connection.execute(
        """
        INSERT INTO lake.delivery AS d (consumer, source, event_id, route_id) VALUES ($1, $2, $3, $4)
        ON CONFLICT (source, event_id, consumer) DO UPDATE
        SET state = 0, attempts = 0, claims = d.claims + 1, available_at = now(), owner = NULL
        """,
        consumer,
        source,
        event_id,
        route_id,
    )
    await notify(connection, {consumer})


async def purge_keys(connection: Connection, *, older_than_h: float, limit: int = 5000) -> int:
    """Forget idempotency keys past their time."""
    rows = await connection.fetch(
        """
        DELETE FROM lake.idempotency WHERE (program, key) IN (
          SELECT program, key FROM lake.idempotency
          WHERE created_at < now() - make_interval(secs => $1) ORDER BY created_at LIMIT $2)
        RETURNING 1
        """,
        older_than_h * 3600.0,
        limit,
    )
    return len(rows)


async def purge_done(connection: Connection, *, older_than_h: float, limit: int = 5000) -> int:
    """Forget ended deliveries past the time in which an event could come again, looking at the oldest only."""
    rows = await connection.fetch(
        """
        DELETE FROM lake.delivery WHERE position IN (
          SELECT position FROM (
            SELECT position, state, created_at FROM lake.delivery ORDER BY position LIMIT $2
          ) oldest
          WHERE state <> 0 AND created_at < now() - make_interval(secs => $1)
        ) RETURNING 1
        """,
        older_than_h * 3600.0,
        limit,
    )
    return len(rows)
