import asyncio
from collections.abc import AsyncIterator

import pytest

from app.domain.event import Stage
from app.infra.db import Database
from tests import scenarios
from tests.scenarios import WITHIN_S, Desk


@pytest.fixture
async def desk(clean_database: Database, postgres_url: str) -> AsyncIterator[Desk]:
    async with scenarios.desk(postgres_url, pipeline={"batch": 3}) as desk:
        await desk.list_markets()
        yield desk


async def test_a_batch_is_taken_oldest_first_and_once(desk: Desk) -> None:
    routes = [(await desk.request()).route_id for _ in range(5)]
    first, second = await desk.take(Stage.FEATURES), await desk.take(Stage.FEATURES)
    assert [claim.route_id for claim in first + second] == routes
    assert [len(first), len(second)] == [3, 2]
    assert await desk.take(Stage.FEATURES) == []
    assert {claim.attempts for claim in first + second} == {1}


async def test_what_was_tried_before_comes_alone(desk: Desk) -> None:
    for _ in range(3):
        await desk.request()
    await desk.take(Stage.FEATURES)
    await desk.retry_now()
    assert await desk.take(Stage.FEATURES) == []
    taken = [await desk.take(Stage.FEATURES, retried=True) for _ in range(4)]
    assert [len(claims) for claims in taken] == [1, 1, 1, 0]
    assert {claim.attempts for claims in taken for claim in claims} == {2}


async def test_a_claim_brings_what_its_stage_works_on(desk: Desk) -> None:
    accepted = await desk.request()
    (claim,) = await desk.take(Stage.FEATURES)
    assert claim.row is not None
    assert claim.row["id"] == accepted.route_id
    await desk.stages.runners[Stage.FEATURES].run([claim])
    await desk.execute("DELETE FROM warehouse.feature")
    (bare,) = await desk.take(Stage.INFERENCE)
    assert bare.row is None


async def test_processes_share_the_work_without_overlap(desk: Desk, postgres_url: str) -> None:
    routes = {(await desk.request()).route_id for _ in range(30)}
    async with scenarios.desk(postgres_url, pipeline={"batch": 3}, worker_name="two") as twin:
        taken = await asyncio.gather(*(each.take(Stage.FEATURES) for each in (desk, twin) * 5))
    claimed = [claim.route_id for claims in taken for claim in claims]
    assert len(claimed) == 30
    assert set(claimed) == routes


async def test_a_restarted_worker_takes_up_what_its_slot_held(desk: Desk, postgres_url: str) -> None:
    await desk.request()
    await desk.take(Stage.FEATURES)
    async with scenarios.desk(postgres_url, worker_name="another") as another:
        await another.stages.queue.free_own(Stage.FEATURES)
        assert await another.take(Stage.FEATURES, retried=True) == []
    async with scenarios.desk(postgres_url) as again:
        await again.stages.queue.free_own(Stage.FEATURES)
        assert len(await again.take(Stage.FEATURES, retried=True)) == 1


async def test_giving_back_leaves_no_trace(desk: Desk) -> None:
    await desk.request()
    claims = await desk.take(Stage.FEATURES)
    await desk.stages.queue.give_back(claims)
    await desk.stages.queue.give_back(claims)
    (again,) = await desk.take(Stage.FEATURES)
    assert (again.attempts, again.token) == (1, 2)
    await desk.stages.queue.give_back(claims)
    assert await desk.take(Stage.FEATURES) == []


async def test_an_accepted_route_wakes_its_stage(desk: Desk) -> None:
    queue = desk.stages.queue
    waker = queue.waker(Stage.FEATURES)
    for _ in range(2):
        await desk.request()
        async with asyncio.timeout(WITHIN_S):
            await waker.wait()
        waker.clear()
    queue.forget(Stage.FEATURES, waker)
