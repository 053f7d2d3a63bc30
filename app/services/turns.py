"""Long loops that let others run meanwhile."""

import asyncio
import time

_TURN_S = 0.005


class Turn:
    """Gives other tasks their turn every few milliseconds; call `pass_on` once per round of a loop."""

    def __init__(self) -> None:
        self._until = time.perf_counter() + _TURN_S

    async def pass_on(self) -> None:
        """Let others run if this turn has lasted long enough."""
        if time.perf_counter() > self._until:
            await asyncio.sleep(0)
            self._until = time.perf_counter() + _TURN_S
