"""How imports reach the service: several requests at a time, and refusals traced back to rows."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from app.cli.printing import CommandFailed

if TYPE_CHECKING:
    from app.client import SolverApiError, SolverClient
    from app.services.files.rows import Batch, RowError

T = TypeVar("T")

MAX_ERRORS = 100
_AT_A_TIME = 3
_UNPROCESSABLE = 422
_POINTER = re.compile(r"^/(?:prices|candles)/(\d+)(?:/(.*))?$")
_CANDLE_FIELDS = ("start", "open", "high", "low", "close", "volume")


@dataclass(slots=True)
class Totals:
    """What became of the rows so far; of the errors the first ones are kept."""

    rows: int = 0
    inserted: int = 0
    duplicates: int = 0
    rejected: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)

    def reject(self, errors: "list[RowError]") -> None:
        """Count rows that can't be taken."""
        self.rejected += len(errors)
        room = MAX_ERRORS - len(self.errors)
        self.errors += [{"row": e.row, "column": e.column, "message": e.reason} for e in errors[:room]]


class Sender:
    """Sends batches, a few at a time."""

    def __init__(self, client: "SolverClient", totals: Totals, *, skips: bool) -> None:
        self._client = client
        self._totals = totals
        self._skips = skips
        self._pending: set[asyncio.Task[None]] = set()

    async def send(self, batch: "Batch") -> None:
        """Send a batch as soon as there is room. Raises what an earlier one failed with."""
        while len(self._pending) >= _AT_A_TIME:
            await self._settle()
        self._pending.add(asyncio.create_task(self._send(batch)))

    async def finish(self) -> None:
        """Wait until all are answered. Raises what one of them failed with."""
        while self._pending:
            await self._settle()

    async def abandon(self) -> None:
        """Let go of what is not answered yet."""
        for task in self._pending:
            task.cancel()
        await asyncio.gather(*self._pending, return_exceptions=True)

    async def _settle(self) -> None:
        done, self._pending = await asyncio.wait(self._pending, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def _send(self, batch: "Batch") -> None:
        from app.client import SolverApiError
        from app.services.files.rows import Batch

        while batch.rows:
            try:
                answer = await self._post(batch)
            except SolverApiError as error:
                refused = _refused_rows(error, batch)
                if not refused:
                    raise
                if not self._skips:
                    raise _refusal(refused) from error
                self._totals.reject(list(refused.values()))
                kept = [place for place in range(len(batch.rows)) if place not in refused]
                entries = {"candles" if batch.is_candles else "prices": [batch.entries[place] for place in kept]}
                batch = Batch(batch.is_candles, batch.body | entries, [batch.rows[place] for place in kept])
                continue
            self._totals.inserted += answer["inserted"]
            self._totals.duplicates += answer["duplicates"]
            return

    async def _post(self, batch: "Batch") -> dict[str, Any]:
        if batch.is_candles:
            return await self._client.put_candles(**batch.body)
        return await self._client.put_prices(batch.body["prices"])


@asynccontextmanager
async def in_thread(items: Iterator[T]) -> AsyncIterator[Callable[[], "asyncio.Future[T | None]"]]:
    """Take items of a slow iterator one after the other, each in the same thread; None is the end."""
    with ThreadPoolExecutor(1) as thread:
        loop = asyncio.get_running_loop()
        try:
            yield lambda: loop.run_in_executor(thread, next, items, None)
        finally:
            # A generator lets go of its file where it was running.
            await loop.run_in_executor(thread, getattr(items, "close", int))


def _refused_rows(error: "SolverApiError", batch: "Batch") -> "dict[int, RowError]":
    from app.services.files.rows import RowError

    refused: dict[int, RowError] = {}
    if error.status != _UNPROCESSABLE:
        return refused
    for pointer, message in error.fields:
        match = _POINTER.match(pointer)
        if match is None or int(match[1]) >= len(batch.rows):
            continue
        name = match[2] or ""
        if batch.is_candles and name.isdecimal() and int(name) < len(_CANDLE_FIELDS):
            name = _CANDLE_FIELDS[int(name)]
        refused.setdefault(int(match[1]), RowError(batch.rows[int(match[1])], name, message))
    return refused


def _refusal(refused: "dict[int, RowError]") -> CommandFailed:
    totals = Totals()
    totals.reject(list(refused.values()))
    return CommandFailed(
        "The service refuses rows",
        f"{totals.rejected} rows are not valid; others may have been stored before",
        "correct them, or add --on-error skip, and import again: nothing is stored twice",
        errors=totals.errors,
    )
