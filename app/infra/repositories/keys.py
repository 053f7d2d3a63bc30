"""API keys: what is known of them, which is not the keys themselves."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from app.infra.db import Connection


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One key."""

    id: UUID
    program: str
    prefix: str
    scopes: tuple[str, ...]
    unlimited: bool
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    is_live: bool


_COLUMNS = (
    "id, program, prefix, scopes, unlimited, created_at, expires_at, revoked_at, "
    "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())"
)


def _row(row: asyncpg.Record) -> KeyRow:
    identifier, program, prefix, scopes, *rest = row
    return KeyRow(identifier, program, prefix, tuple(scopes), *rest)


async def find(connection: Connection, digest: bytes) -> KeyRow | None:
    """Look a key up by its keyed hash, dead or alive."""
    row = await connection.fetchrow(f"SELECT {_COLUMNS} FROM lake.api_key WHERE digest = $1", digest)
    return None if row is None else _row(row)


async def take_turn(connection: Connection, program: str) -> None:
    """Let only this transaction change a program's keys until it ends."""
    await connection.execute("SELECT pg_advisory_xact_lock(7305782, hashtext($1))", program)


async def count_live(connection: Connection, program: str) -> int:
    """Count a program's keys that work now."""
    count: int = await connection.fetchval(
        """
        SELECT count(*) FROM lake.api_key
        WHERE program = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
        """,
        program,
    )
    return count


async def add(
    connection: Connection,
    *,
    identifier: UUID,
    program: str,
    prefix: str,
    digest: bytes,
    scopes: Sequence[str],
    unlimited: bool,
    expires_at: datetime | None,
) -> None:
    """Store a key."""
    await connection.execute(
        """
        INSERT INTO lake.api_key (id, program, prefix, digest, scopes, unlimited, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        """,
        identifier,
        program,
        prefix,
        digest,
        list(scopes),
        unlimited,
        expires_at,
    )


async def revoke(connection: Connection, identifier: UUID) -> KeyRow | None:
    """Take a key back; a second time changes nothing. None when there is no such key."""
    row = await connection.fetchrow(
        f"UPDATE lake.api_key SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1 RETURNING {_COLUMNS}",
        identifier,
    )
    return None if row is None else _row(row)


async def revoke_all(connection: Connection, program: str) -> None:
    """Take all of a program's keys back."""
    await connection.execute(
        "UPDATE lake.api_key SET revoked_at = now() WHERE program = $1 AND revoked_at IS NULL", program
    )


async def page(connection: Connection, program: str | None, *, limit: int = 1000) -> list[KeyRow]:
    """List keys, newest first."""
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM lake.api_key WHERE $1::text IS NULL OR program = $1 ORDER BY id DESC LIMIT $2",
        program,
        limit,
    )
    return [_row(row) for row in rows]
