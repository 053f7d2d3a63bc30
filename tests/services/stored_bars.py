"""Bars as the writing side leaves them: stored, and said to be due."""

from collections.abc import Iterable
from datetime import datetime

from app.domain.bars import BAR_COLUMNS, Bar, Bars, Tick, aggregate
from app.infra.db import Database
from app.infra.repositories.partitions import Partitions
from tests.twins import START

BTC = "BTC-USD"


def tick(second: float, price: float = 100.0, instrument: str = BTC, size: float = 1.0) -> Tick:
    """Write a tick so many seconds after the start."""
    return Tick(instrument, price, size, datetime.fromtimestamp(START.timestamp() + second, START.tzinfo), "x")


class StoredBars:
    """Ticks that came so far, and the bars of them in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._partitions = Partitions(database)
        self.ticks: list[Tick] = []

    async def add(self, ticks: Iterable[Tick], *, is_due: bool = True) -> None:
        """Store the bars that these ticks change, all of them in one transaction."""
        new = list(ticks)
        self.ticks += new
        seconds = {(each.instrument, int(each.at.timestamp())) for each in new}
        bars = [bar for bar in aggregate(self.ticks) if (bar.instrument, int(bar.start.timestamp())) in seconds]
        await self._partitions.ensure("lake.bar", [bar.start for bar in bars])
        columns = (*BAR_COLUMNS, "first_at")
        async with self._database.transaction() as connection:
            await connection.executemany(
                f"""
                INSERT INTO lake.bar (instrument, {", ".join(columns)})
                VALUES ({", ".join(f"${number}" for number in range(1, len(columns) + 2))})
                ON CONFLICT (instrument, start, span_s) DO UPDATE
                SET known_at = now(), {", ".join(f"{name} = excluded.{name}" for name in columns if name != "start")}
                """,
                [(bar.instrument, *(getattr(bar, name) for name in columns)) for bar in bars],
            )
            if is_due:
                await connection.executemany(
                    """
                    INSERT INTO lake.bar_due AS d (instrument, from_start, to_start) VALUES ($1, $2, $3)
                    ON CONFLICT (instrument) DO UPDATE SET from_start = least(d.from_start, excluded.from_start),
                      to_start = greatest(d.to_start, excluded.to_start), changed_at = now()
                    """,
                    sorted(_spans(bars)),
                )

    def bars(self, instrument: str = BTC, interval_s: int = 1) -> Bars:
        """Add up the ticks of an instrument as the domain does."""
        return Bars.from_bars(instrument, aggregate(self.ticks, interval_s), interval_s)


def _spans(bars: Iterable[Bar]) -> list[tuple[str, datetime, datetime]]:
    starts: dict[str, list[datetime]] = {}
    for bar in bars:
        starts.setdefault(bar.instrument, []).append(bar.start)
    return [(name, min(each), max(each)) for name, each in starts.items()]
