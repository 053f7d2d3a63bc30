import asyncio
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import numpy as np
import orjson
import pytest

from app.config import MetricSettings
from app.domain.bars import Bars
from app.domain.errors import Contended, Unavailable
from app.domain.message import Message
from app.domain.metrics.catalog import INDICATOR_NAMES, SECOND_NAMES
from app.domain.metrics.measuring import compute
from app.domain.metrics.plugins import Plugins
from app.infra.db import Connection, Database
from app.services.event_check import check_event
from app.services.metering import Metering
from app.services.ports import Bus
from tests.services.stored_bars import BTC, StoredBars, tick
from tests.twins import START, FixedClock, MemoryBus

START_S = START.timestamp()


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def store(clean_database: Database) -> StoredBars:
    return StoredBars(clean_database)


def meter_of(database: Database, clock: FixedClock, *, bus: Bus | None = None, **settings: Any) -> Metering:
    return Metering(database, clock, settings=MetricSettings(**settings), bus=bus)


async def measure(metering: Metering) -> None:
    while await metering.meter():
        pass


async def stored(database: Database, interval_s: int = 1, instrument: str = BTC) -> dict[float, list[list[float]]]:
    """Read all versions of every moment, oldest first."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT extract(epoch FROM event_ts)::float8, values FROM warehouse.metric
            WHERE instrument = $1 AND interval_s = $2 ORDER BY event_ts, known_ts
            """,
            instrument,
            interval_s,
        )
    versions: dict[float, list[list[float]]] = {}
    for event_s, values in rows:
        versions.setdefault(event_s, []).append(values)
    return versions


async def due(database: Database) -> list[str]:
    async with database.connection() as connection:
        return [row[0] for row in await connection.fetch("SELECT instrument FROM lake.bar_due ORDER BY 1")]


def expected(
    store: StoredBars, closed: float, interval_s: int = 1, instrument: str = BTC, names: Sequence[str] = SECOND_NAMES
) -> dict[float, list[float]]:
    """Measure the window of every moment up to `closed`, in seconds after the start, one by one."""
    bars = store.bars(instrument, interval_s)
    found: dict[float, list[float]] = {}
    end = bars.start[0]
    while (end := end + interval_s) <= START_S + closed:
        window = bars.window(tick(end - START_S).at)
        if len(window):
            found[end] = compute(window, names).tolist()
    return found


def assert_same(versions: dict[float, list[list[float]]], wanted: dict[float, list[float]]) -> None:
    """Compare the latest versions, bit for bit."""
    assert list(versions) == list(wanted)
    for event_s, values in wanted.items():
        np.testing.assert_array_equal(versions[event_s][-1], values, err_msg=str(event_s - START_S))


def walk(seed: int, begin: int, count: int, *, instrument: str = BTC, silence: float = 0.2) -> list[Any]:
    pick, price, second, ticks = random.Random(seed), 100.0, begin, []
    for _ in range(count):
        second += pick.choice([3, 30, 59, 60, 61, 62, 200]) if pick.random() < silence else 1
        for _ in range(pick.randrange(1, 4)):
            price *= math.exp(pick.gauss(0, 1e-3))
            ticks.append(tick(second + pick.random(), price, instrument, float(pick.randrange(3))))
    return ticks


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


Hook = Callable[[], Awaitable[None]]


class BrokenDatabase:
    """A database whose n-th transaction fails at its end, before or after the commit."""

    def __init__(self, database: Database, fails: int, *, is_committed: bool, meanwhile: Hook | None = None) -> None:
        self._database = database
        self._left = fails
        self._is_committed = is_committed
        self._meanwhile = meanwhile
        self.connection = database.connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Lend a connection whose statements commit together, or not at all."""
        self._left -= 1
        if self._left:
            async with self._database.transaction() as connection:
                yield connection
            return
        async with self._database.transaction() as connection:
            yield connection
            if self._meanwhile is not None:
                await self._meanwhile()
            if not self._is_committed and self._meanwhile is None:
                raise Unavailable("cut off")
        if self._is_committed:
            raise Unavailable("cut off")


class BrokenBus(MemoryBus):
    """A bus that takes the first messages and then fails, until told otherwise."""

    def __init__(self, taken: int) -> None:
        super().__init__()
        self.taken = taken
        self.messages: list[Message] = []

    async def publish(self, messages: Sequence[Message]) -> None:
        """Keep messages."""
        for message in messages:
            if self.taken == 0:
                raise Unavailable("the broker is away")
            self.taken -= 1
            self.messages.append(message)


async def free(database: Database) -> None:
    """Let the leases of the dead run out."""
    async with database.connection() as connection:
        await connection.execute("UPDATE lake.bar_due SET leased_until = now() - interval '1 second'")


@pytest.mark.parametrize("is_committed", [False, True])
@pytest.mark.parametrize("fails", range(1, 5))
async def test_dying_at_any_step_loses_and_doubles_nothing(
    clean_database: Database, store: StoredBars, clock: FixedClock, fails: int, is_committed: bool
) -> None:
    bus = BrokenBus(10_000)
    await store.add([tick(second, 100 + second % 3) for second in range(20)])
    clock.advance(300)
    broken: Any = BrokenDatabase(clean_database, fails, is_committed=is_committed)
    with pytest.raises(Unavailable):
        await measure(meter_of(broken, clock, bus=bus))
    await free(clean_database)
    await measure(meter_of(clean_database, clock, bus=bus))
    assert await due(clean_database) == []
    versions = await stored(clean_database)
    assert_same(versions, expected(store, 299))
    assert {len(each) for each in versions.values()} == {1}
    await assert_rows_equal_messages(clean_database, bus)


@pytest.mark.parametrize("taken", [0, 7])
async def test_a_broker_that_is_away_gets_every_row_in_the_end(
    clean_database: Database, store: StoredBars, clock: FixedClock, taken: int
) -> None:
    bus = BrokenBus(taken)
    metering = meter_of(clean_database, clock, bus=bus)
    await store.add([tick(second, 100 + second % 3) for second in range(20)])
    clock.advance(10)
    for _ in range(2):
        with pytest.raises(Unavailable):
            await metering.meter()
        await free(clean_database)
    await store.add([tick(3.5, 120)])
    clock.advance(300)
    bus.taken = 10_000
    await measure(metering)
    assert_same(await stored(clean_database), expected(store, 309))
    await assert_rows_equal_messages(clean_database, bus)
    assert await due(clean_database) == []


async def assert_rows_equal_messages(database: Database, bus: BrokenBus) -> None:
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT instrument, interval_s, event_ts, known_ts, values, names
            FROM warehouse.metric JOIN warehouse.metric_set USING (set_hash)
            """
        )
    wanted = {
        (row["instrument"], row["interval_s"], row["event_ts"].timestamp(), row["known_ts"]): {
            name: None if math.isnan(value) else value for name, value in zip(row["names"], row["values"], strict=True)
        }
        for row in rows
    }
    said: dict[str, Any] = {}
    for message in bus.messages:
        event = check_event(message.body)
        assert message.key == event["subject"] == event["data"]["instrument"]
        assert message.attributes["id"] == event["id"]
        assert said.setdefault(event["id"], event["data"]) == event["data"]
    assert len(said) == len(wanted)
    for data in said.values():
        known_ts = [key for key in wanted if key[3].isoformat().replace("+00:00", "Z") == data["known_ts"]]
        assert known_ts
    assert sorted(orjson.dumps(data["values"]) for data in said.values()) == sorted(
        orjson.dumps(values) for values in wanted.values()
    )


async def test_a_late_worker_writes_nothing(clean_database: Database, store: StoredBars, clock: FixedClock) -> None:
    await store.add([tick(second) for second in range(20)])
    clock.advance(300)

    async def overtake() -> None:
        await free(clean_database)
        await measure(meter_of(clean_database, clock))

    class Overtaken(Metering):
        """Is overtaken while it computes."""

        async def _declare(self) -> None:
            await super()._declare()
            await overtake()

    with pytest.raises(Contended):
        await Overtaken(clean_database, clock, settings=MetricSettings()).meter()
    versions = await stored(clean_database)
    assert_same(versions, expected(store, 299))
    assert {len(each) for each in versions.values()} == {1}


async def test_prices_that_come_while_a_worker_measures_are_measured_too(
    clean_database: Database, store: StoredBars, clock: FixedClock
) -> None:
    await store.add([tick(second) for second in range(20)])
    clock.advance(300)

    class Interrupted(Metering):
        """Gets prices of what it has read already."""

        async def _changed(self, *arguments: Any) -> Any:
            if not is_late.is_set():
                is_late.set()
                await store.add([tick(5.5, 130)])
            return await super()._changed(*arguments)

    is_late = asyncio.Event()
    metering = Interrupted(clean_database, clock, settings=MetricSettings())
    await measure(metering)
    assert await due(clean_database) == [BTC]
    await measure(metering)
    assert_same(await stored(clean_database), expected(store, 299))
    assert await due(clean_database) == []


async def test_what_is_due_is_taken_though_writers_hold_some_of_it(
    clean_database: Database, store: StoredBars, clock: FixedClock, postgres_url: str
) -> None:
    await store.add([tick(0), tick(0, instrument="ETH-USD")])
    clock.advance(300)
    writer = await asyncpg.connect(postgres_url)
    try:
        await writer.execute("BEGIN")
        await writer.execute("UPDATE lake.bar_due SET changed_at = now() WHERE instrument = 'ETH-USD'")
        measuring = asyncio.create_task(measure(meter_of(clean_database, clock)))
        await writer.execute("COMMIT")
        await measuring
    finally:
        await writer.close()
    assert await due(clean_database) == []
