from collections.abc import AsyncIterator

import orjson
import pytest

from app.infra.db import Database
from tests import scenarios
from tests.factories import book
from tests.scenarios import Desk


@pytest.fixture
async def desk(clean_database: Database, postgres_url: str) -> AsyncIterator[Desk]:
    async with scenarios.desk(postgres_url, pipeline={"revise_s": 0.0}) as desk:
        await desk.list_markets()
        yield desk


def cheaper() -> dict[str, object]:
    """Make the usual book with one better level on each side."""
    usual = book()
    better = {"asks": [["64001", "5"], *usual["asks"]], "bids": [["64000.5", "5"], *usual["bids"]]}
    return {**usual, **better, "sequence": (usual.get("sequence") or 0) + 1}


async def test_a_route_follows_its_market(desk: Desk) -> None:
    route_id = await desk.ready()
    before = await desk.route(route_id)
    assert await desk.stages.reviser.revise() == 0

    await desk.list_markets(cheaper())
    assert await desk.stages.reviser.revise() == 1

    after = await desk.route(route_id)
    assert (after["status"], after["revision"]) == ("ready", before["revision"] + 1)
    _, said, status = (await desk.trail(route_id))[-1]
    assert (said, status) == ("route_update.solution_ok", "ready")
    assert after["expires_at"] == before["expires_at"]
    assert await desk.stages.reviser.revise() == 0


async def test_a_change_that_changes_no_leg_makes_no_revision(desk: Desk) -> None:
    route_id = await desk.ready()
    usual = book()
    deeper = {**usual, "asks": [*usual["asks"], ["99999", "1"]], "sequence": (usual.get("sequence") or 0) + 1}
    await desk.list_markets(deeper)
    assert await desk.stages.reviser.revise() == 0
    assert (await desk.route(route_id))["revision"] == 1


async def test_the_last_revision_stands_while_the_market_is_halted(desk: Desk) -> None:
    route_id = await desk.ready()
    await desk.list_markets({**cheaper(), "status": "halted"})
    assert await desk.stages.reviser.revise() == 0
    assert (await desk.route(route_id))["status"] == "ready"


async def test_a_route_follows_every_market_on_its_way(desk: Desk) -> None:
    ether = book("kraken:ETH-USD", base="ETH", bids=[["3000", "90"]], asks=[["3001", "90"]])
    await desk.list_markets(ether, book("kraken:SOL-USD", base="SOL"))
    route_id = await desk.ready(instrument="ETH-BTC", side="sell", quantity="2")
    await desk.list_markets(book("kraken:SOL-USD", base="SOL", bids=[["150", "9"]]))
    assert await desk.stages.reviser.revise() == 0
    await desk.list_markets({**ether, "bids": [["3000.5", "90"]]})
    assert await desk.stages.reviser.revise() == 1
    document = orjson.loads(
        await desk.value("SELECT document FROM warehouse.solution WHERE route_id = $1 AND revision = 2", route_id)
    )
    legs = document["slices"][0]["legs"]
    assert [(leg["market_id"], leg["step"]) for leg in legs] == [("kraken:ETH-USD", 0), ("kraken:BTC-USD", 1)]
    assert legs[0]["limit_price"] == "3000.5"


async def test_an_ended_route_is_left_alone(desk: Desk) -> None:
    route_id = await desk.ready()
    await desk.services.canceller.cancel(scenarios.PROGRAM, route_id)
    await desk.list_markets(cheaper())
    assert await desk.stages.reviser.revise() == 0
