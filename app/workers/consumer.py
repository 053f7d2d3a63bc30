"""Pull what is due for one stage and hand it over; one batch at a time, so a full stage stops pulling."""

import asyncio

from app import telemetry
from app.domain.errors import Unavailable
from app.services.ports import Runner
from app.services.work_queue import WorkQueue
from app.workers.waiting import wait_for_any

_OUTAGE_PAUSE_S = 0.25


class Consumer:
    """Feeds one runner until it is stopped; what it holds then is finished first."""

    def __init__(self, runner: Runner, queue: WorkQueue, *, poll_s: float) -> None:
        self._runner = runner
        self._queue = queue
        self._poll_s = poll_s

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until `stop` is set."""
        waker = self._queue.waker(self._runner.stage)
        is_first = True
        try:
            while not stop.is_set():
                waker.clear()
                try:
                    if is_first:
                        await self._queue.free_own(self._runner.stage)
                        is_first = False
                    worked = await self._once()
                except Unavailable as error:
                    telemetry.part_away("postgres", str(error))
                    await wait_for_any(stop, timeout_s=_OUTAGE_PAUSE_S)
                    continue
                if not worked:
                    await wait_for_any(stop, waker, timeout_s=self._poll_s)
        finally:
            self._queue.forget(self._runner.stage, waker)

    async def _once(self) -> bool:
        claims = await self._queue.take(self._runner.stage)
        if not claims:
            return False
        try:
            await self._runner.run(claims)
        except Unavailable:
            await self._queue.give_back(claims)
            raise
        return True
