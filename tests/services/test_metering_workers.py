import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import orjson
import pytest

from app.config import MetricSettings
from app.domain.errors import Contended, Unavailable
from app.domain.message import Message
from app.infra.db import Connection, Database
from app.services.event_check import check_event
from app.services.metering import Metering
from tests.services.measured import assert_same, due, expected, measure, meter_of, stored
from tests.services.stored_bars import BTC, StoredBars, tick
from tests.twins import FixedClock, MemoryBus


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def store(clean_database: Database) -> StoredBars:
    return StoredBars(clean_database)


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
