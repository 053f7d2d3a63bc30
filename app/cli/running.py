"""Commands that run on and on: through outages of the service, until interrupted."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import typer

T = TypeVar("T")

_PAUSE_FIRST_S = 0.2
_PAUSE_MAX_S = 5.0
_TOO_MANY = 429


async def until_interrupted(work: Coroutine[Any, Any, None]) -> None:
    """Run until the work is done or the process is asked to end."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await task
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def through_outages(call: Callable[[], Awaitable[T]]) -> T:
    """Call again while the service is away or busy, less and less often. Raises SolverApiError for what it refuses."""
    from app.client import SolverApiError, SolverUnreachable

    pause_s = 0.0
    while True:
        try:
            answer = await call()
        except (SolverUnreachable, SolverApiError) as error:
            if isinstance(error, SolverApiError) and error.status < 500 and error.status != _TOO_MANY:
                raise
            if not pause_s:
                typer.echo(f"{error}; trying again until it answers (`solver up` starts it)", err=True)
            pause_s = min(_PAUSE_MAX_S, pause_s * 2 or _PAUSE_FIRST_S)
            await asyncio.sleep(pause_s)
        else:
            if pause_s:
                typer.echo("the service answers again", err=True)
            return answer
