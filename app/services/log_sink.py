"""Carry what was said at level WARNING and above to the lake."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import orjson

from app import telemetry
from app.domain.errors import Unavailable
from app.infra.db import Database
from app.infra.repositories import logs
from app.telemetry import LogRecord

Publish = Callable[[Sequence[LogRecord]], Awaitable[None]]
"""Hands records to a bus as well. May raise Unavailable."""


class LogSink:
    """Keeps records until they are stored. Never makes a caller wait: what finds no room is dropped and counted."""

    def __init__(
        self,
        database: Database,
        *,
        publish: Publish | None = None,
        capacity: int = 10_000,
        batch: int = 500,
        flush_s: float = 0.5,
    ) -> None:
        self._database = database
        self._publish = publish
        self._capacity = capacity
        self._batch = batch
        self._flush_s = flush_s
        self._waiting: deque[LogRecord] = deque()
        self._loop: asyncio.Task[None] | None = None

    def take(self, record: LogRecord) -> None:
        """Queue a record, from any thread."""
        if len(self._waiting) >= self._capacity:
            telemetry.log_records_dropped(1)
        else:
            self._waiting.append(record)

    def open(self) -> None:
        """Start taking what telemetry says."""
        telemetry.add_sink(self.take)
        self._loop = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop taking, and store what is queued as far as Postgres answers."""
        if self._loop is None:
            return
        telemetry.remove_sink(self.take)
        self._loop.cancel()
        await asyncio.wait([self._loop])
        self._loop = None
        await self.flush()
        telemetry.log_records_dropped(len(self._waiting))
        self._waiting.clear()

    async def flush(self) -> bool:
        """Store what is queued now; false when Postgres is away, and then nothing is lost yet."""
        while self._waiting:
            records = [self._waiting.popleft() for _ in range(min(self._batch, len(self._waiting)))]
            try:
                async with self._database.transaction() as connection:
                    await logs.add(connection, [_row(record) for record in records])
            except BaseException as error:
                self._waiting.extendleft(reversed(records))
                if isinstance(error, Unavailable):
                    return False
                raise
            await self._hand_on(records)
        return True

    async def _hand_on(self, records: Sequence[LogRecord]) -> None:
        if self._publish is None:
            return
        try:
            await self._publish(records)
        except Unavailable:
            # They are in the lake; the topic is a copy for whoever listens now.
            telemetry.log_records_dropped(len(records))

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._flush_s)
            telemetry.flush()
            try:
                await self.flush()
            except Exception as error:
                # One record that Postgres refuses must not hold up the others for ever.
                telemetry.log_records_dropped(min(self._batch, len(self._waiting)))
                for _ in range(min(self._batch, len(self._waiting))):
                    self._waiting.popleft()
                telemetry.unexpected_error("log_sink", error)


def log_document(record: LogRecord) -> bytes:
    """Write a record as JSON, for a topic."""
    return orjson.dumps(
        {
            "at": record.at,
            "level": record.level.name,
            "event": record.event,
            "fields": orjson.Fragment(_fields(record)),
        }
    )


def _fields(record: LogRecord) -> bytes:
    try:
        return orjson.dumps(record.fields, default=str, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        return orjson.dumps({"unwritable": repr(record.fields)})


def _row(record: LogRecord) -> logs.LogRow:
    return record.at, record.level.name, record.event.replace("\0", ""), _fields(record).decode()
