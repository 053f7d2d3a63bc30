from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from app.domain.errors import Invalid
from app.infra.db import Database
from app.infra.repositories.candles import Candle
from app.services.market_data import MarketData
from app.services.market_state import MarketState
from app.services.price_history import PriceHistory, Span
from app.services.schemas.prices import PriceIn
from tests.twins import START, FixedClock


@pytest_asyncio.fixture
async def prices(clean_database: Database) -> AsyncIterator[PriceHistory]:
    clock = FixedClock()
    market_data = MarketData(clean_database, MarketState(clean_database, clock))
    yield PriceHistory(clean_database, market_data.listing, clock)
    await market_data.close()


def candle(minute: float, close: float = 11, *, high: float = 20, low: float = 5, volume: float = 3) -> Candle:
    return (START + timedelta(minutes=minute), 10, high, low, close, volume)


def tick(minute: float, price: str = "100") -> PriceIn:
    at = START + timedelta(minutes=minute)
    return PriceIn.model_validate({"instrument": "BTC-USD", "price": price, "size": "1", "at": at})


async def bars(prices: PriceHistory, interval_s: int) -> list[dict[str, Any]]:
    rows, _ = await prices.list_bars("BTC-USD", Span(newest_first=False), interval_s=interval_s, after=None, limit=100)
    return rows


async def due(database: Database) -> list[tuple[str, datetime, datetime]]:
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT instrument, from_start, to_start FROM lake.bar_due ORDER BY 1")
    return [tuple(row) for row in rows]


async def test_a_candle_is_a_bar_and_comes_once(clean_database: Database, prices: PriceHistory) -> None:
    rows = [candle(5), candle(0), candle(5, 12)]
    assert await prices.write_candles("BTC-USD", 300, "kraken", rows) == 2
    first, second = await bars(prices, 300)
    assert first == {
        "instrument": "BTC-USD",
        "interval_s": 300,
        "start": "2026-01-05T12:00:00.000000Z",
        "open": "10",
        "high": "20",
        "low": "5",
        "close": "11",
        "volume": "3",
        "notional": "36",
        "vwap": "12",
        "count": 0,
        "first_at": "2026-01-05T12:00:00.000000Z",
        "last_at": "2026-01-05T12:05:00.000000Z",
    }
    assert second["close"] == "12"
    assert await due(clean_database) == [("BTC-USD", START, START + timedelta(minutes=5))]
    async with clean_database.connection() as connection:
        await connection.execute("DELETE FROM lake.bar_due")
    assert await prices.write_candles("BTC-USD", 300, "kraken", [candle(0), candle(5, 12)]) == 0
    assert await bars(prices, 300) == [first, second]
    assert await due(clean_database) == []
    assert await prices.write_candles("BTC-USD", 300, "kraken", [candle(0, 13), candle(5, 12)]) == 1
    assert [bar["close"] for bar in await bars(prices, 300)] == ["13", "12"]
    assert await due(clean_database) == [("BTC-USD", START, START)]


async def test_a_bar_follows_from_the_candles_of_all_sources(prices: PriceHistory) -> None:
    await prices.write_candles("BTC-USD", 300, "kraken", [candle(0, 11, high=20, low=6, volume=3)])
    await prices.write_candles("BTC-USD", 300, "file", [candle(0, 12, high=19, low=5, volume=4)])
    await prices.write_candles("BTC-USD", 300, "other", [candle(0, 13, high=21, low=7, volume=1)])
    [bar] = await bars(prices, 300)
    assert (bar["high"], bar["low"], bar["close"], bar["volume"]) == ("21", "5", "12", "8")


async def test_ticks_count_where_there_are_any_and_the_finest_candles_elsewhere(prices: PriceHistory) -> None:
    await prices.write_candles("BTC-USD", 300, "kraken", [candle(0), candle(5), candle(10)])
    await prices.write_candles("BTC-USD", 60, "kraken", [candle(5, 9), candle(6, 8)])
    await prices.write([tick(11), tick(12)], default_source="x")
    assert [(bar["close"], bar["volume"]) for bar in await bars(prices, 300)] == [("11", "3"), ("8", "6"), ("100", "2")]
    [whole] = await bars(prices, 900)
    assert (whole["volume"], whole["count"]) == ("2", 2)


async def test_a_candle_longer_than_the_interval_is_served_as_it_is(prices: PriceHistory) -> None:
    await prices.write_candles("BTC-USD", 300, "kraken", [candle(0), candle(5)])
    assert [(bar["interval_s"], bar["volume"]) for bar in await bars(prices, 60)] == [(300, "3"), (300, "3")]


async def test_candles_of_a_second_are_taken_over_by_ticks(prices: PriceHistory) -> None:
    await prices.write_candles("BTC-USD", 1, "kraken", [candle(0), candle(1)])
    await prices.write([tick(0), tick(0, "101")], default_source="x")
    await prices.write_candles("BTC-USD", 1, "kraken", [candle(0, 12)])
    first, second = await bars(prices, 1)
    assert (first["open"], first["high"], first["low"], first["volume"], first["count"]) == (
        "100",
        "101",
        "100",
        "2",
        2,
    )
    assert (second["close"], second["count"]) == ("11", 0)
    assert (await prices.bars("BTC-USD")).close.tolist() == [101.0]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"instrument": "BTC"}, "/instrument"),
        ({"source": "a b"}, "/source"),
        ({"interval_s": 0}, "/interval_s"),
        ({"rows": [candle(0), candle(1, 21)]}, "/1/high"),
        ({"rows": [candle(0, 4)]}, "/0/low"),
        ({"rows": [candle(0, volume=-1)]}, "/0/volume"),
        ({"rows": [candle(0, volume=float("nan"))]}, "/0/volume"),
        ({"rows": [candle(0.001)]}, "/0/start"),
        ({"rows": [(START.replace(tzinfo=None), 1, 1, 1, 1, 1)]}, "/0/start"),
    ],
)
async def test_what_is_no_candle_is_refused(prices: PriceHistory, change: dict[str, Any], pointer: str) -> None:
    given: dict[str, Any] = {
        "instrument": "BTC-USD",
        "interval_s": 60,
        "source": "kraken",
        "rows": [candle(0)],
    } | change
    with pytest.raises(Invalid) as refusal:
        await prices.write_candles(**given)
    assert [error.pointer for error in refusal.value.errors] == [pointer]


async def test_no_candles_at_all_change_nothing(prices: PriceHistory) -> None:
    assert await prices.write_candles("BTC-USD", 60, "kraken", []) == 0
