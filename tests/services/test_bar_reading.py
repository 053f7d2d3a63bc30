import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from app.config import RetentionSettings
from app.domain.bars import BAR_COLUMNS, Bars
from app.domain.errors import Invalid
from app.domain.known_bars import read_by
from app.infra.db import Database
from app.services.bar_reading import BarReader
from app.services.market_data import MarketData
from app.services.market_state import MarketState
from app.services.price_history import PriceHistory
from app.services.retention import Retention
from app.services.schemas.prices import PriceIn
from tests.twins import START, FixedClock


@pytest.fixture
async def prices(clean_database: Database) -> AsyncIterator[PriceHistory]:
    clock = FixedClock()
    market_data = MarketData(clean_database, MarketState(clean_database, clock))
    yield PriceHistory(clean_database, market_data.listing, clock)
    await market_data.close()


async def write(prices: PriceHistory, *ticks: tuple[float, float, float]) -> datetime:
    rows = [
        PriceIn(instrument="BTC-USD", price=repr(price), size=repr(size), at=START + timedelta(seconds=at))
        for at, price, size in ticks
    ]
    await prices.write(rows, default_source="desk")
    return datetime.now(UTC)


async def read(reader: BarReader, interval_s: int, as_of: datetime | None = None) -> Bars:
    ranges = read_by(np.array([START.timestamp() + 7200]), interval_s)
    return (await reader.read("BTC-USD", interval_s, ranges, as_of=as_of)).bars


def equal(left: Bars, right: Bars, *, rel: float = 0.0) -> bool:
    return all(np.allclose(getattr(left, name), getattr(right, name), rtol=rel, atol=0.0) for name in BAR_COLUMNS)


@pytest.mark.parametrize("most_ticks", [0, 1_000_000])
@pytest.mark.parametrize("interval_s", [60, 300, 3600])
async def test_earlier_time_is_rebuilt_however_many_ticks_there_are(
    clean_database: Database, prices: PriceHistory, interval_s: int, most_ticks: int
) -> None:
    reader = BarReader(clean_database, most_ticks=most_ticks)
    known = await write(prices, *((at, 64000 + at * 7 % 13, 0.1 + at % 3) for at in range(0, 7200, 11)))
    before = await read(reader, interval_s)
    assert len(before) > 1
    await write(prices, (3.5, 65000, 1), (4000.5, 63000, 2), (7100.25, 1, 1))
    assert equal(await read(reader, interval_s, known), before, rel=1e-14)
    assert not equal(await read(reader, interval_s), before, rel=1e-9)
    assert equal(await read(reader, interval_s, datetime.now(UTC)), await read(reader, interval_s), rel=1e-14)


async def test_seconds_whose_ticks_were_dropped_stand_as_they_are(
    clean_database: Database, prices: PriceHistory
) -> None:
    reader = BarReader(clean_database)
    known = await write(prices, *((7000.0 + at, 64000 + at, 1) for at in range(100)))
    before = await read(reader, 1)
    async with clean_database.connection() as connection:
        await connection.execute("DELETE FROM lake.price WHERE at < $1", START + timedelta(seconds=7050))
    assert equal(await read(reader, 1, known), before)


async def test_minutes_rolled_up_are_known_since_their_seconds_were(
    clean_database: Database, prices: PriceHistory
) -> None:
    reader = BarReader(clean_database)
    known = await write(prices, *((at, 64000 + at % 17, 0.5) for at in range(0, 7200, 7)))
    before = await read(reader, 300, known)
    kept = RetentionSettings(second_bars_h=1.0, prices_h=1.0, metrics_h=None, book_samples_h=None)
    await Retention(clean_database, FixedClock(START + timedelta(seconds=7200)), kept).go_over()
    assert await count(clean_database, "SELECT count(*) FROM lake.bar WHERE span_s = 60") > 50
    assert equal(await read(reader, 300, known), before)


async def count(database: Database, query: str) -> int:
    async with database.connection() as connection:
        return int(await connection.fetchval(query))


async def test_imported_bars_stand_in_where_there_are_no_ticks(clean_database: Database, prices: PriceHistory) -> None:
    await write(prices, (3601, 7.0, 1))
    rows = [(START + timedelta(seconds=at), 5.0, 6.0, 4.0, 5.5, 10.0) for at in (0, 3600, 5400)]
    await prices.write_candles("BTC-USD", 300, "exchange", rows)
    bars = await read(BarReader(clean_database), 300)
    assert [(start - START.timestamp(), close) for start, close in zip(bars.start, bars.close, strict=True)] == [
        (0, 5.5),
        (3600, 7.0),
        (5400, 5.5),
    ]


async def test_more_than_can_be_read_is_refused(clean_database: Database, prices: PriceHistory) -> None:
    await write(prices, *((7000.0 + at, 64000, 1) for at in range(100)))
    with pytest.raises(Invalid, match="more than 50 bars"):
        await read(BarReader(clean_database, most_rows=50), 1)


async def test_time_just_passed_waits_for_those_who_were_writing_then(clean_database: Database) -> None:
    reader = BarReader(clean_database)
    order: list[str] = []
    async with clean_database.transaction() as connection:
        await connection.fetchval("SELECT pg_current_xact_id()")
        now = datetime.now(UTC)

        async def wait() -> None:
            await reader.settle(now, now)
            order.append("settled")

        waiting = asyncio.create_task(wait())
        for _ in range(20):
            await connection.fetchval("SELECT 1")
        order.append("written")
    await waiting
    assert order == ["written", "settled"]
