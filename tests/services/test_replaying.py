import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from app.domain.errors import Conflict, NotFound
from app.infra.db import Database
from app.infra.ids import new_id
from app.services.replaying import Replay, Replaying
from app.services.schemas.fill import FillIn
from app.services.solver_inputs import solver_version
from tests import scenarios
from tests.factories import book, fill
from tests.scenarios import Desk


@pytest_asyncio.fixture
async def desk(clean_database: Database, postgres_url: str) -> AsyncIterator[Desk]:
    async with scenarios.desk(postgres_url, pipeline={"revise_s": 0.0}) as desk:
        await desk.list_markets(book(), book("b:1", fee_bps=1), book("c:1", lot_size="0.01", min_notional="10"))
        yield desk


async def replay(desk: Desk, route_id: UUID, revision: int | None = None) -> Replay:
    # As another process does: nothing is remembered.
    return await Replaying(desk.database).replay(route_id, revision)


SCHEDULE = {"kind": "is", "horizon_s": 900, "slices": 5, "risk_aversion": 1e-6}


@pytest.mark.parametrize(
    "fields",
    [
        {"quantity": "0.5"},
        {"quantity": "9.12345678"},
        {"quantity": "250000", "quantity_asset": "USD"},
        {"quantity": "5", "schedule": SCHEDULE},
    ],
)
async def test_a_stored_route_solves_again_to_the_identical_solution(desk: Desk, fields: dict[str, Any]) -> None:
    route_id = await desk.ready(**fields)
    again = await replay(desk, route_id)
    assert again.identical
    assert (again.revision, again.solver_then, again.solver_now) == (1, solver_version(), solver_version())
    assert again.solution == await stored(desk, route_id, 1)


async def test_a_route_over_a_third_asset_solves_again(desk: Desk) -> None:
    await desk.list_markets(book("kraken:ETH-USD", base="ETH", bids=[["3000", "90"]], asks=[["3001", "90"]]))
    again = await replay(desk, await desk.ready(instrument="ETH-BTC", quantity="2"))
    assert again.identical
    assert again.solution is not None


async def test_every_revision_solves_again_on_its_own_snapshot(desk: Desk) -> None:
    route_id = await desk.ready()
    await desk.list_markets(book(asks=[["63000.5", "9"]], bids=[["62000", "1"]]))
    assert await desk.stages.reviser.revise() == 1
    for revision in (1, 2):
        again = await replay(desk, route_id, revision)
        assert (again.identical, again.revision) == (True, revision)
        assert again.solution == await stored(desk, route_id, revision)
    assert (await replay(desk, route_id)).revision == 2


async def test_a_schedule_under_way_solves_again_with_what_was_executed(desk: Desk) -> None:
    route_id = await desk.ready(quantity="5", schedule=SCHEDULE)
    executed = FillIn(**fill(receives={"asset": "BTC", "amount": "0.7"}))
    await desk.services.feedback.report(scenarios.PROGRAM, route_id, executed)
    assert await desk.stages.reviser.revise() == 1
    again = await replay(desk, route_id)
    assert (again.identical, again.revision) == (True, 2)


async def test_a_search_that_was_ended_by_its_deadline_ends_at_the_same_point(desk: Desk) -> None:
    route_id = await desk.ready(quantity="9")
    stopped = "jsonb_set(inputs, '{polls}', '0')"
    await desk.execute(f"UPDATE warehouse.solution SET inputs = {stopped} WHERE route_id = $1", route_id)
    first, second = [(await replay(desk, route_id)).solution for _ in range(2)]
    assert first == second


async def test_what_differs_is_named(desk: Desk) -> None:
    route_id = await desk.ready()
    document = await stored(desk, route_id, 1)
    document["slices"][0]["legs"][0]["sends"]["amount"] = "1"
    document["slices"][0]["legs"].append({"market_id": "gone"})
    await store(desk, route_id, document)
    again = await replay(desk, route_id)
    assert not again.identical
    first, second = again.differences
    assert (first.pointer, first.stored) == ("/slices/0/legs/0/sends/amount", "1")
    assert (second.pointer, second.stored, second.now) == ("/slices/0/legs/1", {"market_id": "gone"}, None)


async def test_a_route_that_is_refused_now_differs_in_everything(desk: Desk) -> None:
    route_id = await desk.ready()
    await desk.execute("""UPDATE lake.route SET trade = (trade::jsonb || '{"quantity": "1e9"}')::json""")
    again = await replay(desk, route_id)
    assert again.solution is None
    assert [each.pointer for each in again.differences] == [""]


async def test_what_cannot_be_replayed_says_why(desk: Desk) -> None:
    solved = await desk.ready()
    unsolved = (await desk.request()).route_id
    for route_id, revision in ((new_id(), None), (unsolved, None), (solved, 2)):
        with pytest.raises(NotFound):
            await replay(desk, route_id, revision)
    await desk.execute("UPDATE warehouse.solution SET inputs = NULL")
    with pytest.raises(Conflict, match="did not keep"):
        await replay(desk, solved)


async def stored(desk: Desk, route_id: UUID, revision: int) -> dict[str, Any]:
    query = "SELECT document::text FROM warehouse.solution WHERE route_id = $1 AND revision = $2"
    document: dict[str, Any] = json.loads(await desk.value(query, route_id, revision))
    return document


async def store(desk: Desk, route_id: UUID, document: dict[str, Any]) -> None:
    change = "UPDATE warehouse.solution SET document = $2 WHERE route_id = $1"
    await desk.execute(change, route_id, json.dumps(document))
