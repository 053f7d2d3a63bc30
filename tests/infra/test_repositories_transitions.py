from collections.abc import AsyncIterator
from itertools import product
from uuid import UUID

import pytest

from app.domain.event import EventType
from app.domain.route import TERMINAL, RouteStatus, may_become
from app.infra.db import Database
from app.infra.repositories import transitions
from tests import scenarios
from tests.scenarios import Desk


@pytest.fixture
async def desk(clean_database: Database, postgres_url: str) -> AsyncIterator[Desk]:
    async with scenarios.desk(postgres_url) as desk:
        await desk.list_markets()
        yield desk


async def move(desk: Desk, route_id: UUID, status: RouteStatus, *, late_fills: int = 0) -> None:
    """Move a route as the use cases do."""
    async with desk.database.transaction() as connection:
        await transitions.lock(connection, route_id)
        await transitions.move(connection, [route_id], status, EventType.ROUTE_FILLED, late_fills=late_fills)


async def test_only_legal_moves_happen(desk: Desk) -> None:
    route_id = (await desk.request()).route_id
    for current, following in product(RouteStatus, RouteStatus):
        await desk.execute("UPDATE lake.route SET status = $1", current)
        before = await desk.route(route_id)
        await move(desk, route_id, following)
        after = await desk.route(route_id)
        if may_become(current, following):
            assert (after["status"], after["event_count"]) == (following, before["event_count"] + 1)
        else:
            assert after == before
    trail = await desk.trail(route_id)
    assert [seq for seq, _, _ in trail] == list(range(1, len(trail) + 1))


@pytest.mark.parametrize("status", sorted(TERMINAL))
async def test_a_late_fill_is_said_and_changes_no_status(desk: Desk, status: RouteStatus) -> None:
    route_id = (await desk.request()).route_id
    await desk.execute("UPDATE lake.route SET status = $1", status)
    await move(desk, route_id, status, late_fills=1)
    row = await desk.route(route_id)
    assert (row["status"], row["late_fills"], row["event_count"]) == (status, 1, 4)


async def test_no_stage_moves_a_route_from_another_status_than_its_own(desk: Desk) -> None:
    route_id = (await desk.request()).route_id
    for status in set(RouteStatus) - {RouteStatus.DATA_READY}:
        await desk.execute("UPDATE lake.route SET status = $1", status)
        await desk.execute("UPDATE lake.delivery SET state = 0, attempts = 0, available_at = now()")
        await desk.step("features")
        assert await desk.status(route_id) == status
    assert len(await desk.trail(route_id)) == 3
    assert await desk.count("warehouse.feature") == 0
