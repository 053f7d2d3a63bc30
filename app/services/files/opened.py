"""A file or standard input, opened: what is in it, unpacked, and how far it is read."""

import gzip
import io
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Self, cast

from app.domain.errors import Invalid

STANDARD_INPUT = "-"
_GZIP = b"\x1f\x8b"
_PARQUET = b"PAR1"
_SQLITE = b"SQLite format 3\x00"
_HEAD_BYTES = 4096


class OpenedFile:
    """Bytes to read once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._stack = ExitStack()
        try:
            is_input = name == STANDARD_INPUT
            self._raw = _peekable(sys.stdin.buffer) if is_input else self._stack.enter_context(open(name, "rb"))  # noqa: SIM115
            self._size = 0 if is_input else Path(name).stat().st_size
        except OSError as error:
            raise Invalid(f"{name} cannot be read: {error.strerror or error}") from error
        self.is_packed = self._raw.peek(2)[:2] == _GZIP
        self.stream = cast(BinaryIO, gzip.GzipFile(fileobj=self._raw) if self.is_packed else self._raw)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._stack.close()

    @property
    def done(self) -> float | None:
        """How much of it is read, 0 to 1; unknown of standard input."""
        return min(1.0, self._raw.tell() / self._size) if self._size else None

    def head(self) -> bytes:
        """Look at the first bytes without reading them. Raises Invalid."""
        try:
            return cast(io.BufferedReader, self.stream).peek(_HEAD_BYTES)[:_HEAD_BYTES]
        except (OSError, EOFError) as error:
            raise self.unreadable(error) from error

    def guess_format(self) -> str:
        """Name the format of what is in it."""
        head = self.head()
        if head.startswith(_PARQUET):
            return "parquet"
        if head.startswith(_SQLITE):
            return "sqlite"
        return "json" if head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[") else "csv"

    def path(self) -> Path:
        """Name a plain file with the same content, which lasts until this one is closed. Raises Invalid."""
        if self.name != STANDARD_INPUT and not self.is_packed:
            return Path(self.name)
        copy = self._stack.enter_context(tempfile.NamedTemporaryFile(prefix="solver-import-"))  # noqa: SIM115
        try:
            shutil.copyfileobj(self.stream, copy)
        except (OSError, EOFError) as error:
            raise self.unreadable(error) from error
        copy.flush()
        return Path(copy.name)

    def unreadable(self, error: Exception) -> Invalid:
        """Say that it breaks off or is damaged."""
        return Invalid(f"{self.name} cannot be read to its end: {error}")


def _peekable(stream: BinaryIO) -> io.BufferedReader:
    return stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, stream))
