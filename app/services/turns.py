"""Long loops that let others run meanwhile."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

_TURN_S = 0.005
Result = TypeVar("Result")


async def off_the_loop(work: Callable[[], Result], *, is_much: bool) -> Result:
    """Do work in a thread if it is much: a hop costs as much as what a few things take."""
    return await asyncio.to_thread(work) if is_much else work()


class Turn:
    """Gives other tasks their turn every few milliseconds; call `pass_on` once per round of a loop."""

    def __init__(self) -> None:
        self._until = time.perf_counter() + _TURN_S

    async def pass_on(self) -> None:
        """Let others run if this turn has lasted long enough."""
        if time.perf_counter() > self._until:
            await asyncio.sleep(0)
            self._until = time.perf_counter() + _TURN_S
