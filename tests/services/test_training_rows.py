import math
import random
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from app.domain.features.catalog import MARKET_NAMES
from app.infra.db import Database
from app.services.backfilling import Backfilling
from app.services.schemas.jobs import BackfillParams
from app.services.training_rows import TrainingHistory, TrainingRows
from tests.services.stored_bars import BTC, StoredBars, tick
from tests.services.test_backfilling import Steps
from tests.twins import START, FixedClock

HORIZON_S = 300


@pytest.fixture
def store(clean_database: Database) -> StoredBars:
    return StoredBars(clean_database)


async def backfill(database: Database) -> None:
    clock = FixedClock(START + timedelta(days=2))
    await Backfilling(database, clock).run(BackfillParams(horizons_s=[60, HORIZON_S]), Steps())


async def database_time(database: Database) -> datetime:
    async with database.connection() as connection:
        moment: datetime = await connection.fetchval("SELECT clock_timestamp()")
        return moment


async def ask(database: Database, as_of: datetime) -> TrainingRows:
    return await TrainingHistory(database).rows(
        [BTC, "ETH-USD"], START, START + timedelta(days=2), as_of=as_of, horizon_s=HORIZON_S, interval_s=60
    )


def assert_same(rows: TrainingRows, other: TrainingRows) -> None:
    assert rows.instruments == other.instruments
    for name in ("event_s", "features", "outcomes"):
        np.testing.assert_array_equal(getattr(rows, name), getattr(other, name))


async def test_what_comes_later_changes_no_answer(clean_database: Database, store: StoredBars) -> None:
    pick = random.Random(4)
    await store.add([tick(second, 100 + pick.random()) for second in range(0, 9_000, 7)])
    await backfill(clean_database)
    as_of = await database_time(clean_database)
    before = await ask(clean_database, as_of)
    assert len(before.event_s) > 100

    # Prices between others, prices that change the last bars and others that lengthen the history at both ends.
    late = [tick(second, 300.0) for second in (-500, 1_001, 1_002, 4_000, 8_999, 9_100)]
    await store.add([*late, tick(3_000, 50.0, "ETH-USD")])
    await backfill(clean_database)
    assert_same(await ask(clean_database, as_of), before)
    now = await ask(clean_database, await database_time(clean_database))
    assert len(now.event_s) > len(before.event_s)
    assert now.outcomes.max() > before.outcomes.max()


async def test_outcomes_are_no_features_and_stand_beside_their_moment(
    clean_database: Database, store: StoredBars
) -> None:
    closes = [100 * math.exp(1e-4 * minute) for minute in range(60)]
    await store.add([tick(60 * minute, close) for minute, close in enumerate(closes)])
    await backfill(clean_database)
    rows = await ask(clean_database, await database_time(clean_database))
    assert rows.feature_names == MARKET_NAMES
    assert rows.features.shape == (len(rows.event_s), len(MARKET_NAMES))
    assert not set(rows.feature_names) & set(rows.outcome_names)
    # The last one ends in a minute of silence, which repeats the close.
    np.testing.assert_allclose(rows.outcomes[:, 0], [5.0] * 55 + [4.0], atol=1e-9)
    assert (rows.event_s - START.timestamp()).tolist() == [60.0 * minute for minute in range(1, 57)]


async def test_an_outcome_is_not_seen_before_its_horizon_has_passed(
    clean_database: Database, store: StoredBars
) -> None:
    await store.add([tick(second) for second in range(0, 3_600, 30)])
    await backfill(clean_database)
    async with clean_database.transaction() as connection:
        # As if everything had been known when it happened.
        for table, wait in (("feature_history", 0), ("outcome", HORIZON_S)):
            await connection.execute(
                f"UPDATE warehouse.{table} SET known_ts = event_ts + make_interval(secs => $1)", float(wait)
            )
    as_of = START + timedelta(seconds=1_800)
    rows = await ask(clean_database, as_of)
    assert rows.event_s.max() + HORIZON_S == as_of.timestamp()
    assert len((await ask(clean_database, START + timedelta(seconds=HORIZON_S))).event_s) == 0
    assert datetime.fromtimestamp(rows.event_s.min(), UTC) == START + timedelta(seconds=60)
