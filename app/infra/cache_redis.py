"""Redis: a cache that never raises, and allowances shared by all processes. Away, it only misses."""

import asyncio
import time
from collections.abc import Callable, Sequence
from hashlib import sha1
from typing import Any

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

from app.domain.errors import Unavailable
from app.domain.limit import Verdict

MAX_CONNECTIONS = 32
TIMEOUT_S = 0.2
RETRY_S = 1.0

# In microseconds, which a double holds exactly. The store's clock decides, not the callers'.
_SPEND = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local interval, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local used_until = tonumber(redis.call('GET', KEYS[1]) or now)
used_until = math.min(math.max(used_until, now), now + window)
local after = used_until + interval
if after - now > window + 1 then
  return {0, 0, used_until - now, after - now - window}
end
redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000))
return {1, math.floor((window - (after - now)) / interval + 0.001), after - now, 0}
"""
_SPEND_SHA = sha1(_SPEND.encode(), usedforsecurity=False).hexdigest()


class RedisLink:
    """Connections to one Redis, shared by what is built on it.

    After a failure commands raise Unavailable at once, until a probe in the background finds Redis back.
    """

    # redis-py's own pool only makes the connections: a command cancelled while it waits for the pool's lock
    # to give its connection back keeps it for ever, and the blocking pool lets some of its waiters starve.

    def __init__(
        self,
        url: str,
        *,
        max_connections: int = MAX_CONNECTIONS,
        timeout_s: float = TIMEOUT_S,
        retry_s: float = RETRY_S,
    ) -> None:
        self._factory = ConnectionPool.from_url(
            url,
            protocol=2,
            socket_timeout=None,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
        )
        self._idle: list[AbstractConnection] = []
        self._slots = asyncio.Semaphore(max_connections)
        self._timeout_s = timeout_s
        self._retry_s = retry_s
        self._is_present = True
        self._probe: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def available(self) -> bool:
        """Whether the last command found Redis."""
        return self._is_present

    async def run(self, *command: str | bytes | int) -> Any:
        """Run one command. Raises Unavailable when Redis is away, ResponseError when it refuses."""
        self._refuse_when_away()
        async with self._slots:
            self._refuse_when_away()
            reused = bool(self._idle)
            try:
                return await self._attempt(*command)
            except ResponseError:
                raise
            except TimeoutError as error:
                await self._lose()
                raise Unavailable("Redis did not answer in time") from error
            except (RedisError, OSError) as error:
                await self._drop_idle()
                if not reused:
                    await self._lose()
                    raise Unavailable(f"Redis is away: {error}") from error
            # An idle connection may have been cut long ago; that says nothing about Redis now.
            try:
                return await self._attempt(*command)
            except ResponseError:
                raise
            except (RedisError, OSError) as error:
                await self._lose()
                raise Unavailable(f"Redis is away: {error}") from error

    async def close(self) -> None:
        """Let go of all connections; later commands raise Unavailable."""
        self._closed = True
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.gather(self._probe, return_exceptions=True)
        await self._drop_idle()

    def _refuse_when_away(self) -> None:
        if self._closed:
            raise Unavailable("the link to Redis is closed")
        if not self._is_present:
            raise Unavailable("Redis is away")

    async def _attempt(self, *command: str | bytes | int) -> Any:
        connection = self._idle.pop() if self._idle else self._new_connection()
        try:
            async with asyncio.timeout(self._timeout_s):
                await connection.send_command(*command)
                reply = await connection.read_response()
        except ResponseError:
            self._idle.append(connection)
            raise
        except BaseException:
            # The reply of a command that was cut short would answer the next one.
            await connection.disconnect(nowait=True)
            raise
        if self._closed:
            await connection.disconnect(nowait=True)
        else:
            self._idle.append(connection)
        return reply

    def _new_connection(self) -> AbstractConnection:
        return self._factory.connection_class(**self._factory.connection_kwargs)

    async def _lose(self) -> None:
        self._is_present = False
        if not self._closed and (self._probe is None or self._probe.done()):
            self._probe = asyncio.create_task(self._probe_until_back())
        await self._drop_idle()

    async def _probe_until_back(self) -> None:
        while not self._is_present:
            await asyncio.sleep(self._retry_s)
            try:
                await self._attempt("PING")
            except (RedisError, OSError):
                continue
            self._is_present = True

    async def _drop_idle(self) -> None:
        dropped, self._idle = self._idle, []
        for connection in dropped:
            await connection.disconnect(nowait=True)


class RedisCache:
    """A cache shared by all processes."""

    def __init__(self, link: RedisLink, *, prefix: str = "solver:cache:") -> None:
        self._link = link
        self._prefix = prefix

    async def get(self, key: str) -> bytes | None:
        """Fetch a value, or None when it is absent or Redis is."""
        return (await self.get_many([key]))[0]

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Fetch the values of keys, in their order, in one round trip."""
        if not keys:
            return []
        try:
            values: list[bytes | None] = await self._link.run("MGET", *(self._prefix + key for key in keys))
        except (Unavailable, RedisError):
            return [None] * len(keys)
        return values

    async def set(self, key: str, value: bytes, *, ttl_s: float) -> None:
        """Keep a value for a while."""
        ttl_ms = int(ttl_s * 1000)
        if ttl_ms <= 0:
            return
        try:
            await self._link.run("SET", self._prefix + key, value, "PX", ttl_ms)
        except (Unavailable, RedisError):
            return


class LocalLimiter:
    """Allowances counted in this process: `limit` at once, then one each `window_s / limit` seconds."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._used_until: dict[str, float] = {}
        self._forget_above = 4096

    async def spend(self, program: str, *, limit: int, window_s: int) -> Verdict:
        """Count one request of a program."""
        now = self._monotonic_s()
        interval = window_s / limit
        used_until = min(max(self._used_until.get(program, now), now), now + window_s)
        after = used_until + interval
        if after - now > window_s + 1e-6:
            return Verdict(False, 0, used_until - now, after - now - window_s)
        self._used_until[program] = after
        if len(self._used_until) > self._forget_above:
            self._used_until = {name: until for name, until in self._used_until.items() if until > now}
            self._forget_above = max(4096, 2 * len(self._used_until))
        return Verdict(True, int((window_s - (after - now)) / interval + 1e-3), after - now, 0.0)


class RedisLimiter:
    """Allowances counted for all processes together, in one atomic call; locally while Redis is away."""

    def __init__(self, link: RedisLink, *, prefix: str = "solver:limit:", fallback: LocalLimiter | None = None) -> None:
        self._link = link
        self._prefix = prefix
        self._fallback = fallback or LocalLimiter()

    async def spend(self, program: str, *, limit: int, window_s: int) -> Verdict:
        """Count one request of a program: `limit` at once, then one each `window_s / limit` seconds."""
        window_us = window_s * 1_000_000
        arguments = (1, self._prefix + program, repr(window_us / limit), window_us)
        try:
            try:
                reply = await self._link.run("EVALSHA", _SPEND_SHA, *arguments)
            except NoScriptError:
                reply = await self._link.run("EVAL", _SPEND, *arguments)
        except (Unavailable, RedisError):
            return await self._fallback.spend(program, limit=limit, window_s=window_s)
        allowed, remaining, reset_us, retry_after_us = reply
        return Verdict(bool(allowed), remaining, reset_us / 1e6, retry_after_us / 1e6)
