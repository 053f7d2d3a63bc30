"""What metering is compared with."""

import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from app.config import MetricSettings
from app.domain.metrics.catalog import SECOND_NAMES
from app.domain.metrics.measuring import compute
from app.infra.db import Database
from app.services.metering import Metering
from app.services.ports import Bus
from tests.services.stored_bars import BTC, StoredBars, tick
from tests.twins import START, FixedClock

START_S = START.timestamp()


def meter_of(database: Database, clock: FixedClock, *, bus: Bus | None = None, **settings: Any) -> Metering:
    """Make a worker's metering."""
    return Metering(database, clock, settings=MetricSettings(**settings), bus=bus)


async def measure(metering: Metering) -> None:
    """Measure all that is due."""
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
    """Name the instruments that are not measured yet."""
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
    """Make ticks of a random walk with silences."""
    pick, price, second, ticks = random.Random(seed), 100.0, begin, []
    for _ in range(count):
        second += pick.choice([3, 30, 59, 60, 61, 62, 200]) if pick.random() < silence else 1
        for _ in range(pick.randrange(1, 4)):
            price *= math.exp(pick.gauss(0, 1e-3))
            ticks.append(tick(second + pick.random(), price, instrument, float(pick.randrange(3))))
    return ticks
