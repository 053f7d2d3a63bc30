"""Parquet, through pyarrow."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from app.domain.errors import Invalid
from app.infra.extras import load_extra
from app.services.files.opened import OpenedFile
from app.services.files.table import CHUNK_ROWS, Chunk, Field

_EXTRA = "files"
_PURPOSE = "Parquet"


class ParquetSource:
    """The columns of a file, whatever types they have."""

    def __init__(self, file: OpenedFile) -> None:
        self._file = file
        self._parquet = load_extra("pyarrow.parquet", _EXTRA, _PURPOSE)
        self._arrow = load_extra("pyarrow", _EXTRA, _PURPOSE)

    def chunks(self) -> Iterator[Chunk]:
        """Read the rows. Raises Invalid."""
        with self._file as file:
            try:
                table = self._parquet.ParquetFile(file.path())
                total = table.metadata.num_rows
                first_row = 1
                for batch in table.iter_batches(batch_size=CHUNK_ROWS):
                    names = batch.schema.names
                    columns = {name: self._cells(column) for name, column in zip(names, batch.columns, strict=True)}
                    done = (first_row - 1 + batch.num_rows) / total
                    yield Chunk(columns, first_row, batch.num_rows, {}, done)
                    first_row += batch.num_rows
            except (self._arrow.ArrowException, OSError) as error:
                raise Invalid(f"{file.name} is not Parquet that can be read: {error}") from error

    def _cells(self, column: Any) -> list[Any]:
        # Python's times have no nanoseconds.
        if self._arrow.types.is_timestamp(column.type) and column.type.unit == "ns":
            column = column.cast(self._arrow.timestamp("us", tz=column.type.tz), safe=False)
        cells: list[Any] = column.to_pylist()
        return cells


class ParquetWriter:
    """Times in microseconds of UTC, prices and sizes as doubles."""

    def __init__(self, path: Path, fields: Sequence[Field]) -> None:
        parquet = load_extra("pyarrow.parquet", _EXTRA, _PURPOSE)
        self._arrow = load_extra("pyarrow", _EXTRA, _PURPOSE)
        types = {
            "text": self._arrow.string(),
            "time": self._arrow.timestamp("us", tz="UTC"),
            "number": self._arrow.float64(),
            "count": self._arrow.int64(),
        }
        self._fields = fields
        self._schema = self._arrow.schema([(field.name, types[field.kind]) for field in fields])
        self._file = parquet.ParquetWriter(path, self._schema, compression="zstd")

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows, as a row group."""
        columns = [[_typed(row[field.name], field.kind) for row in rows] for field in self._fields]
        self._file.write_table(self._arrow.table(columns, schema=self._schema))

    def close(self) -> None:
        """Complete the file."""
        self._file.close()


def _typed(value: Any, kind: str) -> Any:
    if value is None:
        return None
    if kind == "time":
        return datetime.fromisoformat(value)
    return float(Decimal(value)) if kind == "number" else value
