import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from datetime import datetime

import asyncpg
import pytest

from app.domain.errors import Unavailable
from app.infra.db import Database
from app.workers.main import run_worker
from tests import scenarios
from tests.scenarios import WITHIN_S, Desk
from tests.services.stored_bars import StoredBars, tick
from tests.twins import START

CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'solver-worker%'"


@pytest.fixture
async def desk(clean_database: Database, postgres_url: str) -> AsyncIterator[Desk]:
    async with scenarios.desk(postgres_url, pipeline={"sweep_s": 0.1}) as desk:
        await desk.list_markets()
        yield desk
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().remove_signal_handler(number)


async def ended(worker: "asyncio.Task[None]") -> None:
    """Tell a worker to stop, as a supervisor does, and wait for its end."""
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(WITHIN_S):
        await worker


async def insist(desk: Desk, key: str) -> None:
    """Ask for a route again and again until it is accepted, as a client does."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            with contextlib.suppress(Unavailable):
                await desk.request(key=key)
                return


async def test_a_worker_works_until_it_is_told_to_stop(desk: Desk) -> None:
    worker = asyncio.create_task(run_worker(desk.services, desk.stages))
    routes = [(await desk.request()).route_id for _ in range(3)]
    await desk.until("SELECT count(*) = 3 FROM lake.route WHERE event_count = 12")
    await ended(worker)
    for route_id in routes:
        assert (await desk.trail(route_id))[-1] == (12, "route_update.existence_ok", "ready")


async def test_a_schedule_runs_by_itself(desk: Desk) -> None:
    worker = asyncio.create_task(run_worker(desk.services, desk.stages))
    route_id = (await desk.request(schedule={"kind": "twap", "horizon_s": 3, "slices": 3})).route_id
    await desk.until("SELECT revision = 3 FROM lake.route")
    await ended(worker)
    times = await desk.fetch(
        "SELECT document->'slices'->0->>'at' AS at, inputs->>'as_of' AS as_of FROM warehouse.solution ORDER BY revision"
    )
    due = [datetime.fromisoformat(row["at"]) for row in times]
    assert [round((moment - due[0]).total_seconds(), 3) for moment in due] == [0.0, 1.0, 2.0]
    assert all(moment <= datetime.fromisoformat(row["as_of"]) for moment, row in zip(due, times, strict=True))
    solved = [step for step in await desk.trail(route_id) if step[1] == "route_update.solution_ok"]
    assert [status for _, _, status in solved] == ["ready"] * 3


async def test_a_worker_of_one_stage_leaves_the_others(desk: Desk) -> None:
    worker = asyncio.create_task(run_worker(desk.services, desk.stages, only=["features"]))
    route_id = (await desk.request()).route_id
    await desk.until("SELECT count(*) = 1 FROM warehouse.feature")
    await ended(worker)
    assert await desk.status(route_id) == "features_ready"


async def test_a_worker_outlives_a_lost_database(desk: Desk, postgres_owner_url: str) -> None:
    worker = asyncio.create_task(run_worker(desk.services, desk.stages))
    owner = await asyncpg.connect(postgres_owner_url)
    try:
        for number in range(3):
            await owner.execute(CUT)
            await insist(desk, f"k{number}")
            await desk.until(f"SELECT count(*) = {number + 1} FROM lake.route WHERE status = 'ready'")
    finally:
        await owner.close()
    assert not worker.done()
    await ended(worker)


async def test_a_worker_measures_bars_and_samples_books(desk: Desk, clean_database: Database) -> None:
    worker = asyncio.create_task(run_worker(desk.services, desk.stages))
    now = desk.services.clock.now().timestamp()
    store = StoredBars(clean_database)
    await store.add([tick(now - START.timestamp() - back) for back in range(200, 100, -1)])
    await desk.until("SELECT count(*) >= 160 FROM warehouse.metric WHERE interval_s = 1")
    await desk.until("SELECT count(*) >= 2 FROM lake.book_sample WHERE instrument = 'BTC-USD'")
    await ended(worker)
    names = await desk.fetch("SELECT names FROM warehouse.metric JOIN warehouse.metric_set USING (set_hash)")
    assert {name.partition(".")[0] for row in names for name in row["names"]} == {"ts", "ta"}
