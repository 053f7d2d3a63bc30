"""Partitions by time, made when the first row of their time arrives."""

from collections.abc import Awaitable, Callable, Collection, Iterable
from datetime import UTC, datetime
from typing import TypeVar

import asyncpg

from app.infra.db import Connection, Database

Result = TypeVar("Result")

_PAST, _BY_MONTH, _FUTURE = 1970, 2020, 2100


class Partitions:
    """Knows which partitions of a database there are, so that few writers have to ask."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: set[tuple[str, int, int]] = set()

    async def ensure(self, parent: str, moments: Iterable[datetime]) -> None:
        """Make the partitions that rows of these times go to. Raises Unavailable.

        In a transaction of its own: a writer would else hold their locks for as long as it writes.
        """
        wanted = {_place(parent, moment): moment for moment in moments}
        missing = [moment for place, moment in wanted.items() if place not in self._known]
        if missing:
            async with self._database.connection() as connection:
                await connection.execute("SELECT lake.ensure_partitions($1, $2)", parent, missing)
            self._known.update(wanted)

    async def write(
        self, parents: Collection[str], moments: Iterable[datetime], work: Callable[[Connection], Awaitable[Result]]
    ) -> Result:
        """Do `work` in a transaction once the partitions of these times are there. Raises Unavailable.

        A month has one moment among `moments` at least. `work` runs again should a partition have been dropped.
        """
        moments = list(moments)
        try:
            return await self._write(parents, moments, work)
        except asyncpg.CheckViolationError:
            self.forget()
            return await self._write(parents, moments, work)

    async def _write(
        self, parents: Collection[str], moments: list[datetime], work: Callable[[Connection], Awaitable[Result]]
    ) -> Result:
        for parent in parents:
            await self.ensure(parent, moments)
        async with self._database.transaction() as connection:
            return await work(connection)

    def forget(self) -> None:
        """Ask again: a partition was dropped."""
        self._known.clear()


def _place(parent: str, moment: datetime) -> tuple[str, int, int]:
    # The same rule as lake.partition_of.
    moment = moment.astimezone(UTC)
    if moment.year >= _FUTURE:
        return parent, _FUTURE, 0
    if moment.year < _BY_MONTH:
        return parent, max(moment.year, _PAST - 1), 0
    return parent, moment.year, moment.month
