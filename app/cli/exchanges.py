"""How commands ask exchanges: patiently, and in the open."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import typer

from app.cli.printing import CommandFailed

if TYPE_CHECKING:
    from app.infra.exchange import Exchange

T = TypeVar("T")

_PAUSE_FIRST_S = 0.5
_PAUSE_MAX_S = 30.0
_ATTEMPTS = 6


def open_exchange(name: str, url: str | None) -> "Exchange":
    """Make an exchange, elsewhere than it always is with a URL. Raises Invalid, MissingExtra."""
    from app.client.connection import is_loopback
    from app.infra.exchange import Exchange

    # A proxy that the environment names cannot reach this machine's own loopback.
    return Exchange(name.lower(), url=url, trust_env=url is None or not is_loopback(url))


async def patiently(call: Callable[[], Awaitable[T]], *, attempts: int | None = _ATTEMPTS) -> T:
    """Ask again while an exchange is away, less and less often; for ever without `attempts`. Raises CommandFailed."""
    from app.infra.exchange import ExchangeAway

    attempt = 0
    while True:
        attempt += 1
        try:
            return await call()
        except ExchangeAway as error:
            if attempts is not None and attempt >= attempts:
                raise CommandFailed(
                    "The exchange does not answer",
                    str(error),
                    "try again later: what was stored stays, and is not asked again",
                ) from error
            pause_s = min(_PAUSE_MAX_S, _PAUSE_FIRST_S * 2.0 ** (attempt - 1))
            typer.echo(f"{error}; asking again in {pause_s:g} s", err=True)
            await asyncio.sleep(pause_s)
