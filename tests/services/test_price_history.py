import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import uuid4

import asyncpg
import numpy as np
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.bars import BAR_COLUMNS, Bars, Tick, aggregate
from app.domain.errors import Unavailable
from app.infra.db import Database
from app.infra.listener import Listener
from app.infra.repositories import prices as repository
from app.services.market_data import MarketData
from app.services.market_state import MarketState
from app.services.price_history import BARS_KEPT, PriceHistory
from app.services.schemas.prices import PriceIn
from tests.twins import START, FixedClock

COLUMNS = [column for column in BAR_COLUMNS if column != "start"]


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest_asyncio.fixture
async def prices(clean_database: Database, clock: FixedClock) -> AsyncIterator[PriceHistory]:
    market_data = MarketData(clean_database, MarketState(clean_database, clock))
    yield PriceHistory(clean_database, market_data.listing, clock)
    await market_data.close()


def price(at: datetime, value: str = "100", size: str = "1", instrument: str = "BTC-USD", **more: str) -> PriceIn:
    return PriceIn.model_validate({"instrument": instrument, "price": value, "size": size, "at": at, **more})


def random_prices(count: int, seed: int = 7) -> list[PriceIn]:
    # Prices and sizes are halves, so that sums are exact in any order; several ticks share a time.
    pick = random.Random(seed)
    return [
        price(
            START - timedelta(milliseconds=250 * pick.randrange(400)),
            str(pick.randrange(200, 240) / 2),
            str(pick.randrange(9) / 2),
            pick.choice(["BTC-USD", "ETH-USD"]),
            source=pick.choice(["a", "b"]),
            id=str(number),
        )
        for number in range(count)
    ]


def expected(ticks: Sequence[PriceIn], instrument: str) -> Bars:
    bars = aggregate(
        Tick(tick.instrument, float(tick.price), float(tick.size), tick.at, tick.source or "") for tick in ticks
    )
    return Bars.from_bars(instrument, bars)


def assert_same(bars: Bars, other: Bars) -> None:
    assert bars.instrument == other.instrument
    for column in BAR_COLUMNS:
        np.testing.assert_array_equal(getattr(bars, column), getattr(other, column), err_msg=column)
    assert not bars.is_gap_fill.any()
    assert bars.is_gap_fill.shape == bars.start.shape


async def test_bars_are_those_of_the_domain_however_ticks_arrive(prices: PriceHistory) -> None:
    ticks = random_prices(1_500)
    shuffled = random.Random(1).sample(ticks, len(ticks))
    parts = [shuffled[begin : begin + 100] for begin in range(0, len(ticks), 100)]
    # Every part twice, many at a time: what came before is not added again.
    added = await asyncio.gather(*(prices.write(part, default_source="x") for part in [*parts, *reversed(parts)]))
    assert sum(added) == len(ticks)
    for instrument in ("BTC-USD", "ETH-USD"):
        assert_same(await prices.bars(instrument), expected(ticks, instrument))


async def test_only_the_latest_bars_up_to_now_are_kept(prices: PriceHistory, clock: FixedClock) -> None:
    ticks = [price(START + timedelta(seconds=second)) for second in range(-BARS_KEPT - 50, 50)]
    await prices.write(ticks, default_source="x")
    bars = await prices.bars("BTC-USD")
    assert len(bars) == BARS_KEPT
    assert bars.start[-1] == START.timestamp()


async def test_bars_of_many_instruments_come_together(prices: PriceHistory) -> None:
    ticks = random_prices(200)
    await prices.write(ticks, default_source="x")
    found = await prices.bars_many(["BTC-USD", "ETH-USD", "NONE-USD"])
    assert list(found) == ["BTC-USD", "ETH-USD", "NONE-USD"]
    assert_same(found["BTC-USD"], expected(ticks, "BTC-USD"))
    assert_same(found["ETH-USD"], expected(ticks, "ETH-USD"))
    assert len(found["NONE-USD"]) == 0
    assert await prices.bars_many([]) == {}


async def test_callers_share_one_read(prices: PriceHistory) -> None:
    await prices.write([price(START)], default_source="x")
    first, *others = await asyncio.gather(*(prices.bars("BTC-USD") for _ in range(50)))
    assert len(first) == 1
    assert all(other is first for other in others)
    assert await prices.bars("BTC-USD") is first


async def test_own_write_is_seen_at_once(prices: PriceHistory) -> None:
    await prices.write([price(START)], default_source="x")
    assert (await prices.bars("BTC-USD")).close.tolist() == [100.0]
    await prices.write([price(START + timedelta(seconds=-1), "99"), price(START, "98")], default_source="x")
    assert (await prices.bars("BTC-USD")).close.tolist() == [99.0, 100.0]


async def test_outage_reaches_every_caller_and_ends(postgres_url: str, clean_database: Database) -> None:
    database = Database(postgres_url, pool_size=2, connect_timeout_s=1.0, timeout_s=5.0, name="tests-outage")
    market_data = MarketData(database, MarketState(database, FixedClock()))
    prices = PriceHistory(database, market_data.listing, FixedClock())
    answers = await asyncio.gather(*(prices.bars("BTC-USD") for _ in range(3)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unavailable] * 3
    await database.open()
    assert len(await prices.bars("BTC-USD")) == 0
    await database.close()


async def test_cancelled_caller_does_not_end_the_read_of_others(prices: PriceHistory) -> None:
    await prices.write([price(START)], default_source="x")
    tasks = [asyncio.create_task(prices.bars("BTC-USD")) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    _, second, third = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(second, Bars)
    assert second is third


async def test_ticks_and_bars_are_found_by_index(clean_database: Database, prices: PriceHistory) -> None:
    await prices.write(random_prices(2_000), default_source="x")
    span = (START - timedelta(days=1), START)
    statements = {
        repository._TICKS_DOWN: ("BTC-USD", *span, None, None, None, 10, None),
        repository._BARS_UP: ("BTC-USD", *span, 60, 10),
        repository._LATEST: (["BTC-USD"], START, 10),
        repository._ADD_UP: (["BTC-USD"], [START]),
    }
    async with clean_database.transaction() as connection:
        # A table this small is read in full unless that is ruled out; the plan then shows which index would serve.
        await connection.execute("SET LOCAL enable_seqscan = off")
        for statement, arguments in statements.items():
            plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {statement}", *arguments))
            assert "Seq Scan" not in plan
            assert "Index" in plan


async def test_what_changed_is_due_until_someone_measures_it(clean_database: Database, prices: PriceHistory) -> None:
    async def due() -> list[tuple[datetime, datetime]]:
        async with clean_database.connection() as connection:
            return [tuple(row) for row in await connection.fetch("SELECT from_start, to_start FROM lake.bar_due")]

    await prices.write([price(START + timedelta(seconds=3.5))], default_source="x")
    await prices.write([price(START + timedelta(seconds=1.5)), price(START + timedelta(seconds=2))], default_source="x")
    assert await due() == [(START + timedelta(seconds=1), START + timedelta(seconds=3))]
    async with clean_database.connection() as connection:
        await connection.execute("DELETE FROM lake.bar_due")
    await prices.write([price(START + timedelta(seconds=3.5))], default_source="x")
    assert await due() == []


async def test_whoever_measures_is_woken_once_an_instrument_becomes_due(
    postgres_url: str, clean_database: Database, prices: PriceHistory
) -> None:
    database = Database(postgres_url, pool_size=2, connect_timeout_s=5.0, timeout_s=5.0, name="tests-listen")
    listener = Listener(database)
    waker = listener.waker(repository.BAR_DUE)
    await listener.open()
    try:
        # It wakes everyone once it listens.
        await asyncio.wait_for(waker.wait(), timeout=10)
        waker.clear()
        await prices.write([price(START)], default_source="x")
        await asyncio.wait_for(waker.wait(), timeout=10)
    finally:
        await listener.close()


async def test_a_partition_dropped_meanwhile_is_made_again(
    clean_database: Database, prices: PriceHistory, postgres_owner_url: str
) -> None:
    old = START.replace(year=2025, month=3)
    await prices.write([price(old)], default_source="x")
    connection = await asyncpg.connect(postgres_owner_url)
    try:
        for parent in ("lake.price", "lake.bar"):
            await connection.execute("SELECT lake.drop_partitions($1, $2)", parent, old + timedelta(days=60))
    finally:
        await connection.close()
    assert await prices.write([price(old)], default_source="x") == 1


BATCH = st.lists(st.integers(0, 59), min_size=1, max_size=20)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(BATCH, min_size=1, max_size=6))
async def test_shuffled_late_and_repeated_batches_end_in_the_same_bars(
    prices: PriceHistory, batches: list[list[int]]
) -> None:
    # Each example has instruments of its own. Several ticks share their time, and many their second; their sums are no
    # floats that end soon.
    def pool(name: str) -> list[PriceIn]:
        return [
            price(
                START - timedelta(milliseconds=130 * (each // 2)),
                f"{1 + each % 7 / 10:.1f}",
                # Sums of the first are decimals that a float keeps, those of the others are not.
                repr(each % 11 / (10 if each < 20 else 7)),
                name,
                source="ab"[each % 2],
            )
            for each in range(60)
        ]

    mixed, ordered = (f"{letter}{uuid4().hex}-USD" for letter in "MO")
    ticks = pool(mixed)
    await asyncio.gather(*(prices.write([ticks[each] for each in batch], default_source="x") for batch in batches))
    sent = sorted({each for batch in batches for each in batch}, reverse=True)
    await prices.write([pool(ordered)[each] for each in sent], default_source="x")
    ended = await prices.bars(mixed)
    assert_same(ended, replace(await prices.bars(ordered), instrument=mixed))
    distinct = {(tick.source, tick.at, tick.price, tick.size): tick for tick in (ticks[each] for each in sent)}
    wanted = expected(list(distinct.values()), mixed)
    for column in BAR_COLUMNS:
        np.testing.assert_allclose(getattr(ended, column), getattr(wanted, column), rtol=1e-12, err_msg=column)


async def test_sums_are_those_of_the_decimals(prices: PriceHistory) -> None:
    ticks = [price(START, value, value, id=value) for value in ("0.1", "0.2", "0.3")]
    for tick in ticks:
        await prices.write([tick], default_source="x")
    bars = await prices.bars("BTC-USD")
    assert (bars.volume[0], bars.price_sum[0], bars.notional[0]) == (0.6, 0.6, 0.14)


async def test_without_its_ticks_a_bar_still_grows(clean_database: Database, prices: PriceHistory) -> None:
    await prices.write([price(START, "100", "2")], default_source="x")
    async with clean_database.connection() as connection:
        await connection.execute("DELETE FROM lake.price")
    await prices.write([price(START, "101", "3")], default_source="x")
    bars = await prices.bars("BTC-USD")
    assert (bars.volume[0], bars.price_sum[0], bars.count[0]) == (5.0, 201.0, 2.0)
