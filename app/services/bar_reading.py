"""Stored bars for windows: as they stand, or as they were known at an earlier time."""

import asyncio
from datetime import UTC, datetime, timedelta

import numpy as np

from app.domain.bars import FloatArray
from app.domain.errors import FieldError, Invalid
from app.domain.known_bars import KnownBars, Ranges, add_up, as_known, joined, read_by
from app.domain.times import LATEST
from app.infra.db import Database
from app.infra.repositories import known_bars as repository
from app.services.documents import timestamp

MOST_ROWS = 3_000_000
MOST_TICKS = 1_000_000
_PART_S = 20_000.0
_FEW, _MANY = 5_000, 40_000
_TICKS_A_TIME = 50_000
_LOOKS_AT = 50_000
_SETTLING_S = 5.0
_SETTLES_WITHIN_S = 1.0
_SETTLE_POLL_S = 0.01
_EARLIEST_AS_OF = datetime(1000, 1, 1, tzinfo=UTC)
"""Long before any price, with room for the rows that the deepest feature set looks at before."""


class Budget:
    """How many stored bars a request may look at."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._left = rows

    def spend(self, rows: int) -> None:
        """Take note of bars that were read. Raises Invalid when there were too many."""
        self._left -= rows
        if self._left < 0:
            raise Invalid(
                f"this takes more than {self._rows:,} bars",
                (FieldError("/query/interval", "ask for a shorter interval, a shorter span or fewer points"),),
            )


class BarReader:
    """Reads bars of any interval, in steps that a connection is never held long for."""

    def __init__(self, database: Database, *, most_rows: int = MOST_ROWS, most_ticks: int = MOST_TICKS) -> None:
        """Read up to so many stored bars a request; beyond so many ticks, rebuild only what changed since."""
        self._database = database
        self._most_rows = most_rows
        self._most_ticks = most_ticks

    def budget(self) -> Budget:
        """Make the budget of one request."""
        return Budget(self._most_rows)

    async def read(
        self,
        instrument: str,
        interval_s: int,
        ranges: Ranges,
        *,
        as_of: datetime | None = None,
        budget: Budget | None = None,
    ) -> KnownBars:
        """Read the bars that begin in ranges on the interval's grid, within a budget. Raises Invalid, Unavailable."""
        stored = await self._stored(instrument, interval_s, ranges, budget or self.budget(), as_of)
        if as_of is None:
            return stored
        # Sums that grew batch by batch differ in their last bit from sums of all ticks: where it can be afforded,
        # every bar is added up anew, so that what arrives later changes no bit of the answer.
        affordable = stored.bars.count.sum() <= self._most_ticks
        ticks = await self._ticks(instrument, stored if affordable else _changed(stored, as_of), as_of)
        return await asyncio.to_thread(_rebuilt, stored, ticks, as_of)

    async def before(self, instrument: str, interval_s: int, moment: datetime, as_of: datetime) -> KnownBars:
        """Read the bars known at `as_of` of the window that ends at a moment; if none, the newest ones before it.

        Raises Invalid, Unavailable.
        """
        ranges = read_by(np.array([moment.timestamp()]), interval_s)
        known = await self.read(instrument, interval_s, ranges, as_of=as_of)
        if len(known.bars):
            return known
        async with self._database.connection() as connection:
            start = await repository.newest_known(
                connection, instrument, float(ranges.begins[0]), as_of, span_s=interval_s, looks_at=_LOOKS_AT
            )
        if start is None:
            return known
        end = start // interval_s * interval_s + interval_s
        return await self.read(instrument, interval_s, read_by(np.array([end]), interval_s), as_of=as_of)

    async def moment(self, as_of: datetime | None, now: datetime) -> datetime:
        """Tell which time is asked for, once all that became known by then can be read. Raises Invalid, Unavailable."""
        if as_of is None:
            return now
        if as_of > now:
            raise Invalid(
                "nothing is known of times to come",
                (FieldError("/query/as_of", f"must be no later than now, {timestamp(now)}"),),
            )
        await self.settle(as_of, now)
        return min(max(as_of, _EARLIEST_AS_OF), LATEST).astimezone(UTC)

    async def settle(self, as_of: datetime, now: datetime) -> None:
        """Wait until what was about to become known at a time just passed is there to be read. Raises Unavailable."""
        if now - as_of > timedelta(seconds=_SETTLING_S):
            return
        until = asyncio.get_running_loop().time() + _SETTLES_WITHIN_S
        while asyncio.get_running_loop().time() < until:
            async with self._database.connection() as connection:
                if not await repository.has_older_writer(connection, as_of):
                    return
            await asyncio.sleep(_SETTLE_POLL_S)

    async def _stored(
        self, instrument: str, interval_s: int, ranges: Ranges, budget: Budget, as_of: datetime | None
    ) -> KnownBars:
        parts: list[KnownBars] = []
        width = max(_PART_S, interval_s)
        while len(ranges.begins):
            taken, ranges = ranges.parts(width // interval_s * interval_s)
            async with self._database.connection() as connection:
                read, table = await repository.bars(connection, instrument, interval_s, taken, as_of=as_of)
            parts.append(KnownBars.from_table(instrument, table, interval_s))
            budget.spend(read)
            # Silence costs little, so the steps through it grow.
            width = width * 4 if read < _FEW else max(width / 2, interval_s) if read > _MANY else width
        return joined(instrument, interval_s, parts)

    async def _ticks(self, instrument: str, stored: KnownBars, as_of: datetime) -> FloatArray:
        bars = stored.bars
        tables = [np.empty((0, 4))]
        passed = np.cumsum(bars.count)
        first = 0
        while first < len(bars):
            reach = (passed[first - 1] if first else 0.0) + _TICKS_A_TIME
            stop = max(first + 1, int(passed.searchsorted(reach, side="right")))
            begins = bars.start[first:stop]
            ranges = Ranges.joined(begins, begins + bars.interval_s)
            async with self._database.connection() as connection:
                tables.append(await repository.ticks(connection, instrument, ranges, as_of))
            first = stop
        return np.concatenate(tables)


def _changed(stored: KnownBars, as_of: datetime) -> KnownBars:
    table = stored.table[stored.known_at > as_of.timestamp()]
    return KnownBars.from_table(stored.bars.instrument, table, stored.bars.interval_s)


def _rebuilt(stored: KnownBars, ticks: FloatArray, as_of: datetime) -> KnownBars:
    rebuilt = add_up(stored.bars.instrument, ticks, stored.bars.interval_s)
    return as_known(stored, rebuilt, as_of.timestamp())
