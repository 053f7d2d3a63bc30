"""Rows of one shape as Postgres takes them fastest: COPY in its binary form, laid out by numpy."""

import io
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from app.domain.bars import FloatArray
from app.infra.db import Connection

Micros = npt.NDArray[np.int64]
"""Microseconds since 1970."""

Field = str | int | datetime | Micros | FloatArray
"""What one column holds: the same in every row, or a time or an array of numbers for each."""

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_POSTGRES_EPOCH_MICROS = 946_684_800_000_000
_FLOAT8 = 701
_ARRAY_HEADER = 5


def micros_of(seconds: FloatArray) -> Micros:
    """Turn seconds since 1970 into microseconds."""
    return np.rint(seconds * 1e6).astype(np.int64)


def binary_rows(count: int, fields: Sequence[Field]) -> bytes:
    """Lay out rows; matrices and times have one entry for each of them."""
    columns = [_column(field) for field in fields]
    layout: list[tuple[Any, ...]] = [("fields", ">i2")]
    for number, (length, parts) in enumerate(columns):
        del length
        layout.append((f"{number}:length", ">i4"))
        layout += [(f"{number}:{part}", *shape) for part, (shape, _) in enumerate(parts)]
    rows = np.zeros(count, dtype=layout)
    rows["fields"] = len(columns)
    for number, (length, parts) in enumerate(columns):
        rows[f"{number}:length"] = length
        for part, (_, content) in enumerate(parts):
            rows[f"{number}:{part}"] = content
    return rows.tobytes()


async def copy_rows(
    connection: Connection, schema: str, table: str, columns: Sequence[str], parts: Sequence[bytes]
) -> None:
    """Append rows that `binary_rows` laid out."""
    source = io.BytesIO(b"".join((_HEADER, *parts, _TRAILER)))
    await connection.copy_to_table(table, schema_name=schema, columns=columns, source=source, format="binary")


def _column(field: Field) -> tuple[int, list[tuple[tuple[Any, ...], Any]]]:
    if isinstance(field, str):
        text = field.encode()
        return len(text), [((f"S{len(text)}",), text)]
    if isinstance(field, datetime):
        field = np.array((field - _EPOCH) // timedelta(microseconds=1), dtype=np.int64)
    if isinstance(field, int):
        return 4, [((">i4",), field)]
    if field.dtype == np.int64:
        return 8, [((">i8",), field - _POSTGRES_EPOCH_MICROS)]
    width = field.shape[1]
    item = np.zeros(field.shape, dtype=[("length", ">i4"), ("value", ">f8")])
    item["length"], item["value"] = 8, field
    header = ((">i4", (_ARRAY_HEADER,)), np.array([1, 0, _FLOAT8, width, 1]))
    return 4 * _ARRAY_HEADER + 12 * width, [header, ((item.dtype, (width,)), item)]
