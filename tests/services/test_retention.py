import asyncio
import random
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest_asyncio

from app.config import RetentionSettings
from app.infra.db import Database
from app.infra.repositories import retention as repository
from app.services.market_data import MarketData
from app.services.market_state import MarketState
from app.services.price_history import PriceHistory, Span
from app.services.retention import Retention
from app.services.schemas.prices import PriceIn
from tests.twins import START, FixedClock

SECONDS_KEPT_H = 1.0
OLD = START - timedelta(hours=5)


@pytest_asyncio.fixture
async def prices(clean_database: Database) -> AsyncIterator[PriceHistory]:
    clock = FixedClock()
    market_data = MarketData(clean_database, MarketState(clean_database, clock))
    yield PriceHistory(clean_database, market_data.listing, clock, seconds_kept_h=SECONDS_KEPT_H)
    await market_data.close()


def retention(database: Database, **kept_h: float | None) -> Retention:
    everything: dict[str, float | None] = {"metrics_h": None, "book_samples_h": None}
    return Retention(database, FixedClock(), RetentionSettings.model_validate(everything | kept_h))


def ticks(begin: datetime, seconds: int, *, instrument: str = "BTC-USD", seed: int = 3) -> list[PriceIn]:
    # Halves, so that sums are exact in any order.
    pick = random.Random(seed)
    return [
        PriceIn.model_validate(
            {
                "instrument": instrument,
                "price": str(pick.randrange(200, 240) / 2),
                "size": str(pick.randrange(9) / 2),
                "at": begin + timedelta(seconds=number / 2),
            }
        )
        for number in range(2 * seconds)
    ]


async def bars(prices: PriceHistory, interval_s: int, instrument: str = "BTC-USD") -> list[dict[str, Any]]:
    rows, _ = await prices.list_bars(instrument, Span(newest_first=False), interval_s=interval_s, after=None, limit=900)
    return rows


async def value(database: Database, query: str) -> Any:
    async with database.connection() as connection:
        return await connection.fetchval(query)


async def test_old_seconds_become_minutes_that_say_the_same(clean_database: Database, prices: PriceHistory) -> None:
    for instrument in ("BTC-USD", "ETH-USD"):
        await prices.write(ticks(OLD, 400, instrument=instrument), default_source="x")
        await prices.write(ticks(START - timedelta(seconds=30), 30, instrument=instrument), default_source="x")
    before = {interval_s: await bars(prices, interval_s) for interval_s in (60, 300, 86_400)}
    for _ in range(2):
        await retention(clean_database, second_bars_h=SECONDS_KEPT_H).go_over()
        assert {interval_s: await bars(prices, interval_s) for interval_s in before} == before
        assert await value(clean_database, "SELECT count(*) FROM lake.bar WHERE span_s = 60") == 14
        assert await value(clean_database, "SELECT count(*) FROM lake.bar WHERE span_s = 1") == 60
    seconds = await bars(prices, 1)
    assert [bar["interval_s"] for bar in seconds] == [60] * 7 + [1] * 30


async def test_late_ticks_of_a_minute_rolled_up_still_add_up(clean_database: Database, prices: PriceHistory) -> None:
    everything = random.Random(9).sample(ticks(OLD, 180), 360)
    roll_up = retention(clean_database, second_bars_h=SECONDS_KEPT_H)
    for begin in range(0, 360, 60):
        await prices.write(everything[begin : begin + 60], default_source="x")
        await prices.write(everything[begin // 2 : begin // 2 + 30], default_source="x")
        if begin % 120 == 0:
            await roll_up.go_over()
    late = await bars(prices, 60)
    assert await value(clean_database, "SELECT count(DISTINCT span_s) FROM lake.bar") == 2
    await roll_up.go_over()
    rolled_up = await bars(prices, 60)
    async with clean_database.connection() as connection:
        await connection.execute("DELETE FROM lake.price")
        await connection.execute("DELETE FROM lake.bar")
    await prices.write(everything, default_source="x")
    assert late == rolled_up == await bars(prices, 60)
    assert await value(clean_database, "SELECT count(*) FROM lake.bar_due") == 0


async def test_minutes_rolled_up_win_over_imported_ones(clean_database: Database, prices: PriceHistory) -> None:
    await prices.write_candles(
        "BTC-USD", 60, "kraken", [(OLD, 1, 1, 1, 1, 1), (OLD + timedelta(minutes=1), 1, 1, 1, 1, 1)]
    )
    await prices.write(ticks(OLD, 60), default_source="x")
    before = await bars(prices, 60)
    await retention(clean_database, second_bars_h=SECONDS_KEPT_H).go_over()
    assert await bars(prices, 60) == before
    await prices.write_candles("BTC-USD", 60, "other", [(OLD, 2, 2, 2, 2, 2)])
    assert await bars(prices, 60) == before


async def test_rolling_up_while_late_ticks_come_loses_none(clean_database: Database, prices: PriceHistory) -> None:
    everything = ticks(OLD, 300)
    shuffled = random.Random(2).sample(everything, len(everything))
    roll_ups = [retention(clean_database, second_bars_h=SECONDS_KEPT_H) for _ in range(3)]

    async def write(begin: int) -> None:
        await prices.write(shuffled[begin : begin + 20], default_source="x")
        await roll_ups[begin % 3].go_over()

    await asyncio.gather(*(write(begin) for begin in range(0, 600, 20)))
    assert sum(bar["count"] for bar in await bars(prices, 60)) == 600
    assert sum(bar["count"] for bar in await bars(prices, 1)) == 600


async def test_what_is_past_its_time_goes_by_partitions_and_by_rows(
    clean_database: Database, prices: PriceHistory
) -> None:
    await prices.write(ticks(START - timedelta(days=70), 5), default_source="x")
    await prices.write(ticks(START - timedelta(hours=50), 5), default_source="x")
    await prices.write(ticks(START - timedelta(hours=50), 5, instrument="ETH-USD"), default_source="y")
    await prices.write(ticks(START - timedelta(hours=1), 5), default_source="x")
    async with clean_database.connection() as connection:
        for table, columns, values in (
            ("warehouse.metric", "instrument, interval_s, event_ts, set_hash, values",
             "'BTC-USD', 60, {at}, '', '{{1}}'"),
            ("warehouse.feature_history", "instrument, interval_s, schema_hash, event_ts, values",
             "'BTC-USD', 60, '', {at}, '{{1}}'"),
            ("warehouse.outcome", "instrument, interval_s, horizon_s, event_ts, values",
             "'BTC-USD', 60, 9, {at}, '{{1}}'"),
            ("lake.book_sample", "instrument, at, values", "'BTC-USD', {at}, '{{1}}'"),
        ):  # fmt: skip
            for at in (START - timedelta(days=70), START - timedelta(hours=50), START):
                await connection.execute("SELECT lake.ensure_partitions($1, $2)", table, [at])
                written = values.format(at=f"'{at.isoformat()}'")
                await connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({written})")
    await retention(clean_database).go_over()
    assert await value(clean_database, "SELECT count(*) FROM lake.price") == 40
    await retention(clean_database, prices_h=24, metrics_h=24, features_h=24, book_samples_h=24).go_over()
    assert await value(clean_database, "SELECT count(*) FROM lake.price") == 10
    assert await value(clean_database, "SELECT min(at) FROM lake.price") == START - timedelta(hours=1)
    for table in ("warehouse.metric", "warehouse.feature_history", "warehouse.outcome", "lake.book_sample"):
        assert await value(clean_database, f"SELECT count(*) FROM {table}") == 1
    assert await value(
        clean_database, "SELECT array_agg(relname::text) FROM pg_class WHERE relname LIKE '%_y2025m10'"
    ) == ["bar_y2025m10"]
    await prices.write(ticks(START - timedelta(days=70), 5), default_source="x")
    assert await value(clean_database, "SELECT count(*) FROM lake.price") == 20


async def test_a_round_of_the_sweeper_does_a_part_and_pauses_after_the_whole(
    clean_database: Database, prices: PriceHistory
) -> None:
    await prices.write(ticks(OLD, 120), default_source="x")
    roll_up = retention(clean_database, second_bars_h=SECONDS_KEPT_H)
    await roll_up.work()
    assert await value(clean_database, "SELECT count(*) FROM lake.bar WHERE span_s = 1") == 0
    await prices.write(ticks(OLD + timedelta(minutes=9), 9), default_source="x")
    await roll_up.work()
    assert await value(clean_database, "SELECT count(*) FROM lake.bar WHERE span_s = 1") == 9


def test_by_default_only_samples_of_books_go() -> None:
    settings = RetentionSettings()
    assert (settings.prices_h, settings.second_bars_h) == (None, None)
    assert (settings.metrics_h, settings.features_h) == (None, None)
    assert settings.book_samples_h == 720


async def test_old_rows_are_found_by_index(clean_database: Database, prices: PriceHistory) -> None:
    await prices.write(ticks(OLD, 100), default_source="x")
    statements: list[tuple[str, tuple[Any, ...]]] = [(repository._ROLL_UP, ("BTC-USD", START, 10))]
    histories = (
        repository.PRICES,
        repository.METRICS,
        repository.FEATURES,
        repository.OUTCOMES,
        repository.BOOK_SAMPLES,
    )
    statements += [(repository.delete_statement(history), (START, 10)) for history in histories]
    async with clean_database.transaction() as connection:
        # Tables this small are read in full unless that is ruled out; the plan then shows which index would serve.
        await connection.execute("SET LOCAL enable_seqscan = off")
        for statement, arguments in statements:
            plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {statement}", *arguments))
            assert "Seq Scan" not in plan
            assert "Sort Key: t." not in plan
