"""One LISTEN connection per process, turned into wake-ups. A missed notification costs a poll, never an event."""

import asyncio
import contextlib
from collections import defaultdict

import asyncpg

from app import telemetry
from app.domain.errors import Unavailable
from app.infra.db import Database
from app.infra.repositories.deliveries import WORK_CHANNEL
from app.infra.repositories.markets import MARKET_CHANNEL

_RETRY_S = 0.5
_PROBE_S = 5.0


class Listener:
    """Wakes whoever waits for a consumer's work, for events said, or for market changes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._wakers: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._task: asyncio.Task[None] | None = None

    def waker(self, name: str) -> asyncio.Event:
        """Make an event that is set whenever `name` is notified; consumers, `said` and `markets` are names."""
        event = asyncio.Event()
        self._wakers[name].add(event)
        return event

    def forget(self, name: str, event: asyncio.Event) -> None:
        """Stop waking an event."""
        self._wakers[name].discard(event)

    def wake(self, name: str) -> None:
        """Wake those in this process who wait for `name`."""
        for event in self._wakers[name]:
            event.set()

    async def open(self) -> None:
        """Start listening, now or as soon as Postgres is there."""
        self._task = asyncio.create_task(self._listen())

    async def close(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _listen(self) -> None:
        while True:
            # Whatever ends one connection, only another one brings the wake-ups back.
            try:
                await self._follow()
            except (Unavailable, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
                telemetry.part_away("notifications", str(error))
            except Exception as error:
                telemetry.unexpected_error("listener", error)
            await asyncio.sleep(_RETRY_S)

    async def _follow(self) -> None:
        connection = await self._database.listen_connection()
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        try:
            await connection.add_listener(WORK_CHANNEL, lambda *args: self.wake(str(args[3])))
            await connection.add_listener(MARKET_CHANNEL, lambda *_: self.wake("markets"))
            for name in list(self._wakers):
                self.wake(name)
            while not lost.is_set():
                try:
                    await asyncio.wait_for(lost.wait(), timeout=_PROBE_S)
                except TimeoutError:
                    # A half-open socket says nothing: ask, with the command timeout as the limit.
                    await connection.execute("SELECT 1")
        finally:
            connection.terminate()
