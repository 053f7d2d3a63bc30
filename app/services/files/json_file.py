"""JSON: one document a line, a list of documents or of rows without names, or such a list in an envelope."""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, BinaryIO, TextIO

import orjson

from app.domain.errors import Invalid
from app.services.files.opened import OpenedFile
from app.services.files.table import CHUNK_ROWS, Chunk, Field, columns_of

_ENVELOPES = ("prices", "candles", "bars", "items", "data", "rows")
_SHARED = ("instrument", "interval_s", "source")
_CANDLE_NAMES = ("start", "open", "high", "low", "close", "volume")
_BOM = b"\xef\xbb\xbf"


class JsonSource:
    """Documents in any of those forms. A line that is no document is a broken row."""

    def __init__(self, file: OpenedFile) -> None:
        self._file = file

    def chunks(self) -> Iterator[Chunk]:
        """Read the documents. Raises Invalid."""
        with self._file as file:
            try:
                yield from self._chunks(file.stream)
            except (OSError, EOFError, zlib.error) as error:
                raise file.unreadable(error) from error

    def _chunks(self, stream: BinaryIO) -> Iterator[Chunk]:
        filled = (line for line in map(bytes.strip, stream) if line)
        first = next(filled, None)
        if first is None:
            raise Invalid(f"{self._file.name} is empty")
        first = first.removeprefix(_BOM)
        document, second = _parsed(first), next(filled, None)
        lines = chain([first], [] if second is None else [second], filled)
        # A line that ends a value is one of many, unless nothing follows it.
        if second is None:
            is_lines = isinstance(document, dict) and not any(name in document for name in _ENVELOPES)
        else:
            is_lines = document is not None or (first[-1:] in (b"}", b"]") and _parsed(second) is not None)
        if is_lines:
            yield from self._line_by_line(lines)
            return
        try:
            document = orjson.loads(b"\n".join(lines))
        except ValueError as error:
            raise Invalid(f"{self._file.name} is not JSON: {error}") from error
        yield from self._listed(document)

    def _line_by_line(self, lines: Iterator[bytes]) -> Iterator[Chunk]:
        first_row = 1
        while batch := list(islice(lines, CHUNK_ROWS)):
            yield _chunk([_parsed(line) for line in batch], first_row, self._file.done)
            first_row += len(batch)

    def _listed(self, document: Any) -> Iterator[Chunk]:
        shared: dict[str, Any] = {}
        rows = document
        if isinstance(document, dict):
            name = next((name for name in _ENVELOPES if isinstance(document.get(name), list)), None)
            rows = [document] if name is None else document[name]
            if name is not None:
                shared = {each: document[each] for each in _SHARED if each in document}
        if not isinstance(rows, list):
            raise Invalid(f"{self._file.name} holds no rows; write a list of objects, or one object a line")
        for begin in range(0, len(rows), CHUNK_ROWS):
            part = rows[begin : begin + CHUNK_ROWS]
            chunk = _chunk(part, begin + 1, min(1.0, (begin + len(part)) / len(rows)))
            for name, value in shared.items():
                chunk = Chunk(
                    {name: [value] * chunk.count, **chunk.columns}, begin + 1, chunk.count, chunk.broken, chunk.done
                )
            yield chunk


class JsonWriter:
    """A list, one document a line; `is_lines` leaves the brackets and commas out."""

    def __init__(self, file: TextIO, fields: Sequence[Field], *, is_lines: bool) -> None:
        self._names = [field.name for field in fields]
        self._is_lines = is_lines
        self._file = file
        self._is_first = True

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows."""
        for row in rows:
            text = orjson.dumps({name: row[name] for name in self._names}).decode()
            if self._is_lines:
                self._file.write(text + "\n")
            else:
                self._file.write(("[\n" if self._is_first else ",\n") + text)
            self._is_first = False

    def close(self) -> None:
        """Complete the file."""
        if not self._is_lines:
            self._file.write("[]\n" if self._is_first else "\n]\n")
        self._file.close()


def _parsed(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except ValueError:
        return None


def _chunk(documents: Sequence[Any], first_row: int, done: float | None) -> Chunk:
    rows: list[Mapping[str, Any]] = []
    broken: dict[int, str] = {}
    for place, document in enumerate(documents):
        if isinstance(document, dict):
            rows.append(document)
        elif isinstance(document, list) and len(document) == len(_CANDLE_NAMES):
            rows.append(dict(zip(_CANDLE_NAMES, document, strict=True)))
        else:
            broken[place] = "is not a JSON object"
            rows.append({})
    return Chunk(columns_of(rows), first_row, len(rows), broken, done)
