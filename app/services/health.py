"""Whether this process can do its work, part by part."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import asyncpg

from app.domain.errors import Unavailable
from app.infra.db import Database

TIMEOUT_S = 1.0


class Condition(StrEnum):
    """How a part is: one that is away makes the process unready, one that is degraded does not."""

    OK = "ok"
    DEGRADED = "degraded"
    AWAY = "away"


@dataclass(frozen=True, slots=True)
class Part:
    """The condition of one part, and why."""

    condition: Condition
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether to send requests here."""

    parts: Mapping[str, Part]

    @property
    def is_ready(self) -> bool:
        """Say whether no part is away."""
        return all(part.condition is not Condition.AWAY for part in self.parts.values())


class Health:
    """Looks at Postgres and its schema, and asks the other parts for their condition."""

    def __init__(
        self, database: Database, *, newest_schema: str | None, checks: Mapping[str, Callable[[], Part]]
    ) -> None:
        self._database = database
        self._newest_schema = newest_schema
        self._checks = dict(checks)
        self._running: asyncio.Task[Readiness] | None = None

    async def readiness(self) -> Readiness:
        """Look now, once for all who ask at the same time."""
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._look())
        return await asyncio.shield(self._running)

    async def _look(self) -> Readiness:
        parts = {"postgres": await self._postgres()}
        return Readiness(parts | {name: check() for name, check in self._checks.items()})

    async def _postgres(self) -> Part:
        try:
            async with asyncio.timeout(TIMEOUT_S), self._database.connection() as connection:
                schema = await connection.fetchval("SELECT version_num FROM public.alembic_version")
        except TimeoutError:
            return Part(Condition.AWAY, f"no answer within {TIMEOUT_S:g} s")
        except Unavailable:
            return Part(Condition.AWAY, "no connection")
        except asyncpg.PostgresError as error:
            return Part(Condition.AWAY, f"the schema cannot be read ({type(error).__name__}); run `solver migrate`")
        if schema != self._newest_schema:
            return Part(Condition.AWAY, f"the schema is {schema}, not {self._newest_schema}; run `solver migrate`")
        return Part(Condition.OK)
