"""What every format reads into and writes from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

CHUNK_ROWS = 10_000
"""Rows a source hands over at a time: as many as the service takes at once."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows, column by column; `broken` says of rows that could not be read, by their place here, why.

    `done` is how much of the source is read, 0 to 1, where that is known.
    """

    columns: Mapping[str, Sequence[Any]]
    first_row: int
    count: int
    broken: Mapping[int, str] = field(default_factory=dict)
    done: float | None = None


class Source(Protocol):
    """Rows to import. Readers that others add are callables that make one of a path."""

    def chunks(self) -> Iterator[Chunk]:
        """Read the rows, at most `CHUNK_ROWS` at a time; data rows count from 1. Raises Invalid."""


class Writer(Protocol):
    """A file being written."""

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows that have every one of the fields."""

    def close(self) -> None:
        """Complete the file."""


@dataclass(frozen=True, slots=True)
class Field:
    """One column of an export. `kind` says how formats with types store it."""

    name: str
    kind: str


PRICE_FIELDS = (
    Field("instrument", "text"),
    Field("source", "text"),
    Field("at", "time"),
    Field("price", "number"),
    Field("size", "number"),
    Field("id", "text"),
)
BAR_FIELDS = (
    Field("instrument", "text"),
    Field("interval_s", "count"),
    Field("start", "time"),
    Field("open", "number"),
    Field("high", "number"),
    Field("low", "number"),
    Field("close", "number"),
    Field("volume", "number"),
    Field("notional", "number"),
    Field("vwap", "number"),
    Field("count", "count"),
    Field("first_at", "time"),
    Field("last_at", "time"),
)
CANDLE_FIELDS = (
    Field("instrument", "text"),
    Field("interval_s", "count"),
    Field("source", "text"),
    Field("start", "time"),
    Field("open", "number"),
    Field("high", "number"),
    Field("low", "number"),
    Field("close", "number"),
    Field("volume", "number"),
)


def columns_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Turn rows into columns; a row that lacks a column has None there."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}
