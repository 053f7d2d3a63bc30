"""Databases: SQLite files, and what a query gives in SQLite or Postgres."""

import asyncio
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import asyncpg

from app.domain.errors import Invalid
from app.services.files.opened import OpenedFile
from app.services.files.table import CHUNK_ROWS, Chunk, Field

_KINDS = {"text": "TEXT", "time": "TEXT", "number": "REAL", "count": "INTEGER"}
_CONNECT_TIMEOUT_S = 10.0


def query_source(dsn: str, sql: str) -> "SqliteQuery | PostgresQuery":
    """Choose how to ask a database that a URL names: `sqlite:///file.db` or `postgresql://…`. Raises Invalid."""
    parts = urlsplit(dsn)
    if parts.scheme == "sqlite":
        path = Path(unquote(parts.path.removeprefix("/")))
        if not path.is_file():
            raise Invalid(f"there is no file {path}; an absolute path has four slashes: sqlite:////data/prices.db")
        return SqliteQuery(path, sql)
    if parts.scheme.partition("+")[0] in ("postgresql", "postgres"):
        return PostgresQuery(dsn.replace(parts.scheme, "postgresql", 1), sql)
    raise Invalid(f"{parts.scheme or dsn!r} is no database that can be read; use sqlite:///file.db or postgresql://…")


class SqliteSource:
    """The one table of a SQLite file that holds rows, or the one called price, bar or candle."""

    def __init__(self, file: OpenedFile) -> None:
        self._file = file

    def chunks(self) -> Iterator[Chunk]:
        """Read the table. Raises Invalid."""
        with self._file as file:
            path = file.path()
            table = _table(path, file.name)
            yield from SqliteQuery(path, f"SELECT * FROM {_quoted(table)}").chunks()


class SqliteQuery:
    """What a query gives; the file is opened for reading only."""

    def __init__(self, path: Path, sql: str) -> None:
        self._path = path
        self._sql = sql

    def chunks(self) -> Iterator[Chunk]:
        """Read the rows. Raises Invalid."""
        try:
            with closing(_read_only(self._path)) as connection:
                cursor = connection.execute(self._sql)
                if cursor.description is None:
                    raise Invalid("the query gives no rows; write a SELECT")
                names = [column[0] for column in cursor.description]
                first_row = 1
                while rows := cursor.fetchmany(CHUNK_ROWS):
                    yield _chunk(names, rows, first_row)
                    first_row += len(rows)
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise Invalid(f"SQLite refuses the query: {error}") from error


class PostgresQuery:
    """What a query gives, in a transaction that can only read."""

    def __init__(self, dsn: str, sql: str) -> None:
        self._dsn = dsn
        self._sql = sql

    def chunks(self) -> Iterator[Chunk]:
        """Read the rows through a cursor. Raises Invalid."""
        # An event loop of its own: whoever reads chunks does so outside of any.
        with asyncio.Runner() as runner:
            try:
                connection = runner.run(self._connect())
                try:
                    yield from self._rows(runner, connection)
                finally:
                    runner.run(connection.close(timeout=_CONNECT_TIMEOUT_S))
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, ValueError) as error:
                raise Invalid(f"the database refuses: {error or type(error).__name__}") from error

    async def _connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        return await asyncpg.connect(self._dsn, timeout=_CONNECT_TIMEOUT_S)

    def _rows(self, runner: asyncio.Runner, connection: "asyncpg.Connection[asyncpg.Record]") -> Iterator[Chunk]:
        transaction = connection.transaction(readonly=True)
        runner.run(transaction.start())
        statement = runner.run(_prepare(connection, self._sql))
        names = [attribute.name for attribute in statement.get_attributes()]
        if not names:
            raise Invalid("the query gives no rows; write a SELECT")
        cursor = runner.run(_open(statement))
        first_row = 1
        while rows := runner.run(cursor.fetch(CHUNK_ROWS)):
            yield _chunk(names, [tuple(row) for row in rows], first_row)
            first_row += len(rows)


class SqliteWriter:
    """A file with one table. Times are text as in JSON, prices and sizes are REAL."""

    def __init__(self, path: Path, fields: Sequence[Field], table: str) -> None:
        self._fields = fields
        self._connection = sqlite3.connect(path)
        columns = ", ".join(f"{_quoted(field.name)} {_KINDS[field.kind]}" for field in fields)
        self._connection.execute(f"CREATE TABLE {_quoted(table)} ({columns})")
        self._insert = f"INSERT INTO {_quoted(table)} VALUES ({', '.join('?' for _ in fields)})"

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows."""
        self._connection.executemany(self._insert, [[_typed(row, field) for field in self._fields] for row in rows])

    def close(self) -> None:
        """Complete the file."""
        self._connection.commit()
        self._connection.close()


async def _prepare(connection: "asyncpg.Connection[asyncpg.Record]", sql: str) -> Any:
    return await connection.prepare(sql)


async def _open(statement: Any) -> Any:
    return await statement.cursor()


def _chunk(names: list[str], rows: Sequence[Sequence[Any]], first_row: int) -> Chunk:
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    return Chunk(columns, first_row, len(rows))


def _table(path: Path, name: str) -> str:
    try:
        with closing(_read_only(path)) as connection:
            found = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    except sqlite3.Error as error:
        raise Invalid(f"{name} is not a SQLite file that can be read: {error}") from error
    tables = [table for table in found if not table.startswith("sqlite_")]
    known = [table for table in tables if table in ("price", "prices", "bar", "bars", "candle", "candles")]
    for candidates in (known, tables):
        if len(candidates) == 1:
            return str(candidates[0])
    listed = ", ".join(tables) or "none"
    raise Invalid(f"{name} has no one table to read (it has {listed}): add --dsn sqlite:///{path} --sql 'SELECT …'")


def _read_only(path: Path) -> sqlite3.Connection:
    # Chunks may be asked for in one thread after the other, never in two at a time.
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, check_same_thread=False)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _typed(row: Mapping[str, Any], field: Field) -> Any:
    value = row[field.name]
    return float(value) if field.kind == "number" and value is not None else value
