import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from app.domain.claim import Claim
from app.domain.errors import Unavailable
from app.domain.event import Stage
from app.infra.db import Database
from app.workers.consumer import Consumer
from tests import scenarios
from tests.scenarios import WITHIN_S, Desk


@pytest.fixture
async def desk(clean_database: Database, postgres_url: str) -> AsyncIterator[Desk]:
    async with scenarios.desk(postgres_url, pipeline={"batch": 2}) as desk:
        await desk.list_markets()
        yield desk


class Scripted:
    """A stage that meets the errors it is told to, and handles what comes after."""

    stage = Stage.FEATURES

    def __init__(self, desk: Desk, *errors: Exception) -> None:
        self.batches: list[list[Claim]] = []
        self.handled = asyncio.Event()
        self._errors = list(errors)
        self._runner = desk.stages.runners[Stage.FEATURES]
        self.wanted = 1

    async def run(self, claims: Sequence[Claim]) -> None:
        self.batches.append(list(claims))
        if self._errors:
            raise self._errors.pop(0)
        await self._runner.run(claims)
        self.wanted -= len(claims)
        if self.wanted <= 0:
            self.handled.set()


async def consume(desk: Desk, runner: Scripted) -> None:
    """Let a consumer work until its stage has handled what is wanted."""
    stop = asyncio.Event()
    consumer = asyncio.create_task(Consumer(runner, desk.stages.queue, poll_s=0.05).run(stop))
    async with asyncio.timeout(WITHIN_S):
        await asyncio.wait([consumer, asyncio.create_task(runner.handled.wait())], return_when=asyncio.FIRST_COMPLETED)
        assert not consumer.done()
        stop.set()
        await consumer


async def test_everything_due_is_handled_in_batches(desk: Desk) -> None:
    for _ in range(5):
        await desk.request()
    runner = Scripted(desk)
    runner.wanted = 5
    await consume(desk, runner)
    assert [len(batch) for batch in runner.batches] == [2, 2, 1]


async def test_what_an_outage_interrupts_is_no_attempt(desk: Desk) -> None:
    accepted = await desk.request()
    runner = Scripted(desk, Unavailable("away"), Unavailable("away"))
    await consume(desk, runner)
    assert [claim.attempts for batch in runner.batches for claim in batch] == [1, 1, 1]
    assert await desk.status(accepted.route_id) == "features_ready"


async def test_an_unforeseen_error_ends_no_consumer_and_counts(clean_database: Database, postgres_url: str) -> None:
    async with scenarios.desk(postgres_url, pipeline={"lease_s": 0.2}) as desk:
        await desk.list_markets()
        accepted = await desk.request()
        runner = Scripted(desk, ZeroDivisionError())
        await consume(desk, runner)
        assert [claim.attempts for batch in runner.batches for claim in batch] == [1, 2]
        assert await desk.status(accepted.route_id) == "features_ready"


async def test_a_consumer_begins_with_what_its_slot_held(desk: Desk) -> None:
    await desk.request()
    await desk.take(Stage.FEATURES)
    runner = Scripted(desk)
    await consume(desk, runner)
    assert [claim.token for batch in runner.batches for claim in batch] == [2]


async def test_retries_do_not_wait_for_the_end_of_what_is_new(desk: Desk) -> None:
    old = await desk.request()
    await desk.take(Stage.FEATURES)
    for _ in range(8):
        await desk.request()
    runner = Scripted(desk)
    runner.wanted = 9
    await consume(desk, runner)
    (position,) = [
        number for number, batch in enumerate(runner.batches) if any(claim.route_id == old.route_id for claim in batch)
    ]
    assert position < len(runner.batches) - 1
    assert len(runner.batches[position]) == 1


async def test_an_idle_consumer_stops_at_once(desk: Desk) -> None:
    stop = asyncio.Event()
    consumer = asyncio.create_task(Consumer(Scripted(desk), desk.stages.queue, poll_s=600.0).run(stop))
    await desk.request()
    await desk.settle()
    stop.set()
    async with asyncio.timeout(WITHIN_S):
        await consumer
