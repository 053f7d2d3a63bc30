"""Rows of one shape as Postgres takes them fastest: COPY in its binary form, laid out by numpy."""

import io
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from app.domain.bars import FloatArray
from app.domain.times import micros_since_epoch
from app.infra.db import Connection

Micros = npt.NDArray[np.int64]
"""Microseconds since 1970."""

Texts = npt.NDArray[np.bytes_]
"""Texts of one length in bytes."""

Field = str | int | datetime | Texts | Micros | FloatArray
"""What one column holds: the same in every row, or a text, a time or an array of numbers for each."""

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_POSTGRES_EPOCH_MICROS = 946_684_800_000_000
_FLOAT8 = 701
_ARRAY_HEADER = 5


def micros_of(seconds: FloatArray) -> Micros:
    """Turn seconds since 1970 into microseconds."""
    return np.rint(seconds * 1e6).astype(np.int64)


def binary_rows(count: int, fields: Sequence[Field]) -> bytes:
    """Lay out rows; matrices and times have one entry for each of them."""
    columns = [_column(field) for field in fields]
    rows = np.zeros(count, dtype=_layout(tuple((length, *types) for length, types, _ in columns)))
    rows["fields"] = len(columns)
    for number, (length, _, contents) in enumerate(columns):
        rows[f"{number}:length"] = length
        for part, content in enumerate(contents):
            rows[f"{number}:{part}"] = content
    return rows.tobytes()


async def copy_rows(
    connection: Connection, schema: str, table: str, columns: Sequence[str], parts: Sequence[bytes]
) -> None:
    """Append rows that `binary_rows` laid out."""
    source = io.BytesIO(b"".join((_HEADER, *parts, _TRAILER)))
    await connection.copy_to_table(table, schema_name=schema, columns=columns, source=source, format="binary")


@lru_cache(maxsize=1_000)
def _layout(columns: tuple[tuple[int | str, ...], ...]) -> np.dtype[Any]:
    layout: list[tuple[str, Any]] = [("fields", ">i2")]
    for number, (_, *types) in enumerate(columns):
        layout.append((f"{number}:length", ">i4"))
        layout += [(f"{number}:{part}", _item(str(each))) for part, each in enumerate(types)]
    return np.dtype(layout)


def _item(text: str) -> Any:
    width = text.removeprefix("array ")
    return text if width == text else np.dtype(([("length", ">i4"), ("value", ">f8")], (int(width),)))


def _column(field: Field) -> tuple[int, tuple[str, ...], tuple[Any, ...]]:
    if isinstance(field, str):
        text = field.encode()
        return len(text), (f"S{len(text)}",), (text,)
    if isinstance(field, datetime):
        field = np.array(micros_since_epoch(field), dtype=np.int64)
    if isinstance(field, int):
        return 4, (">i4",), (field,)
    if field.dtype.kind == "S":
        return field.itemsize, (f"S{field.itemsize}",), (field,)
    if field.dtype == np.int64:
        return 8, (">i8",), (field.astype(np.int64) - _POSTGRES_EPOCH_MICROS,)
    count, width = field.shape
    items = np.empty((count, width), dtype=[("length", ">i4"), ("value", ">f8")])
    items["length"], items["value"] = 8, field
    header = np.array([1, 0, _FLOAT8, width, 1])
    return 4 * _ARRAY_HEADER + 12 * width, (f"({_ARRAY_HEADER},)>i4", f"array {width}"), (header, items)
