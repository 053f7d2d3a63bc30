"""Rows past their retention, as lines of JSON that turn back into the same rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.infra.db import Connection


@dataclass(frozen=True, slots=True)
class Source:
    """A table that is archived: its key, its time, and which of its rows may go."""

    table: str
    key: str
    key_type: str
    time: str
    condition: str


SOURCES: dict[str, Source] = {
    "log": Source("lake.log", "position", "bigint", "at", "true"),
    "dead_letter": Source("lake.dead_letter", "id", "uuid", "created_at", "replayed_at IS NOT NULL"),
}


@dataclass(frozen=True, slots=True)
class ArchivedRow:
    """One row: its key as text, its time, and all of it as one line of JSON."""

    key: str
    at: datetime
    line: str


async def count(connection: Connection, source: Source, *, before: datetime) -> int:
    """Count the rows that may go."""
    return int(
        await connection.fetchval(
            f"SELECT count(*) FROM {source.table} WHERE {source.time} < $1 AND {source.condition}", before
        )
    )


async def oldest(connection: Connection, source: Source, *, before: datetime, limit: int) -> list[ArchivedRow]:
    """Read the oldest rows that may go."""
    rows = await connection.fetch(
        f"""
        SELECT {source.key}::text, {source.time}, row_to_json(t)::text FROM {source.table} t
        WHERE {source.time} < $1 AND {source.condition} ORDER BY {source.time}, {source.key} LIMIT $2
        """,
        before,
        limit,
    )
    # A line break in JSON text is always white space between tokens: inside strings it is escaped.
    return [ArchivedRow(row[0], row[1], row[2].replace("\n", " ").replace("\r", " ")) for row in rows]


async def delete(connection: Connection, source: Source, keys: Sequence[str]) -> int:
    """Delete rows by key."""
    rows = await connection.fetch(
        f"DELETE FROM {source.table} WHERE {source.key} = ANY($1::text[]::{source.key_type}[]) RETURNING 1", list(keys)
    )
    return len(rows)


async def insert(connection: Connection, source: Source, lines: Sequence[str]) -> int:
    """Put rows back; those that are there are left alone. Answers how many were not."""
    rows = await connection.fetch(
        f"""
        INSERT INTO {source.table} OVERRIDING SYSTEM VALUE
        SELECT (json_populate_record(NULL::{source.table}, line)).* FROM unnest($1::text[]::json[]) AS line
        ON CONFLICT ({source.key}) DO NOTHING RETURNING 1
        """,
        list(lines),
    )
    return len(rows)
