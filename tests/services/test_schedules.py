import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
import pytest

from app.infra.db import Database
from app.infra.repositories import revisions
from app.infra.repositories.revisions import Postponed, Revision
from app.services.documents import timestamp
from app.services.schemas.fill import FillIn
from tests import scenarios
from tests.factories import book, fill
from tests.scenarios import PROGRAM, Desk

TWAP = {"kind": "twap", "horizon_s": 400, "slices": 4}


@pytest.fixture
async def desk(clean_database: Database, postgres_url: str) -> AsyncIterator[Desk]:
    async with scenarios.desk(postgres_url, pipeline={"revise_s": 0.0}) as desk:
        await desk.list_markets()
        yield desk


async def scheduled(desk: Desk, **fields: Any) -> UUID:
    """Bring a scheduled route to its first solution."""
    return await desk.ready(**{"quantity": "2", "schedule": TWAP, **fields})


async def slices(desk: Desk, route_id: UUID) -> list[tuple[Decimal, bool]]:
    """Read quantities of the latest slices, and whether they are indicative."""
    view = await desk.services.routes.get(PROGRAM, route_id)
    solution = scenarios.as_json(orjson.dumps(view.document))["solution"]
    return [(Decimal(part["quantity"]), part["indicative"]) for part in solution["slices"]]


async def let_pass(desk: Desk, seconds: float) -> None:
    """Make everything that has a time older, as if so many seconds had passed."""
    for row in await desk.fetch("SELECT route_id, revision, document, inputs FROM warehouse.solution"):
        document, inputs = orjson.loads(row["document"]), orjson.loads(row["inputs"])
        for place, name in ((inputs, "began_at"), *((part, "at") for part in document["slices"])):
            place[name] = timestamp(datetime.fromisoformat(place[name]) - timedelta(seconds=seconds))
        await desk.execute(
            "UPDATE warehouse.solution SET document = $3, inputs = $4 WHERE route_id = $1 AND revision = $2",
            row["route_id"],
            row["revision"],
            orjson.dumps(document).decode(),
            orjson.dumps(inputs).decode(),
        )
    await desk.execute(
        """
        UPDATE lake.route SET next_due_at = next_due_at - make_interval(secs => $1),
          horizon_ends_at = horizon_ends_at - make_interval(secs => $1),
          expires_at = expires_at - make_interval(secs => $1)
        """,
        seconds,
    )
    await desk.execute("UPDATE warehouse.solution SET created_at = created_at - make_interval(secs => $1)", seconds)


async def report(desk: Desk, route_id: UUID, fill_id: str, amount: str) -> str:
    """Report what was bought; answers the status."""
    wire = fill(fill_id, sends={"asset": "USD", "amount": "1"}, receives={"asset": "BTC", "amount": amount})
    receipt = await desk.services.feedback.report(PROGRAM, route_id, FillIn(**wire))
    return str(receipt.document["status"])


async def test_a_schedule_is_planned_from_the_forecast(desk: Desk) -> None:
    route_id = await scheduled(desk)
    half = Decimal("0.5")
    assert await slices(desk, route_id) == [(half, False), (half, True), (half, True), (half, True)]
    (stored,) = await desk.fetch("SELECT inputs FROM warehouse.solution")
    inputs = orjson.loads(stored["inputs"])
    forecast = orjson.loads(await desk.value("SELECT document FROM warehouse.forecast"))
    assert inputs["outlook"]["sigma"] == forecast["volatility"]["per_sqrt_second"]
    assert inputs["began_at"] == inputs["as_of"]
    row = await desk.route(route_id)
    assert 95 < (row["next_due_at"] - row["created_at"]).total_seconds() < 105
    assert 395 < (row["horizon_ends_at"] - row["created_at"]).total_seconds() < 405


async def test_a_slice_that_is_due_makes_a_revision_once(desk: Desk, postgres_url: str) -> None:
    route_id = await scheduled(desk)
    assert await desk.stages.reviser.revise() == 0
    await let_pass(desk, 101)
    async with scenarios.desk(postgres_url) as other:
        made = await asyncio.gather(desk.stages.reviser.revise(), other.stages.reviser.revise())
        assert sum(made) == 1
        assert [await desk.stages.reviser.revise(), await other.stages.reviser.revise()] == [0, 0]
    assert [part[1] for part in await slices(desk, route_id)] == [False, True, True]
    assert sum(part[0] for part in await slices(desk, route_id)) == 2
    row = await desk.route(route_id)
    assert (row["status"], row["revision"]) == ("ready", 2)
    assert desk.stages.reviser.wait_s(1.0) == 1.0
    assert desk.stages.reviser.wait_s(1000.0) < 100


async def test_what_was_executed_is_kept_and_the_rest_planned_anew(desk: Desk) -> None:
    route_id = await scheduled(desk)
    assert await report(desk, route_id, "a", "0.3") == "executing"
    assert await desk.stages.reviser.revise() == 1
    assert [str(part[0]) for part in await slices(desk, route_id)] == ["0.2", "0.5", "0.5", "0.5"]
    assert await report(desk, route_id, "b", "0.2") == "executing"
    assert await desk.stages.reviser.revise() == 1
    assert await slices(desk, route_id) == [(Decimal("0.5"), True)] * 3
    await let_pass(desk, 101)
    assert await desk.stages.reviser.revise() == 1
    assert [part[1] for part in await slices(desk, route_id)] == [False, True, True]
    row = await desk.route(route_id)
    assert (row["status"], row["revision"]) == ("executing", 4)
    _, said, status = (await desk.trail(route_id))[-1]
    assert (said, status) == ("route_update.solution_ok", "executing")
    inputs = orjson.loads(await desk.value("SELECT inputs FROM warehouse.solution WHERE revision = 4"))
    assert (inputs["executed"], inputs["spent"]) == ("0.5", {"USD": "2"})

    assert await report(desk, route_id, "c", "1.5") == "filled"
    await let_pass(desk, 101)
    assert await desk.stages.reviser.revise() == 0


async def test_a_fill_that_comes_in_during_a_revision_is_not_forgotten(desk: Desk) -> None:
    route_id = await scheduled(desk)
    before = await desk.route(route_id)
    await report(desk, route_id, "a", "0.3")
    (solved,) = await desk.fetch("SELECT * FROM warehouse.solution")
    stale = Revision(
        route_id,
        1,
        solved["snapshot_id"],
        document=solved["document"],
        timings=solved["timings"],
        inputs=solved["inputs"],
        gap_bps=0.0,
        due_at=before["next_due_at"],
    )
    async with desk.database.connection() as connection:
        assert await revisions.revise(connection, [stale], relay=False) == 0
        (live,) = await revisions.due(connection, limit=10)
        await revisions.postpone(connection, [Postponed(live, before["next_due_at"])])
        assert await revisions.due(connection, limit=10) == []
    assert (await desk.route(route_id))["next_due_at"] == before["next_due_at"]


async def test_the_slice_due_now_follows_the_market(desk: Desk) -> None:
    route_id = await scheduled(desk)
    await report(desk, route_id, "a", "0.3")
    assert await desk.stages.reviser.revise() == 1
    await desk.list_markets(book(asks=[["64001", "5"]]))
    assert await desk.stages.reviser.revise() == 0
    await let_pass(desk, 6)
    assert await desk.stages.reviser.revise() == 1
    await report(desk, route_id, "b", "0.2")
    assert await desk.stages.reviser.revise() == 1
    await desk.list_markets(book(asks=[["64002", "5"]]))
    await let_pass(desk, 6)
    assert await desk.stages.reviser.revise() == 0
    assert (await desk.route(route_id))["revision"] == 4


async def test_a_slice_that_cannot_be_done_is_tried_again_when_the_next_is_due(desk: Desk) -> None:
    route_id = await scheduled(desk)
    await desk.list_markets(book(status="halted"))
    await let_pass(desk, 101)
    assert await desk.stages.reviser.revise() == 0
    row = await desk.route(route_id)
    assert (row["status"], row["revision"]) == ("ready", 1)
    assert orjson.loads(row["reason"])["constraint"]
    assert 90 < desk.stages.reviser.wait_s(1000.0) < 100
    await desk.list_markets(book())
    await let_pass(desk, 6)
    assert await desk.stages.reviser.revise() == 1
    assert (await desk.route(route_id))["reason"] is None


async def test_a_rest_that_no_market_takes_is_named_until_it_changes(desk: Desk) -> None:
    await desk.list_markets(book(min_quantity="0.3"))
    route_id = await scheduled(desk)
    await report(desk, route_id, "a", "1.9")
    assert await desk.stages.reviser.revise() == 0
    view = await desk.services.routes.get(PROGRAM, route_id)
    assert orjson.loads(orjson.dumps(view.document))["reason"]["constraint"] == "min_quantity"
    assert await report(desk, route_id, "b", "0.1") == "filled"
    row = await desk.route(route_id)
    assert (row["reason"], row["next_due_at"]) == (None, None)


async def test_a_new_forecast_makes_a_new_plan(desk: Desk, postgres_url: str) -> None:
    route_id = await scheduled(desk, schedule={**TWAP, "kind": "is", "risk_aversion": 1e-3})
    await desk.execute(
        "UPDATE warehouse.solution SET inputs = jsonb_set(inputs, '{outlook,sigma}', '0.001'), "
        """document = jsonb_set(document::jsonb, '{slices,0,quantity}', '"0.6"')::json""",
    )
    await let_pass(desk, 6)
    async with scenarios.desk(postgres_url, pipeline={"revise_s": 0.0}) as other:
        assert [await other.stages.reviser.revise() for _ in range(2)] == [1, 0]
    assert (await desk.route(route_id))["revision"] == 2


async def test_a_route_ends_with_its_horizon_after_a_fill_and_with_its_ttl_before(desk: Desk) -> None:
    begun = await scheduled(desk, ttl_s=1000)
    waiting = await scheduled(desk, ttl_s=100)
    await report(desk, begun, "a", "0.5")
    await let_pass(desk, 101)
    await desk.stages.sweeper.sweep()
    assert [await desk.status(begun), await desk.status(waiting)] == ["executing", "expired"]
    await let_pass(desk, 300)
    await desk.stages.sweeper.sweep()
    assert await desk.status(begun) == "partially_filled"
    assert await desk.stages.reviser.revise() == 0


async def test_all_that_is_left_is_due_after_the_last_slice(desk: Desk) -> None:
    route_id = await scheduled(desk, ttl_s=1000)
    await let_pass(desk, 390)
    assert await desk.stages.reviser.revise() == 1
    assert await slices(desk, route_id) == [(Decimal(2), False)]
    await let_pass(desk, 20)
    assert await desk.stages.reviser.revise() == 0
    assert (await desk.route(route_id))["next_due_at"] is None
