"""Micro-batching: what arrives while a batch is on its way leaves together in the next one."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Lane = TypeVar("Lane", bound=Hashable)
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class _Parcel(Generic[Item]):
    items: Sequence[Item]
    weight: int
    sent: asyncio.Future[None]


class Lanes(Generic[Lane, Item]):
    """Sends items lane by lane: one batch at a time on each, in order; several lanes at once.

    An item waits for nothing but the batch before it. When a batch fails, whatever stands behind it on its lane
    fails with it, so that nothing overtakes.
    """

    def __init__(
        self,
        send: Callable[[Lane, list[Item]], Awaitable[None]],
        *,
        max_items: int,
        max_weight: int,
        weigh: Callable[[Item], int],
        max_in_flight: int,
    ) -> None:
        self._send = send
        self._max_items = max_items
        self._max_weight = max_weight
        self._weigh = weigh
        self._slots = asyncio.Semaphore(max_in_flight)
        self._waiting: dict[Lane, deque[_Parcel[Item]]] = {}
        self._drains: set[asyncio.Task[None]] = set()

    def add(self, lane: Lane, items: Sequence[Item]) -> list[asyncio.Future[None]]:
        """Queue items; the futures are done when all are sent, or carry the error of `send`."""
        new_future = asyncio.get_running_loop().create_future
        parcels = [_Parcel(chunk, weight, new_future()) for chunk, weight in self._chunks(items)]
        if parcels and lane not in self._waiting:
            self._waiting[lane] = deque()
            drain = asyncio.create_task(self._drain(lane))
            self._drains.add(drain)
            drain.add_done_callback(self._drains.discard)
        for parcel in parcels:
            self._waiting[lane].append(parcel)
        return [parcel.sent for parcel in parcels]

    async def drained(self) -> None:
        """Wait until nothing waits and nothing is on its way."""
        while self._drains:
            await asyncio.wait(self._drains)

    def _chunks(self, items: Sequence[Item]) -> list[tuple[list[Item], int]]:
        chunks: list[tuple[list[Item], int]] = []
        chunk: list[Item] = []
        weight = 0
        for item in items:
            added = self._weigh(item)
            if chunk and (len(chunk) == self._max_items or weight + added > self._max_weight):
                chunks.append((chunk, weight))
                chunk, weight = [], 0
            chunk.append(item)
            weight += added
        if chunk:
            chunks.append((chunk, weight))
        return chunks

    async def _drain(self, lane: Lane) -> None:
        waiting = self._waiting[lane]
        try:
            while waiting:
                # Every caller that is ready at this moment joins the batch.
                await asyncio.sleep(0)
                async with self._slots:
                    await self._send_next(lane, waiting)
        finally:
            del self._waiting[lane]

    async def _send_next(self, lane: Lane, waiting: deque[_Parcel[Item]]) -> None:
        batch = self._cut(waiting)
        try:
            await self._send(lane, [item for parcel in batch for item in parcel.items])
        except Exception as error:
            failed = [*batch, *waiting]
            waiting.clear()
            for parcel in failed:
                if not parcel.sent.done():
                    parcel.sent.set_exception(error)
        else:
            for parcel in batch:
                if not parcel.sent.done():
                    parcel.sent.set_result(None)

    def _cut(self, waiting: deque[_Parcel[Item]]) -> list[_Parcel[Item]]:
        batch = [waiting.popleft()]
        count, weight = len(batch[0].items), batch[0].weight
        while waiting:
            parcel = waiting[0]
            count += len(parcel.items)
            weight += parcel.weight
            if count > self._max_items or weight > self._max_weight:
                break
            batch.append(waiting.popleft())
        return batch
