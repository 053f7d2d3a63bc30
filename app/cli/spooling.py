"""Batches that wait on disk until it is known whether any is to be sent."""

import json
import tempfile
from collections.abc import Iterator
from typing import Self

from app.services.files.rows import Batch

_IN_MEMORY_BYTES = 16 * 1024 * 1024


class Spool:
    """Keeps batches in the order they came in."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115
        self.count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    async def send(self, batch: Batch) -> None:
        """Keep a batch."""
        self._file.write(json.dumps([batch.is_candles, batch.body, batch.rows]).encode() + b"\n")
        self.count += 1

    def batches(self) -> Iterator[Batch]:
        """Give all of them back."""
        self._file.seek(0)
        for line in self._file:
            is_candles, body, rows = json.loads(line)
            yield Batch(is_candles, body, rows)
