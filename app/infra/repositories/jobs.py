"""Long work: who asked for it, who does it, and how far it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from app.domain.job import JobClaim
from app.infra.db import Connection
from app.infra.repositories import deliveries

JOBS = "jobs"
"""The name under which workers are woken for new jobs."""


@dataclass(frozen=True, slots=True)
class JobRow:
    """One job; `params` and `result` are JSON."""

    id: UUID
    program: str
    kind: str
    params: str
    status: str
    progress: float
    result: str | None
    error: str | None
    cancel_requested: bool
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


_COLUMNS = """
id, program, kind, params::text, status, progress, result::text, error, cancel_requested, created_at, started_at,
finished_at
"""


def _row(row: asyncpg.Record | None) -> JobRow | None:
    return None if row is None else JobRow(*row)


async def add(connection: Connection, identifier: UUID, *, program: str, kind: str, params: str) -> JobRow:
    """Queue a job and wake a worker."""
    row = await connection.fetchrow(
        f"""
        INSERT INTO lake.job (id, program, kind, params, status) VALUES ($1, $2, $3, $4, 'queued')
        RETURNING {_COLUMNS}
        """,
        identifier,
        program,
        kind,
        params,
    )
    await deliveries.notify(connection, {JOBS})
    return JobRow(*_some(row))


async def get(connection: Connection, identifier: UUID, *, program: str | None) -> JobRow | None:
    """Read a job of a program, or of any."""
    return _row(
        await connection.fetchrow(
            f"SELECT {_COLUMNS} FROM lake.job WHERE id = $1 AND ($2::text IS NULL OR program = $2)", identifier, program
        )
    )


async def page(
    connection: Connection,
    *,
    program: str | None,
    status: str | None,
    kind: str | None,
    before: UUID | None,
    limit: int,
) -> list[JobRow]:
    """List jobs, newest first."""
    rows = await connection.fetch(
        f"""
        SELECT {_COLUMNS} FROM lake.job
        WHERE ($1::text IS NULL OR program = $1) AND ($2::text IS NULL OR status = $2)
          AND ($3::text IS NULL OR kind = $3) AND ($4::uuid IS NULL OR id < $4)
        ORDER BY id DESC LIMIT $5
        """,
        program,
        status,
        kind,
        before,
        limit,
    )
    return [JobRow(*row) for row in rows]


async def cancel(connection: Connection, identifier: UUID, *, program: str | None) -> JobRow | None:
    """End a queued job, ask a running one to stop, and leave an ended one alone."""
    return _row(
        await connection.fetchrow(
            f"""
            UPDATE lake.job SET
              cancel_requested = cancel_requested OR status IN ('queued', 'running'),
              finished_at = CASE WHEN status = 'queued' THEN now() ELSE finished_at END,
              status = CASE WHEN status = 'queued' THEN 'cancelled' ELSE status END
            WHERE id = $1 AND ($2::text IS NULL OR program = $2)
            RETURNING {_COLUMNS}
            """,
            identifier,
            program,
        )
    )


async def claim(connection: Connection, kinds: Sequence[str], *, lease_s: float) -> JobClaim | None:
    """Take the oldest job that is queued, or whose worker went silent."""
    row = await connection.fetchrow(
        """
        UPDATE lake.job SET status = 'running', claims = claims + 1, started_at = coalesce(started_at, now()),
                            leased_until = now() + make_interval(secs => $2)
        WHERE id = (
          SELECT id FROM lake.job
          WHERE status IN ('queued', 'running') AND kind = ANY($1) AND (leased_until IS NULL OR leased_until < now())
          ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
        )
        RETURNING id, claims, kind, params::text, progress
        """,
        list(kinds),
        lease_s,
    )
    return None if row is None else JobClaim(*row)


async def renew(connection: Connection, claim: JobClaim, *, progress: float | None, lease_s: float) -> bool | None:
    """Keep a lease and say how far the job is; answers whether to stop, or None when the lease is lost."""
    stop: bool | None = await connection.fetchval(
        """
        UPDATE lake.job SET leased_until = now() + make_interval(secs => $3),
                            progress = greatest(progress, coalesce($4, progress))
        WHERE id = $1 AND claims = $2 AND status = 'running' RETURNING cancel_requested
        """,
        claim.id,
        claim.token,
        lease_s,
        progress,
    )
    return stop


async def finish(
    connection: Connection, claim: JobClaim, *, status: str, result: str | None = None, error: str | None = None
) -> bool:
    """End a job; false when the lease is lost."""
    done = await connection.fetchval(
        """
        UPDATE lake.job SET status = $3, result = $4, error = $5, finished_at = now(), leased_until = NULL,
                            progress = CASE WHEN $3 = 'succeeded' THEN 1 ELSE progress END
        WHERE id = $1 AND claims = $2 AND status = 'running' RETURNING true
        """,
        claim.id,
        claim.token,
        status,
        result,
        error,
    )
    return bool(done)


async def release(connection: Connection, claim: JobClaim, *, delay_s: float) -> None:
    """Give a job back for another worker to go on with."""
    await connection.execute(
        """
        UPDATE lake.job SET status = 'queued', leased_until = now() + make_interval(secs => $3)
        WHERE id = $1 AND claims = $2 AND status = 'running'
        """,
        claim.id,
        claim.token,
        delay_s,
    )
    await deliveries.notify(connection, {JOBS})


def _some(row: asyncpg.Record | None) -> Any:
    assert row is not None
    return row
