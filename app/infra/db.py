"""Postgres: the pool, and `transaction()`, the only place that commits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from sqlalchemy.dialects.postgresql import asyncpg as asyncpg_dialect
from sqlalchemy.sql import ClauseElement

from app.domain.errors import Contended, Unavailable

Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"

_AWAY = (
    OSError,
    asyncio.TimeoutError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ObjectNotInPrerequisiteStateError,
    asyncpg.InternalServerError,
)
_RETRYABLE = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError, asyncpg.LockNotAvailableError)
_DIALECT: Any = asyncpg_dialect.dialect()  # type: ignore[no-untyped-call]
_RELEASE_TIMEOUT_S = 1.0


def compiled(statement: ClauseElement) -> tuple[str, list[Any]]:
    """Turn a SQLAlchemy statement into the text and arguments that asyncpg takes."""
    query: Any = statement.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
    parameters = query.params
    return str(query), [parameters[name] for name in query.positiontup or []]


async def _keep_session(_: Any) -> None:
    """Nothing in this product changes session state, so a returned connection needs no reset."""


class Database:
    """A pool of connections, each use of which is bounded in time.

    Raises Unavailable for every way in which the server can be away.
    """

    def __init__(self, url: str, *, pool_size: int, connect_timeout_s: float, timeout_s: float, name: str) -> None:
        self._url = url
        self._pool_size = pool_size
        self._connect_timeout_s = connect_timeout_s
        self._timeout_s = timeout_s
        self._name = name
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    async def open(self) -> None:
        """Prepare the pool without connecting, so that a process starts while Postgres is away."""
        self._pool = await asyncpg.create_pool(
            self._url,
            min_size=0,
            max_size=self._pool_size,
            timeout=self._connect_timeout_s,
            max_inactive_connection_lifetime=300.0,
            reset=_keep_session,
            server_settings={
                "application_name": self._name,
                "timezone": "UTC",
                "idle_in_transaction_session_timeout": "10s",
                "statement_timeout": f"{int(self._timeout_s * 1000)}ms",
                "jit": "off",
            },
        )

    async def close(self) -> None:
        """Close the pool; connections that do not end in time are cut."""
        if self._pool is None:
            return
        try:
            await asyncio.wait_for(self._pool.close(), timeout=2.0)
        except (TimeoutError, *_AWAY):
            self._pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection for statements that each stand alone."""
        if self._pool is None:
            raise Unavailable("the database pool is not open")
        try:
            async with asyncio.timeout(self._timeout_s):
                connection = await self._pool.acquire()
                healthy = False
                try:
                    yield connection
                    healthy = True
                except asyncpg.InternalClientError:
                    # The server went away between two messages and left the driver's protocol in disorder.
                    raise
                except Exception:
                    healthy = not (connection.is_closed() or connection.is_in_transaction())
                    raise
                finally:
                    await self._give_back(connection, healthy)
        except _RETRYABLE as error:
            raise Contended(f"Postgres asks to try again: {error}") from error
        except _AWAY as error:
            raise Unavailable(f"Postgres is away ({type(error).__name__}: {error}); try again shortly") from error

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Lend a connection whose statements commit together at the end, or not at all."""
        async with self.connection() as connection:
            await connection.execute("BEGIN")
            try:
                yield connection
            except Exception:
                # Not on cancellation: the server may be silent, and cutting the connection rolls back as well.
                await connection.execute("ROLLBACK")
                raise
            await connection.execute("COMMIT")

    async def _give_back(self, connection: Connection, healthy: bool) -> None:
        # An interrupted connection may wait for a server that never answers: cut it, and never wait for it.
        assert self._pool is not None
        if not healthy:
            connection.terminate()
        release = asyncio.ensure_future(self._pool.release(connection, timeout=_RELEASE_TIMEOUT_S))
        release.add_done_callback(_retrieve)
        if healthy:
            await asyncio.shield(release)

    async def listen_connection(self) -> "asyncpg.Connection[asyncpg.Record]":
        """Open a connection of its own, for LISTEN. Raises Unavailable."""
        try:
            return await asyncpg.connect(
                self._url,
                timeout=self._connect_timeout_s,
                command_timeout=self._timeout_s,
                server_settings={"application_name": f"{self._name}-listen"},
            )
        except _AWAY as error:
            raise Unavailable(f"Postgres is away ({type(error).__name__}: {error})") from error


def _retrieve(release: "asyncio.Future[None]") -> None:
    if not release.cancelled():
        release.exception()
