"""Comma-separated values, and their relatives."""

import codecs
import csv
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, TextIO

from app.domain.errors import Invalid
from app.services.files.opened import OpenedFile
from app.services.files.table import CHUNK_ROWS, Chunk, Field

_DELIMITERS = ",;\t|"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class CsvSource:
    """Rows under a header; the delimiter is the one the header has most of.

    Without a header, when every cell of the first row is a number, columns are called 1, 2, 3…
    """

    def __init__(self, file: OpenedFile) -> None:
        self._file = file

    def chunks(self) -> Iterator[Chunk]:
        """Read the rows. Raises Invalid."""
        with self._file as file:
            encoding = "utf-16" if file.head().startswith(_UTF16) else "utf-8-sig"
            text = io.TextIOWrapper(file.stream, encoding=encoding, newline="")
            try:
                yield from self._rows(text)
            except (UnicodeDecodeError, csv.Error, OSError, EOFError, zlib.error) as error:
                raise file.unreadable(error) from error
            finally:
                # Standard input is not this object's to close.
                text.detach()

    def _rows(self, text: io.TextIOWrapper) -> Iterator[Chunk]:
        first = next((line for line in text if line.strip()), None)
        if first is None:
            raise Invalid(f"{self._file.name} is empty")
        delimiter = max(_DELIMITERS, key=first.count)
        reader = csv.reader(_resumed(first, text), delimiter=delimiter)
        rows: Iterator[list[str]] = (row for row in reader if row)
        header = [cell.strip() for cell in next(rows)]
        if all(_is_number(cell) for cell in header):
            rows = chain([header], rows)
            header = [str(number) for number in range(1, len(header) + 1)]
        repeated = {name for name in header if name and header.count(name) > 1}
        if repeated:
            raise Invalid(f"{self._file.name} has more than one column {', '.join(sorted(repeated))}")
        # Columns without rows, so that a header that says nothing useful is told of even then.
        yield Chunk({name: [] for name in header}, 1, 0)
        first_row = 1
        while batch := list(islice(rows, CHUNK_ROWS)):
            yield _chunk(header, batch, first_row, self._file.done)
            first_row += len(batch)


class CsvWriter:
    """A header, and rows as text."""

    def __init__(self, file: TextIO, fields: Sequence[Field]) -> None:
        self._names = [field.name for field in fields]
        self._file = file
        self._rows = csv.writer(file, lineterminator="\n")
        self._rows.writerow(self._names)

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows."""
        self._rows.writerows([row[name] for name in self._names] for row in rows)

    def close(self) -> None:
        """Complete the file."""
        self._file.close()


def _resumed(first: str, text: io.TextIOWrapper) -> Iterator[str]:
    yield first
    yield from text


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _chunk(header: list[str], rows: list[list[str]], first_row: int, done: float | None) -> Chunk:
    width = len(header)
    broken: dict[int, str] = {}
    if set(map(len, rows)) != {width}:
        for place, row in enumerate(rows):
            if len(row) != width:
                broken[place] = f"has {len(row)} cells where there are {width} columns"
                rows[place] = (row + [""] * width)[:width]
    columns = dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))
    return Chunk(columns, first_row, len(rows), broken, done)
