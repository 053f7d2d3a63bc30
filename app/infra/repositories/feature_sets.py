"""Feature sets that programs defined. A version never changes."""

from dataclasses import dataclass
from datetime import datetime

from app.infra.db import Connection


@dataclass(frozen=True, slots=True)
class StoredSet:
    """One version of a set."""

    name: str
    version: int
    schema_hash: str
    document: str
    program: str
    created_at: datetime


_LARGEST = 2**31 - 1
_COLUMNS = "name, version, schema_hash, document::text, program, created_at"


async def take_turn(connection: Connection, name: str) -> None:
    """Let nobody else define a version of a set until the transaction ends."""
    await connection.execute("SELECT pg_advisory_xact_lock(7305790, hashtext($1))", name)


async def versions(connection: Connection, name: str) -> list[StoredSet]:
    """Read every version of a set, oldest first."""
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM warehouse.feature_set WHERE name = $1 ORDER BY version", name
    )
    return [StoredSet(*row) for row in rows]


async def add(
    connection: Connection, *, name: str, version: int, schema_hash: str, document: str, program: str
) -> StoredSet:
    """Store a version."""
    row = await connection.fetchrow(
        f"""
        INSERT INTO warehouse.feature_set (name, version, schema_hash, document, program)
        VALUES ($1, $2, $3, $4, $5) RETURNING {_COLUMNS}
        """,
        name,
        version,
        schema_hash,
        document,
        program,
    )
    assert row is not None
    return StoredSet(*row)


async def page(connection: Connection, *, after: tuple[str, int] | None, limit: int) -> list[StoredSet]:
    """Read versions by name, the newest of each first, behind a place (name, version)."""
    name, version = after or ("", 0)
    version = min(max(version, 0), _LARGEST)
    rows = await connection.fetch(
        f"""
        SELECT {_COLUMNS} FROM warehouse.feature_set
        WHERE name COLLATE "C" > $1 OR (name = $1 AND version < $2)
        ORDER BY name COLLATE "C", version DESC LIMIT $3
        """,
        name,
        version,
        limit,
    )
    return [StoredSet(*row) for row in rows]
