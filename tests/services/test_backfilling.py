import asyncio
import math
import random
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from app.config import MetricSettings
from app.domain.features.catalog import MARKET_NAMES, schema_hash
from app.domain.features.vectors import market_vector
from app.domain.metrics.catalog import INDICATOR_NAMES
from app.domain.metrics.measuring import compute
from app.infra.db import Database
from app.infra.repositories import history as repository
from app.services.backfilling import Backfilling
from app.services.jobs import JobStopped
from app.services.metering import Metering
from app.services.schemas.jobs import BackfillParams
from tests.services.stored_bars import BTC, StoredBars, tick
from tests.twins import START, FixedClock

START_S = START.timestamp()
DAY = 86_400
TABLES = ("feature_history", "outcome", "metric")


class Steps:
    """Notes the progress of a job, and may stop it."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.seen: list[float] = []
        self._stop_after = stop_after

    async def advance(self, progress: float) -> None:
        """Note the progress."""
        self.seen.append(progress)
        if len(self.seen) == self._stop_after:
            raise JobStopped


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(START + timedelta(days=10))


@pytest.fixture
def store(clean_database: Database) -> StoredBars:
    return StoredBars(clean_database)


@pytest.fixture
def backfilling(clean_database: Database, clock: FixedClock) -> Backfilling:
    return Backfilling(clean_database, clock)


def params(**fields: Any) -> BackfillParams:
    return BackfillParams.model_validate(fields)


def walk(begin: int, count: int, seed: int = 5, instrument: str = BTC) -> list[Any]:
    pick, price, second, ticks = random.Random(seed), 100.0, begin, []
    for _ in range(count):
        second += pick.choice([1, 5, 20, 40, 100])
        price *= math.exp(pick.gauss(0, 1e-3))
        # Of such prices and sizes sums are exact in any order.
        ticks.append(tick(second, round(price * 64) / 64, instrument, float(pick.randrange(4))))
    return ticks


async def count(database: Database) -> dict[str, int]:
    async with database.connection() as connection:
        return {table: await connection.fetchval(f"SELECT count(*) FROM warehouse.{table}") for table in TABLES}


async def everything(database: Database) -> list[Any]:
    async with database.connection() as connection:
        return [
            [
                tuple(row)
                for row in await connection.fetch(f"SELECT to_jsonb(t)::text FROM warehouse.{table} t ORDER BY 1")
            ]
            for table in TABLES
        ]


async def test_history_is_that_of_the_domain(
    clean_database: Database, store: StoredBars, backfilling: Backfilling
) -> None:
    await store.add(walk(0, 1_600))
    steps = Steps()
    result = await backfilling.run(params(interval_s=60, horizons_s=[60, 300]), steps)
    bars = store.bars(BTC, 60)
    async with clean_database.connection() as connection:
        known = await connection.fetchval("SELECT max(known_at) FROM lake.bar")
        features = await connection.fetch("SELECT * FROM warehouse.feature_history ORDER BY event_ts")
        metrics = await connection.fetch("SELECT * FROM warehouse.metric ORDER BY event_ts")
        outcomes = await connection.fetch("SELECT * FROM warehouse.outcome WHERE horizon_s = 300 ORDER BY event_ts")
    assert result == {"chunks": 2, "skipped": 0, "rows": sum((await count(clean_database)).values())}
    assert steps.seen == [0.5, 1.0]
    ends = [end for end in _grid(bars.start[0], bars.start[-1]) if len(bars.window(_at(end)))]
    assert [row["event_ts"].timestamp() for row in features] == ends
    assert [row["event_ts"].timestamp() for row in metrics] == ends
    for row in features:
        np.testing.assert_array_equal(row["values"], market_vector(bars, (), row["event_ts"]))
        assert row["known_ts"] == known
        assert (row["instrument"], row["interval_s"], row["schema_hash"]) == (BTC, 60, schema_hash())
    for row in metrics:
        np.testing.assert_array_equal(row["values"], compute(bars.window(row["event_ts"]), INDICATOR_NAMES))
    closes = {float(start): close for start, close in zip(bars.start, bars.close, strict=True)}
    assert len(outcomes) > 100
    for row in outcomes:
        end = row["event_ts"].timestamp()
        if end - 60 in closes and end + 240 in closes:
            assert row["values"][0] == pytest.approx(math.log(closes[end + 240] / closes[end - 60]) * 1e4, abs=1e-9)


def _grid(first: float, last: float) -> list[float]:
    return [first + 60 * step for step in range(1, int((last - first) / 60) + 4)]


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


async def test_done_parts_are_skipped_until_their_bars_change(
    clean_database: Database, store: StoredBars, backfilling: Backfilling
) -> None:
    await store.add(walk(0, 300) + walk(2 * DAY, 300) + walk(2 * DAY, 50, instrument="ETH-USD"))
    first = await backfilling.run(params(), Steps())
    rows = await count(clean_database)
    assert first == {"chunks": 3, "skipped": 0, "rows": sum(rows.values())}
    assert await backfilling.run(params(), Steps()) == {"chunks": 3, "skipped": 3, "rows": 0}
    assert await backfilling.run(params(instruments=[BTC]), Steps()) == {"chunks": 2, "skipped": 2, "rows": 0}
    await store.add([tick(2 * DAY + 300, 90.0)])
    again = await backfilling.run(params(), Steps())
    assert (again["chunks"], again["skipped"]) == (3, 2)
    assert 0 < again["rows"] < rows["feature_history"]
    assert sum((await count(clean_database)).values()) == first["rows"] + again["rows"]


async def test_a_job_that_was_cut_off_goes_on_where_it_was(
    clean_database: Database, store: StoredBars, backfilling: Backfilling
) -> None:
    await store.add(walk(0, 100) + walk(DAY, 100) + walk(2 * DAY, 100))
    with pytest.raises(JobStopped):
        await backfilling.run(params(), Steps(stop_after=2))
    result = await backfilling.run(params(), Steps())
    assert (result["chunks"], result["skipped"]) == (3, 2)


@pytest.mark.parametrize("lost", ["finish_part", "add", "take_turn"])
async def test_a_part_that_died_on_the_way_is_done_again_without_doubles(
    clean_database: Database, store: StoredBars, backfilling: Backfilling, clock: FixedClock, lost: str
) -> None:
    await store.add(walk(0, 200))
    await backfilling.run(params(), Steps())
    wanted = await everything(clean_database)
    async with clean_database.transaction() as connection:
        await connection.execute("DELETE FROM warehouse.backfill_chunk")
        # As if it had died between the tables, or between a table and the note that it was done.
        if lost != "finish_part":
            await connection.execute("DELETE FROM warehouse.outcome")
        if lost == "take_turn":
            await connection.execute("DELETE FROM warehouse.feature_history WHERE event_ts > $1", _at(START_S + 3_000))
    again = await Backfilling(clean_database, clock).run(params(), Steps())
    assert again["skipped"] == 0
    assert await everything(clean_database) == wanted


async def test_parts_in_any_order_and_at_once_come_to_the_same(
    clean_database: Database, store: StoredBars, backfilling: Backfilling, clock: FixedClock
) -> None:
    await store.add(walk(0, 300) + walk(DAY, 300))
    async with clean_database.connection() as connection:
        seen = await repository.days_with_bars(connection, BTC, begin=_at(0), end=clock.now())
    assert seen == [date(2026, 1, 5), date(2026, 1, 6)]
    await asyncio.gather(*(Backfilling(clean_database, clock).run(params(), Steps()) for _ in range(3)))
    twice = await everything(clean_database)
    versions = await count(clean_database)
    assert await backfilling.run(params(), Steps()) == {"chunks": 2, "skipped": 2, "rows": 0}
    assert await everything(clean_database) == twice
    async with clean_database.connection() as connection:
        moments = await connection.fetchval(
            "SELECT count(DISTINCT (event_ts, interval_s)) FROM warehouse.feature_history"
        )
    assert versions["feature_history"] == moments


async def test_what_was_measured_live_is_not_measured_again(
    clean_database: Database, store: StoredBars, backfilling: Backfilling, clock: FixedClock
) -> None:
    await store.add(walk(0, 300))
    metering = Metering(clean_database, clock, settings=MetricSettings())
    while await metering.meter():
        pass
    before = (await count(clean_database))["metric"]
    for interval_s in (1, 60):
        result = await backfilling.run(params(what=["metrics"], interval_s=interval_s), Steps())
        assert result["rows"] == 0
    assert (await count(clean_database))["metric"] == before
    async with clean_database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM lake.bar_due") == 0


async def test_books_that_were_sampled_are_among_the_features(
    clean_database: Database, store: StoredBars, backfilling: Backfilling
) -> None:
    await store.add(walk(0, 50))
    async with clean_database.transaction() as connection:
        await connection.execute("SELECT lake.ensure_partitions('lake.book_sample', ARRAY[$1::timestamptz])", START)
        await connection.execute(
            "INSERT INTO lake.book_sample (instrument, at, values) VALUES ($1, $2, '{1,2,3,4,5,6,7}')",
            BTC,
            _at(START_S + 180),
        )
    await backfilling.run(params(what=["features"]), Steps())
    async with clean_database.connection() as connection:
        rows = await connection.fetch("SELECT event_ts, values FROM warehouse.feature_history ORDER BY event_ts")
    spread = {
        row["event_ts"].timestamp() - START_S: row["values"][MARKET_NAMES.index("relative_spread")] for row in rows
    }
    assert {end for end, value in spread.items() if value == 1.0} == {180.0, 240.0}
    assert sum(math.isnan(value) for value in spread.values()) == len(spread) - 2


async def test_only_the_wanted_moments_are_computed(
    clean_database: Database, store: StoredBars, backfilling: Backfilling
) -> None:
    await store.add([tick(second) for second in range(0, 4_000)])
    wanted = params(
        **{"from": START + timedelta(seconds=600), "to": START + timedelta(seconds=1_800)},
        what=["features"],
        interval_s=60,
        every_s=300,
    )
    await backfilling.run(wanted, Steps())
    async with clean_database.connection() as connection:
        rows = await connection.fetch("SELECT event_ts FROM warehouse.feature_history ORDER BY 1")
    assert [row[0].timestamp() - START_S for row in rows] == [600, 900, 1_200, 1_500]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"interval_s": 7}, "divide a day"),
        ({"interval_s": 60, "every_s": 90}, "multiple of interval_s"),
        ({"interval_s": 60, "horizons_s": [90]}, "multiples of interval_s"),
        ({"what": ["labels"]}, "features"),
        ({"from": "2026-01-02T00:00:00Z", "to": "2026-01-02T00:00:00Z"}, "before"),
    ],
)
def test_a_backfill_that_can_not_be_is_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        params(**fields)


def test_parameters_are_kept_under_the_names_they_came_with() -> None:
    text = params(**{"from": "2026-01-02T00:00:00Z"}).model_dump_json(exclude_none=True)
    assert '"from":"2026-01-02T00:00:00Z"' in text
    assert BackfillParams.model_validate_json(text).begin == datetime(2026, 1, 2, tzinfo=UTC)
