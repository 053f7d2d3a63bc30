"""Comma-separated values, and their relatives."""

import codecs
import csv
import io
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, TextIO

from app.domain.errors import Invalid
from app.services.files.opened import OpenedFile
from app.services.files.table import CHUNK_ROWS, Chunk, Field

_DELIMITERS = ",;\t|"
_VALUE = re.compile(r"[+-]?\.?\d")
_TIME_OF_DAY = re.compile(r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?")
_CANDLE = ("at", "open", "high", "low", "close", "volume")
_DATED_CANDLE = ("date", "time", "open", "high", "low", "close", "volume")
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class CsvSource:
    """Rows under a header; the delimiter is the one the header has most of.

    A first row of nothing but numbers and times is no header: six columns, or seven with a time of day of its own, are
    then taken for candles, and others are called 1, 2, 3…
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
        if all(_VALUE.match(cell) for cell in header if cell):
            rows = chain([header], rows)
            header = _usual_names(header)
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


def _usual_names(first: Sequence[str]) -> list[str]:
    for names in (_CANDLE, _DATED_CANDLE):
        if len(first) == len(names) and ("time" in names) == (_TIME_OF_DAY.fullmatch(first[1]) is not None):
            return list(names)
    return [str(number) for number in range(1, len(first) + 1)]


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
