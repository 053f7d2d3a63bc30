"""Wait without losing a wake-up."""

import asyncio


async def wait_for_any(*events: asyncio.Event, timeout_s: float) -> None:
    """Return once any event is set, or after a while."""
    if any(event.is_set() for event in events):
        return
    tasks = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
