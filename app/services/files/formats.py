"""The formats there are: what reads a file, and what writes one."""

import gzip
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import TextIO, cast

from app.domain.errors import Invalid
from app.services.files.csv_file import CsvSource, CsvWriter
from app.services.files.json_file import JsonSource, JsonWriter
from app.services.files.opened import OpenedFile
from app.services.files.parquet_file import ParquetSource, ParquetWriter
from app.services.files.sql_source import SqliteSource, SqliteWriter
from app.services.files.table import Field, Source, Writer

SOURCES_GROUP = "solver.sources"
"""Entry points of this group add readers: callables that make a `Source` of the name given on the command line."""

_READERS: Mapping[str, Callable[[OpenedFile], Source]] = {
    "csv": CsvSource,
    "json": JsonSource,
    "ndjson": JsonSource,
    "parquet": ParquetSource,
    "sqlite": SqliteSource,
}
_SUFFIXES = {
    ".csv": "csv",
    ".json": "json",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".parquet": "parquet",
    ".db": "sqlite",
    ".sqlite": "sqlite",
    ".sqlite3": "sqlite",
}
_PACKABLE = ("csv", "json", "ndjson")


def format_names() -> list[str]:
    """List what `open_source` reads, with what others added."""
    return [*_READERS, *sorted({entry.name for entry in entry_points(group=SOURCES_GROUP)} - _READERS.keys())]


def open_source(name: str, format_name: str | None = None) -> Source:
    """Open a file, or `-` for standard input; without a format it is recognised by its content. Raises Invalid."""
    if format_name is not None and format_name not in _READERS:
        for entry in entry_points(group=SOURCES_GROUP, name=format_name):
            return cast(Source, entry.load()(name))
        raise Invalid(f"no reader is called {format_name}; there are {', '.join(format_names())}")
    file = OpenedFile(name)
    try:
        return _READERS[format_name or file.guess_format()](file)
    except BaseException:
        file.close()
        raise


@contextmanager
def open_writer(path: Path | None, fields: Sequence[Field], *, table: str, output: TextIO) -> Iterator[Writer]:
    """Write a file in the format that its name ends in, or CSV to `output` without one. Raises Invalid, MissingExtra.

    The file appears when it is complete: no half of one is ever taken for it.
    """
    if path is None:
        yield CsvWriter(output, fields)
        return
    is_packed = path.suffix.lower() == ".gz"
    suffix = path.with_suffix("").suffix.lower() if is_packed else path.suffix.lower()
    partial = path.with_name(f".{path.name}.part")
    try:
        partial.unlink(missing_ok=True)
        writer = _writer(_SUFFIXES.get(suffix), partial, fields, table, is_packed=is_packed, name=path.name)
        try:
            yield writer
        finally:
            writer.close()
        partial.replace(path)
    except OSError as error:
        raise Invalid(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


def _writer(
    chosen: str | None, path: Path, fields: Sequence[Field], table: str, *, is_packed: bool, name: str
) -> Writer:
    if is_packed and chosen is not None and chosen not in _PACKABLE:
        raise Invalid(f"only {', '.join(_PACKABLE)} can be packed with .gz")
    match chosen:
        case "csv":
            return CsvWriter(_text(path, is_packed=is_packed), fields)
        case "json" | "ndjson":
            return JsonWriter(_text(path, is_packed=is_packed), fields, is_lines=chosen == "ndjson")
        case "parquet":
            return ParquetWriter(path, fields)
        case "sqlite":
            return SqliteWriter(path, fields, table)
    known = ", ".join(_SUFFIXES)
    raise Invalid(f"the name {name} says no format that can be written; end it in one of {known}")


def _text(path: Path, *, is_packed: bool) -> TextIO:
    return gzip.open(path, "wt", newline="") if is_packed else path.open("w", newline="")
