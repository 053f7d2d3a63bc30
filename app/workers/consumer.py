"""Pull what is due for one stage and hand it over; one batch at a time, so a full stage stops pulling."""

import asyncio
import time

from app import telemetry
from app.domain.claim import Claim
from app.domain.errors import Unavailable
from app.services.ports import Runner
from app.services.work_queue import WorkQueue
from app.workers.waiting import wait_for_any

_OUTAGE_PAUSE_S = 0.25
_BREATH = 0.5
"""Share of the time of a full batch that the next one waits."""


class Consumer:
    """Feeds one runner until it is stopped; what it holds then is finished first."""

    def __init__(self, runner: Runner, queue: WorkQueue, *, poll_s: float) -> None:
        self._runner = runner
        self._queue = queue
        self._poll_s = poll_s
        self._retried_looked_at = 0.0
        self._held: list[Claim] = []

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
                    is_more = await self._work()
                except Unavailable as error:
                    telemetry.part_away("postgres", error.detail)
                    await wait_for_any(stop, timeout_s=_OUTAGE_PAUSE_S)
                    continue
                except Exception as error:
                    # The leases run out, which counts: what does this each time ends as a dead letter.
                    telemetry.unexpected_error(self._runner.stage, error)
                    self._held = []
                    await wait_for_any(stop, timeout_s=_OUTAGE_PAUSE_S)
                    continue
                if not is_more:
                    await wait_for_any(stop, waker, timeout_s=self._poll_s)
        finally:
            self._queue.forget(self._runner.stage, waker)

    async def _work(self) -> bool:
        if self._held:
            # What an outage interrupted is given back once it is over, and so was not an attempt.
            await self._queue.give_back(self._held)
            self._held = []
        began = time.monotonic()
        is_more = await self._once(retried=False) >= self._queue.batch
        if is_more:
            # Behind a queue that does not end, taking requests goes before working them off.
            await asyncio.sleep((time.monotonic() - began) * _BREATH)
        # Retries are looked for at the pace of the poll, and one after the other while there are any.
        if time.monotonic() - self._retried_looked_at >= self._poll_s:
            if await self._once(retried=True):
                return True
            self._retried_looked_at = time.monotonic()
        return is_more

    async def _once(self, *, retried: bool) -> int:
        claims = self._held = await self._queue.take(self._runner.stage, retried=retried)
        if claims:
            await self._runner.run(claims)
            self._held = []
        return len(claims)
