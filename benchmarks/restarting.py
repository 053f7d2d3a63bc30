"""How long a process that just started needs until it has the vectors of 100 instruments, from stored bars alone."""

import asyncio
from datetime import UTC, datetime
from statistics import median
from time import perf_counter

import asyncpg

from app.domain.features.state import VectorState
from app.infra.clock import SystemClock
from app.infra.db import Database
from app.services.market_data import MarketData
from app.services.market_state import MarketState
from app.services.price_history import PriceHistory
from benchmarks.report import Row, judged
from benchmarks.stack import running_stack

INSTRUMENTS, SECONDS, STARTS = 100, 3_600, 7
WITHIN_S = 1.0

_FILL = f"""
INSERT INTO lake.bar (instrument, start, open, high, low, close, volume, notional, count, price_sum, first_at, last_at)
SELECT 'I' || i || '-USD', at, price, price + 1, price - 1, price, 2, 2 * price, 2, 2 * price, at, at
FROM generate_series(1, {INSTRUMENTS}) i, generate_series(0, {SECONDS - 1}) s,
     LATERAL (SELECT date_trunc('second', now()) - make_interval(secs => s) AS at, 100 + 50 * random() AS price) values
"""


async def _fill(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("SELECT lake.ensure_partitions('lake.bar', $1)", [datetime.now(UTC)])
        await connection.execute(_FILL)
    finally:
        await connection.close()


async def _start(database_url: str) -> float:
    names = [f"I{number}-USD" for number in range(1, INSTRUMENTS + 1)]
    begun = perf_counter()
    database = Database(database_url, pool_size=2, connect_timeout_s=5.0, timeout_s=10.0, name="benchmark")
    await database.open()
    try:
        clock = SystemClock()
        prices = PriceHistory(database, MarketData(database, MarketState(database, clock)).listing, clock)
        histories = await prices.bars_many(names)
        state = VectorState()
        for name in names:
            state.load(name, histories[name])
        vectors = state.vectors(clock.now())
        assert len(vectors) == INSTRUMENTS
        return perf_counter() - begun
    finally:
        await database.close()


def measure_restarting() -> list[Row]:
    """Measure the start with an hour of one-second bars stored for each of 100 instruments."""
    with running_stack() as stack:
        asyncio.run(_fill(stack.database_url))
        times = [asyncio.run(_start(stack.database_url)) for _ in range(STARTS)]
    what = f"s from a new process to the vectors of {INSTRUMENTS} instruments, stored bars alone"
    return [judged(Row(what, median(times), None, f"<= {WITHIN_S}", worst=max(times)))]
