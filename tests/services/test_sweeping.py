import asyncio
from collections.abc import AsyncIterator

import orjson
import pytest

from app.domain.event import Stage
from app.infra.db import Database
from app.infra.repositories import revisions
from app.infra.repositories.revisions import Revision
from app.services.schemas.fill import FillIn
from tests import scenarios
from tests.factories import fill
from tests.scenarios import Desk


@pytest.fixture
async def desk(clean_database: Database, postgres_url: str) -> AsyncIterator[Desk]:
    async with scenarios.desk(postgres_url) as desk:
        await desk.list_markets()
        yield desk


async def sweep(desk: Desk) -> None:
    """Do one round."""
    await desk.stages.sweeper.sweep()


async def test_a_ready_route_that_nobody_fills_expires(desk: Desk) -> None:
    route_id = await desk.ready(ttl_s=60)
    await sweep(desk)
    assert await desk.status(route_id) == "ready"
    await desk.execute("UPDATE lake.route SET expires_at = now() - interval '1 second'")
    await sweep(desk)
    await sweep(desk)
    row = await desk.route(route_id)
    assert (row["status"], orjson.loads(row["reason"])["code"]) == ("expired", "expired")
    assert (await desk.trail(route_id))[-1] == (13, "route_update.expired", "expired")


async def test_time_to_live_counts_from_ready(desk: Desk) -> None:
    accepted = await desk.request(ttl_s=60)
    requested_until = (await desk.route(accepted.route_id))["expires_at"]
    await desk.settle()
    row = await desk.route(accepted.route_id)
    assert row["expires_at"] > requested_until
    assert row["horizon_ends_at"] == row["expires_at"]


async def test_a_route_whose_time_ran_out_before_it_was_solved_says_so(desk: Desk) -> None:
    accepted = await desk.request()
    await desk.step(Stage.FEATURES)
    await desk.execute("UPDATE lake.route SET expires_at = now() - interval '1 second'")
    await sweep(desk)
    await desk.settle()
    assert await desk.status(accepted.route_id) == "expired"
    assert (await desk.trail(accepted.route_id))[-1] == (7, "route_update.expired", "expired")


async def test_a_route_that_was_partly_filled_ends_with_its_horizon(desk: Desk) -> None:
    route_id = await desk.ready()
    part = fill(receives={"asset": "BTC", "amount": "0.1"})
    await desk.services.feedback.report("desk", route_id, FillIn(**part))
    await desk.execute("UPDATE lake.route SET expires_at = now() - interval '1 second'")
    await sweep(desk)
    assert await desk.status(route_id) == "executing"
    await desk.execute("UPDATE lake.route SET horizon_ends_at = now() - interval '1 second'")
    await sweep(desk)
    assert await desk.status(route_id) == "partially_filled"
    assert (await desk.trail(route_id))[-1][1:] == ("route_update.horizon_over", "partially_filled")


async def test_what_ended_stays_as_it_is(desk: Desk) -> None:
    route_id = await desk.ready()
    await sweep(desk)
    await desk.services.canceller.cancel("desk", route_id)
    trail = await desk.trail(route_id)
    await desk.execute("UPDATE lake.route SET expires_at = now() - interval '1 day', horizon_ends_at = now()")
    await sweep(desk)
    assert await desk.trail(route_id) == trail


async def test_every_revision_is_confirmed_once(desk: Desk) -> None:
    route_id = await desk.ready()
    (solved,) = await desk.fetch("SELECT * FROM warehouse.solution")
    for replaces in (1, 2):
        newer = Revision(
            route_id,
            replaces,
            solved["snapshot_id"],
            document=solved["document"],
            timings=solved["timings"],
            inputs=solved["inputs"],
            gap_bps=0.0,
        )
        async with desk.database.connection() as connection:
            assert await revisions.revise(connection, [newer], relay=False) == 1
    await sweep(desk)
    await sweep(desk)

    events = await desk.events(route_id)
    assert [event["sequence"] for event in events] == [str(number) for number in range(1, 17)]
    confirmed = [event["data"]["revision"] for event in events if event["type"] == "route_update.existence_ok"]
    assert confirmed == [1, 2, 3]
    assert [event["type"] for event in events].count("route_update.solution_ok") == 3


async def test_more_solutions_than_one_round_takes_are_all_confirmed(desk: Desk) -> None:
    for _ in range(5):
        await desk.request()
    await desk.settle()
    await sweep(desk)
    assert await desk.value("SELECT count(*) FROM warehouse.solution WHERE NOT is_confirmed") == 0
    assert await desk.value("SELECT count(*) FROM lake.event WHERE type LIKE '%update.existence_ok'") == 5


@pytest.mark.parametrize("done", [(), (Stage.FEATURES,), (Stage.FEATURES, Stage.INFERENCE)])
async def test_a_route_whose_event_was_lost_is_queued_again(desk: Desk, done: tuple[Stage, ...]) -> None:
    accepted = await desk.request()
    for stage in done:
        await desk.step(stage)
    await desk.execute("DELETE FROM lake.delivery")
    await sweep(desk)
    assert await desk.count("lake.delivery") == 0

    await desk.execute("UPDATE lake.route SET updated_at = now() - interval '1 minute'")
    await sweep(desk)
    assert await desk.count("lake.delivery") == 1
    await desk.settle()
    assert len(await desk.trail(accepted.route_id)) == 11
    assert await desk.status(accepted.route_id) == "ready"


async def test_a_route_that_waits_its_turn_is_not_queued_again(desk: Desk) -> None:
    await desk.request()
    await desk.execute("UPDATE lake.route SET updated_at = now() - interval '1 hour'")
    before = await desk.fetch("SELECT * FROM lake.delivery")
    await sweep(desk)
    assert await desk.fetch("SELECT * FROM lake.delivery") == before


async def test_what_was_queued_again_lately_is_left_to_those_who_carry_it(desk: Desk) -> None:
    await desk.request()
    await desk.execute("UPDATE lake.route SET updated_at = now() - interval '1 hour'")
    await desk.execute("UPDATE lake.delivery SET state = 1, claims = 7")
    await sweep(desk)
    assert await desk.value("SELECT claims FROM lake.delivery") == 7
    await desk.execute("UPDATE lake.delivery SET available_at = now() - interval '1 minute'")
    await sweep(desk)
    assert await desk.value("SELECT claims FROM lake.delivery WHERE state = 0") == 8


async def test_records_past_their_time_are_forgotten(desk: Desk) -> None:
    await desk.ready(key="old")
    await desk.execute("UPDATE lake.delivery SET created_at = now() - interval '25 hours'")
    await desk.execute("UPDATE lake.idempotency SET created_at = now() - interval '25 hours'")
    await desk.request(key="new")
    await desk.execute("UPDATE lake.delivery SET created_at = now() - interval '25 hours' WHERE state = 0")
    await sweep(desk)
    rows = await desk.fetch("SELECT state FROM lake.delivery")
    assert [row["state"] for row in rows] == [0]
    assert [row["key"] for row in await desk.fetch("SELECT key FROM lake.idempotency")] == ["new"]


async def test_sweepers_do_not_meet(desk: Desk, postgres_url: str) -> None:
    routes = [(await desk.request()).route_id for _ in range(8)]
    await desk.settle()
    await desk.execute("UPDATE lake.route SET expires_at = now() - interval '1 second'")
    async with scenarios.desk(postgres_url) as twin:
        await asyncio.gather(*(sweep(each) for each in (desk, twin, desk, twin)))
    for route_id in routes:
        trail = await desk.trail(route_id)
        assert [event[0] for event in trail] == list(range(1, 14))
        assert [event[1] for event in trail].count("route_update.expired") == 1
