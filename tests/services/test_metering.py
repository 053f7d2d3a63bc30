import math
import random
from typing import Any

import numpy as np
import pytest

from app.config import MetricSettings
from app.domain.bars import Bars
from app.domain.metrics.catalog import INDICATOR_NAMES, SECOND_NAMES
from app.domain.metrics.plugins import Plugins
from app.infra.db import Database
from app.services.metering import Metering
from tests.services.measured import START_S, assert_same, due, expected, measure, meter_of, stored, walk
from tests.services.stored_bars import BTC, StoredBars, tick
from tests.twins import FixedClock


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def store(clean_database: Database) -> StoredBars:
    return StoredBars(clean_database)


async def test_every_moment_with_a_price_near_is_measured_once(
    clean_database: Database, store: StoredBars, clock: FixedClock
) -> None:
    metering = meter_of(clean_database, clock)
    await store.add([tick(0, 100), tick(1, 101), tick(5, 102)])
    await measure(metering)
    assert await stored(clean_database) == {}
    clock.advance(7.5)
    await measure(metering)
    assert_same(await stored(clean_database), expected(store, 6))
    clock.advance(200)
    await measure(metering)
    versions = await stored(clean_database)
    assert_same(versions, expected(store, 206))
    assert max(versions) == START_S + 66
    assert {len(each) for each in versions.values()} == {1}
    assert await due(clean_database) == []
    assert await metering.meter() is False


async def test_indicators_are_measured_on_longer_bars(
    clean_database: Database, store: StoredBars, clock: FixedClock
) -> None:
    metering = meter_of(clean_database, clock, intervals=(60, 300))
    ticks = walk(3, 0, 2_500, silence=0.01)
    for begin in range(0, len(ticks), 700):
        await store.add(ticks[begin : begin + 700])
        clock.advance(float(ticks[min(begin + 700, len(ticks)) - 1].at.timestamp()) - clock.now().timestamp())
        await measure(metering)
    clock.advance(1_000)
    await measure(metering)
    closed = clock.now().timestamp() - START_S - 1
    for interval_s in (60, 300):
        versions = await stored(clean_database, interval_s)
        assert_same(versions, expected(store, closed, interval_s, names=INDICATOR_NAMES))
        assert {len(each) for each in versions.values()} == {1}
    assert_same(await stored(clean_database), expected(store, closed))
    assert await due(clean_database) == []


@pytest.mark.parametrize("seed", range(4))
async def test_live_late_and_restarted_metrics_equal_those_of_the_whole_history(
    clean_database: Database, store: StoredBars, clock: FixedClock, seed: int
) -> None:
    pick = random.Random(seed)
    names = [BTC, "ETH-USD", "EUR-USD"]
    ticks = [each for name in names for each in walk(seed, 0, 120, instrument=name, silence=0.05)]
    ticks.sort(key=lambda each: each.at)
    late = pick.sample(ticks, 60)
    waiting = [each for each in ticks if each not in late]
    workers = [meter_of(clean_database, clock) for _ in range(2)]
    while waiting or late:
        clock.advance(pick.choice([0.4, 1, 1, 7, 70]))
        now = clock.now()
        come = [each for each in waiting if each.at <= now]
        waiting = waiting[len(come) :]
        behind = [each for each in late if each.at <= now and (not waiting or pick.random() < 0.1)]
        late = [each for each in late if each not in behind]
        await store.add(come + behind)
        if pick.random() < 0.1:
            workers[pick.randrange(2)] = meter_of(clean_database, clock)
        await measure(pick.choice(workers))
    clock.advance(400)
    await measure(pick.choice(workers))
    closed = clock.now().timestamp() - START_S - 1
    for name in names:
        assert_same(await stored(clean_database, 1, name), expected(store, closed, instrument=name))
        wanted = expected(store, closed, 60, name, INDICATOR_NAMES)
        assert_same(await stored(clean_database, 60, name), wanted)
    assert await due(clean_database) == []


async def test_a_late_price_adds_versions_only_where_something_changed(
    clean_database: Database, store: StoredBars, clock: FixedClock
) -> None:
    metering = meter_of(clean_database, clock)
    await store.add([tick(second, 100 + second % 3) for second in range(400)])
    clock.advance(1_000)
    await measure(metering)
    before = await stored(clean_database)
    await store.add([tick(50.5, 103)])
    await measure(metering)
    after = await stored(clean_database)
    assert_same(after, expected(store, 999))
    changed = [event_s - START_S for event_s, versions in after.items() if len(versions) == 2]
    assert changed == list(range(51, 351))
    assert all(np.array_equal(after[event_s][0], before[event_s][0], equal_nan=True) for event_s in before)
    assert await due(clean_database) == []


async def test_a_long_history_is_measured_in_parts(
    clean_database: Database, store: StoredBars, clock: FixedClock
) -> None:
    metering = meter_of(clean_database, clock)
    await store.add([tick(second, 100 + second % 7) for second in range(4_000)])
    await store.add([tick(-400_000_000)])
    clock.advance(5_000)
    assert await metering.meter()
    async with clean_database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM warehouse.metric WHERE interval_s = 1") == 3_600
    metering = meter_of(clean_database, clock)
    await measure(metering)
    versions = await stored(clean_database)
    assert len(versions) == 61 + 4_060
    assert {len(each) for each in versions.values()} == {1}
    assert await due(clean_database) == []


class Range:
    """A metric that someone else wrote."""

    name = "x.range"
    unit = "quote"
    description = "highest minus lowest price"
    least_bars = 2

    def compute(self, window: Bars) -> float:
        """Compute its value."""
        return float(window.high.max() - window.low.min())


async def test_metrics_of_plug_ins_are_measured_with_the_indicators(
    clean_database: Database, store: StoredBars, clock: FixedClock
) -> None:
    metering = Metering(clean_database, clock, settings=MetricSettings(intervals=(60,)), plugins=Plugins([Range()]))
    await store.add([tick(0, 100), tick(61, 104), tick(119, 99)])
    clock.advance(300)
    await measure(metering)
    versions = await stored(clean_database, 60)
    assert [each[0][-1] for each in versions.values()] == [pytest.approx(math.nan, nan_ok=True), 5.0, 5.0]
    async with clean_database.connection() as connection:
        sets = await connection.fetch("SELECT names FROM warehouse.metric_set ORDER BY cardinality(names)")
    assert [tuple(row[0]) for row in sets] == [SECOND_NAMES, (*INDICATOR_NAMES, "x.range")]


async def test_many_instruments_are_read_a_few_at_a_time(
    clean_database: Database, store: StoredBars, clock: FixedClock
) -> None:
    metering = meter_of(clean_database, clock)
    names = [f"A{number}-USD" for number in range(150)]
    await store.add([tick(0, instrument=name) for name in names])
    clock.advance(10)
    assert await metering.meter()
    async with clean_database.connection() as connection:
        assert await connection.fetchval("SELECT count(DISTINCT instrument) FROM warehouse.metric") == 64
    await measure(metering)
    await store.add([tick(9, instrument=name) for name in names])
    clock.advance(10)
    assert not await metering.meter()
    for name in names[::50]:
        assert_same(await stored(clean_database, 1, name), expected(store, 19, instrument=name))


async def test_a_silent_instrument_is_left_alone_until_its_next_moment(
    clean_database: Database, store: StoredBars, clock: FixedClock
) -> None:
    metering = meter_of(clean_database, clock)
    await store.add([tick(0)])
    clock.advance(90)
    await measure(metering)

    async def token() -> Any:
        async with clean_database.connection() as connection:
            return await connection.fetchval("SELECT token FROM lake.bar_due")

    before = await token()
    clock.advance(30)
    await measure(metering)
    assert await token() == before
    assert len(await stored(clean_database, 60)) == 1
    clock.advance(1)
    await measure(metering)
    assert len(await stored(clean_database, 60)) == 2
    assert await due(clean_database) == []
