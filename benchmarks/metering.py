"""What metrics as bars close, and backfills, cost a worker: the time of its process for each bar."""

import asyncio
from datetime import UTC, datetime, timedelta
from statistics import median
from time import perf_counter, process_time

from app.config import MetricSettings
from app.infra.db import Database
from app.services.backfilling import Backfilling
from app.services.metering import Metering
from app.services.schemas.jobs import BackfillParams
from benchmarks.report import Row, judged
from benchmarks.stack import running_stack

LIVE, HISTORY_S, CYCLES = 1_000, 400, 5
CYCLES_S = (1, 2, 5)
PAIRS, REPLAYED_S = 17, 3_600
BARS_PER_S, SHARE = 5_000, 0.5

_BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
_FILL = """
WITH bars AS (
  INSERT INTO lake.bar
    (instrument, start, open, high, low, close, volume, notional, count, price_sum, first_at, last_at)
  SELECT name, at, price, price + 1, price - 1, price, 2, 2 * price, 10, 10 * price, at, at
  FROM unnest($1::text[]) name, generate_series($2::timestamptz, $3::timestamptz, interval '1 second') at,
       LATERAL (SELECT 100 + 50 * random() AS price WHERE at IS NOT NULL) prices
  RETURNING instrument, start
)
INSERT INTO lake.bar_due AS d (instrument, from_start, to_start)
SELECT instrument, min(start), max(start) FROM bars GROUP BY 1
ON CONFLICT (instrument) DO UPDATE SET from_start = least(d.from_start, excluded.from_start),
  to_start = greatest(d.to_start, excluded.to_start)
"""


class SetClock:
    """A clock that is set."""

    def __init__(self) -> None:
        self._now = _BEGIN

    def now(self) -> datetime:
        """Tell the time."""
        return self._now

    def set(self, second: int) -> None:
        """Let everything up to a second after the beginning be closed."""
        self._now = _BEGIN + timedelta(seconds=second + 1)


class Bench:
    """Bars of made-up instruments, and what measures them."""

    def __init__(self, database: Database, names: list[str]) -> None:
        self.database = database
        self.clock = SetClock()
        self.metering = Metering(database, self.clock, settings=MetricSettings())
        self._names = names

    async def add(self, begin_s: int, end_s: int) -> None:
        """Store a bar a second of each instrument, and let them close."""
        async with self.database.connection() as connection:
            await connection.execute("SELECT lake.ensure_partitions('lake.bar', ARRAY[$1::timestamptz])", _BEGIN)
            times = (_BEGIN + timedelta(seconds=begin_s), _BEGIN + timedelta(seconds=end_s - 1))
            await connection.execute(_FILL, self._names, *times)
        self.clock.set(end_s)

    async def measure(self) -> tuple[float, float]:
        """Measure all that is due; answers the seconds passed and those this process worked."""
        begun, worked = perf_counter(), process_time()
        while await self.metering.meter():
            pass
        return perf_counter() - begun, process_time() - worked


async def _live(database: Database) -> list[Row]:
    bench = Bench(database, [f"L{number}-USD" for number in range(LIVE)])
    await bench.add(0, HISTORY_S)
    await bench.measure()
    rows: list[Row] = []
    second = HISTORY_S
    for cycle_s in CYCLES_S:
        worked: list[float] = []
        for _ in range(CYCLES):
            await bench.add(second, second + cycle_s)
            second += cycle_s
            worked.append((await bench.measure())[1] * 1e6 / (LIVE * cycle_s))
        what = f"µs of the worker for each bar of {LIVE:,} live instruments, measured every {cycle_s} s"
        # Busy with so many bars, a worker looks that seldom: half of the time it rests.
        bar = f"<= {1e6 * SHARE / BARS_PER_S:g}" if cycle_s == CYCLES_S[-1] else ""
        rows.append(judged(Row(what, median(worked), None, bar)))
    return rows


async def _replay(database: Database) -> list[Row]:
    names = [f"R{number}-USD" for number in range(PAIRS)]
    bench = Bench(database, names)
    await bench.add(0, REPLAYED_S)
    passed, worked = await bench.measure()
    bars = PAIRS * REPLAYED_S
    begun = perf_counter()
    params = BackfillParams(instruments=names, interval_s=1)
    counts = await Backfilling(database, bench.clock).run(params, _Silent())
    spent = perf_counter() - begun
    return [
        judged(Row(f"bars/s of {PAIRS} instruments behind by an hour", bars / passed, None, f">= {BARS_PER_S}")),
        judged(Row("share of a core that the worker takes of it", worked / passed)),
        judged(Row("moments/s of a backfill: features, metrics, three outcomes", bars / spent)),
        judged(Row("rows/s that it stores", counts["rows"] / spent)),
    ]


class _Silent:
    async def advance(self, _: float) -> None:
        """Tell nobody."""


async def _run(database_url: str) -> list[Row]:
    database = Database(database_url, pool_size=4, connect_timeout_s=5.0, timeout_s=60.0, name="benchmark")
    await database.open()
    try:
        return [*await _live(database), *await _replay(database)]
    finally:
        await database.close()


def measure_metering() -> list[Row]:
    """Measure live instruments, a history that came all at once, and a backfill."""
    with running_stack(SOLVER_METRICS__ENABLED="false") as stack:
        return asyncio.run(_run(stack.database_url))
