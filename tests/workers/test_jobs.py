import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import orjson
import pytest
from pydantic import BaseModel

from app.domain.errors import Unavailable
from app.domain.job import JobClaim
from app.infra.db import Database
from app.infra.listener import Listener
from app.infra.repositories.jobs import JOBS
from app.services.jobs import JobKind, Jobs, Progress
from app.services.schemas.jobs import JobIn
from app.workers.jobs import MAX_CLAIMS, JobRunner

Work = Callable[[BaseModel, Progress], Awaitable[dict[str, Any]]]
PATIENCE_S = 20.0


class Nothing(BaseModel):
    """No parameters."""


class Steps:
    """Work that goes one step each time it is let, and notes what it did."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.done: list[int] = []
        self.reached = asyncio.Semaphore(0)
        self.gate = asyncio.Semaphore(0)

    async def run(self, _: BaseModel, progress: Progress) -> dict[str, Any]:
        """Take the steps that are left."""
        while len(self.done) < self.count:
            self.reached.release()
            await self.gate.acquire()
            self.done.append(len(self.done))
            await progress.advance(len(self.done) / self.count)
        return {"steps": len(self.done)}


class WatchedJobs(Jobs):
    """Tells when a job was ended, given back or kept."""

    def __init__(self, database: Database, kinds: Mapping[str, JobKind]) -> None:
        super().__init__(database, kinds)
        self.ended = asyncio.Semaphore(0)
        self.kept = asyncio.Semaphore(0)

    async def finish(
        self, claim: JobClaim, status: str, *, result: dict[str, Any] | None = None, error: str | None = None
    ) -> None:
        """End a job."""
        await super().finish(claim, status, result=result, error=error)
        self.ended.release()

    async def renew(self, claim: JobClaim, *, progress: float | None, lease_s: float) -> bool | None:
        """Keep a lease."""
        stop = await super().renew(claim, progress=progress, lease_s=lease_s)
        if progress is None:
            self.kept.release()
        return stop


def jobs_of(database: Database, work: Work) -> WatchedJobs:
    return WatchedJobs(database, {"work": JobKind(Nothing, work)})


async def submit(jobs: Jobs) -> UUID:
    return UUID((await jobs.submit("desk", JobIn(kind="work")))["id"])


async def look(jobs: Jobs, identifier: UUID) -> dict[str, Any]:
    document: dict[str, Any] = orjson.loads(orjson.dumps(await jobs.get(identifier, program=None)))
    return document


async def end(jobs: WatchedJobs, identifier: UUID, status: str) -> dict[str, Any]:
    """Read a job once one has ended; it must be this one."""
    await asyncio.wait_for(jobs.ended.acquire(), PATIENCE_S)
    job = await look(jobs, identifier)
    assert job["status"] == status
    return job


@asynccontextmanager
async def running(jobs: Jobs, **options: Any) -> AsyncIterator[asyncio.Event]:
    stop = asyncio.Event()
    task = asyncio.create_task(JobRunner(jobs, **{"poll_s": 0.02, **options}).run(stop))
    try:
        yield stop
    finally:
        stop.set()
        await asyncio.wait_for(task, PATIENCE_S)


async def test_job_runs_to_its_end_and_tells_how_far_it_is(clean_database: Database) -> None:
    steps = Steps(4)
    jobs = jobs_of(clean_database, steps.run)
    identifier = await submit(jobs)
    async with running(jobs):
        await steps.reached.acquire()
        steps.gate.release()
        await steps.reached.acquire()
        halfway = await look(jobs, identifier)
        assert (halfway["status"], halfway["progress"]) == ("running", 0.25)
        for _ in range(3):
            steps.gate.release()
        ended = await end(jobs, identifier, "succeeded")
    assert ended["progress"] == 1.0
    assert ended["result"] == {"steps": 4}
    assert ended["started_at"] <= ended["finished_at"]


async def test_failed_job_says_why_and_the_next_one_runs(clean_database: Database) -> None:
    async def fail(_: BaseModel, progress: Progress) -> dict[str, Any]:
        await progress.advance(0.5)
        raise ArithmeticError("one over zero")

    jobs = jobs_of(clean_database, fail)
    first, second = await submit(jobs), await submit(jobs)
    async with running(jobs):
        for identifier in (first, second):
            ended = await end(jobs, identifier, "failed")
            assert ended["error"] == "ArithmeticError: one over zero"
            assert ended["progress"] == 0.5


async def test_cancelled_job_stops_at_its_next_step(clean_database: Database) -> None:
    steps = Steps(10)
    jobs = jobs_of(clean_database, steps.run)
    identifier = await submit(jobs)
    async with running(jobs):
        await steps.reached.acquire()
        cancelled = await jobs.cancel(identifier, program="desk")
        assert (cancelled["status"], cancelled["cancel_requested"]) == ("running", True)
        steps.gate.release()
        ended = await end(jobs, identifier, "cancelled")
    assert steps.done == [0]
    assert ended["finished_at"] is not None


async def test_stopping_worker_gives_its_job_to_the_next_one(clean_database: Database) -> None:
    steps = Steps(3)
    jobs = jobs_of(clean_database, steps.run)
    identifier = await submit(jobs)
    async with running(jobs) as stop:
        await steps.reached.acquire()
        stop.set()
        steps.gate.release()
    released = await look(jobs, identifier)
    assert (released["status"], steps.done) == ("queued", [0])
    steps.gate.release()
    steps.gate.release()
    async with running(jobs):
        assert (await end(jobs, identifier, "succeeded"))["result"] == {"steps": 3}
    assert steps.done == [0, 1, 2]


async def test_job_of_a_silent_worker_is_taken_over_and_the_late_one_commits_nothing(clean_database: Database) -> None:
    steps = Steps(2)
    jobs = jobs_of(clean_database, steps.run)
    identifier = await submit(jobs)
    silent = await jobs.claim(lease_s=0.0)
    assert silent is not None
    for _ in range(2):
        steps.gate.release()
    async with running(jobs):
        await end(jobs, identifier, "succeeded")
    assert await jobs.renew(silent, progress=0.9, lease_s=60.0) is None
    await jobs.finish(silent, "failed", error="late")
    assert (await look(jobs, identifier))["status"] == "succeeded"


async def test_worker_that_lost_its_lease_cuts_its_job_off(clean_database: Database) -> None:
    steps = Steps(2)
    jobs = jobs_of(clean_database, steps.run)
    identifier = await submit(jobs)
    async with running(jobs, lease_s=0.15):
        await steps.reached.acquire()
        async with clean_database.connection() as connection:
            await connection.execute("UPDATE lake.job SET claims = claims + 1, leased_until = now() - interval '1 h'")
        # The same worker, having been cut off, takes the job again and starts it from the top.
        await asyncio.wait_for(steps.reached.acquire(), PATIENCE_S)
        for _ in range(2):
            steps.gate.release()
        await end(jobs, identifier, "succeeded")
    assert steps.done == [0, 1]


async def test_lease_outlives_a_long_step(clean_database: Database) -> None:
    steps = Steps(1)
    jobs = jobs_of(clean_database, steps.run)
    identifier = await submit(jobs)
    async with running(jobs, lease_s=0.3):
        await steps.reached.acquire()
        for _ in range(4):
            await asyncio.wait_for(jobs.kept.acquire(), PATIENCE_S)
        assert await jobs.claim(lease_s=1.0) is None
        steps.gate.release()
        await end(jobs, identifier, "succeeded")


async def test_job_that_loses_every_worker_is_given_up(clean_database: Database) -> None:
    steps = Steps(1)
    jobs = jobs_of(clean_database, steps.run)
    identifier = await submit(jobs)
    for _ in range(MAX_CLAIMS):
        assert await jobs.claim(lease_s=0.0) is not None
    async with running(jobs):
        ended = await end(jobs, identifier, "failed")
    assert "lost 10 times" in ended["error"]
    assert steps.done == []


async def test_outage_is_no_failure(clean_database: Database) -> None:
    tries: list[int] = []

    async def flicker(_: BaseModel, progress: Progress) -> dict[str, Any]:
        tries.append(1)
        if len(tries) == 1:
            raise Unavailable("Postgres is away")
        return {}

    jobs = jobs_of(clean_database, flicker)
    identifier = await submit(jobs)
    async with running(jobs):
        await end(jobs, identifier, "succeeded")
    assert len(tries) == 2


async def test_new_job_wakes_an_idle_worker(clean_database: Database) -> None:
    steps = Steps(0)
    jobs = jobs_of(clean_database, steps.run)
    listener = Listener(clean_database)
    waker = listener.waker(JOBS)
    await listener.open()
    try:
        await asyncio.wait_for(waker.wait(), PATIENCE_S)
        async with running(jobs, waker=waker, poll_s=600.0):
            identifier = await submit(jobs)
            await end(jobs, identifier, "succeeded")
    finally:
        await listener.close()


async def test_each_job_is_run_by_one_worker(clean_database: Database) -> None:
    ran: list[int] = []

    async def note(_: BaseModel, progress: Progress) -> dict[str, Any]:
        ran.append(1)
        return {}

    jobs = jobs_of(clean_database, note)
    identifiers = [await submit(jobs) for _ in range(20)]
    async with running(jobs), running(jobs), running(jobs):
        for _ in identifiers:
            await asyncio.wait_for(jobs.ended.acquire(), PATIENCE_S)
    assert {(await look(jobs, identifier))["status"] for identifier in identifiers} == {"succeeded"}
    assert len(ran) == 20


async def test_unknown_kind_waits_for_a_worker_that_knows_it(clean_database: Database) -> None:
    steps = Steps(0)
    identifier = await submit(jobs_of(clean_database, steps.run))
    assert await Jobs(clean_database, {}).claim(lease_s=1.0) is None
    assert (await Jobs(clean_database, {}).get(identifier, program="desk"))["status"] == "queued"


@pytest.mark.parametrize("progress", [-1.0, 7.0])
async def test_progress_stays_between_zero_and_one(clean_database: Database, progress: float) -> None:
    async def boast(_: BaseModel, told: Progress) -> dict[str, Any]:
        await told.advance(progress)
        raise ValueError("end")

    jobs = jobs_of(clean_database, boast)
    identifier = await submit(jobs)
    async with running(jobs):
        ended = await end(jobs, identifier, "failed")
    assert ended["progress"] == min(1.0, max(0.0, progress))
