"""Rows of any table as JSON, for operators who look at data or put it in by hand."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import asyncpg
from sqlalchemy import Column, Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import JSON

from app.domain.errors import Invalid
from app.infra.db import Connection

Operator = Literal["=", "!=", "<", "<=", ">", ">="]
_REFUSED = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.CardinalityViolationError)
_DIALECT: Any = postgresql.dialect()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Condition:
    """One column compared with a value in text; None means null."""

    column: str
    operator: Operator
    value: str | None


async def read(connection: Connection, table: Table, conditions: Sequence[Condition], *, limit: int) -> list[str]:
    """Read rows as JSON, newest first as far as their key tells. Raises Invalid for a value of another type."""
    clauses, arguments = ["true"], list[str]()
    for condition in conditions:
        name = _quoted(condition.column)
        if condition.value is None:
            clauses.append(f"{name} IS {'NOT ' if condition.operator == '!=' else ''}NULL")
            continue
        arguments.append(condition.value)
        kind = _type(table.c[condition.column])
        if isinstance(table.c[condition.column].type, JSON):
            name, kind = f"{name}::text", "text"
        clauses.append(f"{name} {condition.operator} ${len(arguments)}::text::{kind}")
    order = ", ".join(f"{_quoted(name)} DESC" for name in _order(table))
    try:
        rows = await connection.fetch(
            f"SELECT row_to_json(t)::text FROM {table.fullname} t WHERE {' AND '.join(clauses)} "
            f"ORDER BY {order} LIMIT {int(limit)}",
            *arguments,
        )
    except asyncpg.DataError as error:
        raise Invalid(f"{table.name}: {error}") from error
    return [row[0] for row in rows]


async def write(
    connection: Connection, table: Table, columns: Sequence[str], rows: str, *, replace: bool
) -> tuple[int, int]:
    """Insert a JSON array of rows that have these columns; answers how many were inserted and how many replaced.

    A row whose key is there is left alone unless `replace`. Raises Invalid saying what Postgres refused.
    """
    keys = [column.name for column in table.primary_key]
    others = [name for name in columns if name not in keys]
    names = ", ".join(map(_quoted, columns))
    action = "NOTHING"
    if replace and others:
        action = "UPDATE SET " + ", ".join(f"{_quoted(name)} = excluded.{_quoted(name)}" for name in others)
    key = ", ".join(map(_quoted, keys))
    try:
        found = await connection.fetchrow(
            f"""
            WITH given AS (SELECT * FROM json_populate_recordset(NULL::{table.fullname}, $1::text::json)),
            present AS (SELECT count(*) AS n FROM {table.fullname} WHERE ({key}) IN (SELECT {key} FROM given)),
            written AS (
              INSERT INTO {table.fullname} ({names}) SELECT {names} FROM given
              ON CONFLICT ({key}) DO {action} RETURNING 1
            )
            SELECT (SELECT count(*) FROM written), (SELECT n FROM present)
            """,
            rows,
        )
    except _REFUSED as error:
        raise Invalid(f"{table.name}: {error}") from error
    assert found is not None
    replaced = found[1] if action != "NOTHING" else 0
    return found[0] - replaced, replaced


def partitioned_by(table: Table) -> str | None:
    """Name the column of time that a table is in partitions by, if it is."""
    match = re.fullmatch(r"RANGE \((\w+)\)", table.dialect_options["postgresql"].get("partition_by") or "")
    return match[1] if match else None


async def ensure_partitions(connection: Connection, table: Table, moments: Sequence[str]) -> None:
    """Make the partitions that rows of these times go to. Raises Invalid for what is no time."""
    try:
        await connection.execute(
            "SELECT lake.ensure_partitions($1, $2::text[]::timestamptz[])", table.fullname, list(moments)
        )
    except asyncpg.DataError as error:
        raise Invalid(f"{table.name}: {error}") from error


def _order(table: Table) -> list[str]:
    # The trail's key does not grow with time; its position does.
    return ["position"] if "position" in table.c else [column.name for column in table.primary_key]


def _type(column: Column[Any]) -> str:
    return str(column.type.compile(dialect=_DIALECT))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
