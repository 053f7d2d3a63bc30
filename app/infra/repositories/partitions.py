"""Partitions by time, made when the first row of their time arrives."""

from collections.abc import Iterable
from datetime import UTC, datetime

from app.infra.db import Database

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
