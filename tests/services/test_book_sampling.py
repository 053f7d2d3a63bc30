from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from app.domain.features.books import book_values, usable_books
from app.domain.market import OrderBook
from app.infra.db import Database
from app.services.book_sampling import BookSampling
from app.services.market_data import MarketData
from app.services.market_state import MarketState
from app.services.schemas.market import MARKET
from tests.factories import book
from tests.twins import START, FixedClock


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
async def market_data(clean_database: Database, clock: FixedClock) -> AsyncIterator[MarketData]:
    market_data = MarketData(clean_database, MarketState(clean_database, clock))
    yield market_data
    await market_data.close()


def sampling_of(database: Database, clock: FixedClock) -> BookSampling:
    return BookSampling(database, MarketState(database, clock), clock, every_s=1.0)


async def put(market_data: MarketData, *books: dict[str, Any]) -> list[OrderBook]:
    wire = [MARKET.validate_python(each) for each in books]
    await market_data.write(wire, {})
    return [market for each in wire if isinstance(market := each.to_domain(), OrderBook)]


async def samples(database: Database) -> list[tuple[str, float, list[float]]]:
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT instrument, at, values FROM lake.book_sample ORDER BY at, instrument")
    return [(row[0], (row[1] - START).total_seconds(), row[2]) for row in rows]


async def test_each_second_holds_what_the_books_held(
    clean_database: Database, market_data: MarketData, clock: FixedClock
) -> None:
    sampling = sampling_of(clean_database, clock)
    assert await sampling.sample() == 0
    first = await put(market_data, book(), book("other:BTC-USD", bids=[["63980", "1"]]))
    clock.advance(0.25)
    assert sampling.wait_s() == pytest.approx(0.75)
    assert await sampling.sample() == 1
    clock.advance(1.0)
    second = await put(market_data, book(asks=[["64100", "9"]]), book("kraken:ETH-USD", base="ETH"))
    assert await sampling.sample() == 2
    found = await samples(clean_database)
    assert [(name, at) for name, at, _ in found] == [("BTC-USD", 0.0), ("BTC-USD", 1.0), ("ETH-USD", 1.0)]
    wanted = [first, [second[0], first[1]], [second[1]]]
    for (name, _, values), books in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(values, book_values(usable_books(name, books)))


async def test_of_several_workers_one_counts(
    clean_database: Database, market_data: MarketData, clock: FixedClock
) -> None:
    await put(market_data, book())
    workers = [sampling_of(clean_database, clock) for _ in range(3)]
    assert sorted([await worker.sample() for worker in workers]) == [0, 0, 1]
    assert len(await samples(clean_database)) == 1


async def test_halted_and_one_sided_books_say_nothing(
    clean_database: Database, market_data: MarketData, clock: FixedClock
) -> None:
    sampling = sampling_of(clean_database, clock)
    await put(market_data, book(), book("kraken:ETH-USD", base="ETH", bids=[]))
    assert await sampling.sample() == 1
    clock.advance(1.0)
    await put(market_data, book(status="halted"))
    assert await sampling.sample() == 0
    assert [name for name, _, _ in await samples(clean_database)] == ["BTC-USD"]
