import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest

from app.domain.event import Cursor
from app.infra.db import Database
from app.services.streaming import Update
from app.services.subscription import RouteSubscription
from tests import scenarios
from tests.scenarios import WITHIN_S, Desk


@pytest.fixture
async def desk(clean_database: Database, postgres_url: str) -> AsyncIterator[Desk]:
    async with scenarios.desk(postgres_url, role="api") as desk:
        await desk.list_markets()
        yield desk


class Notes:
    """A watcher that keeps what it is told."""

    def __init__(self) -> None:
        self.updates: list[Update] = []
        self._more = asyncio.Event()

    def __call__(self, updates: list[Update]) -> None:
        self.updates += updates
        self._more.set()

    async def until(self, count: int) -> list[int]:
        """Wait for some updates; answers their seqs."""
        async with asyncio.timeout(WITHIN_S):
            while len(self.updates) < count:
                self._more.clear()
                await self._more.wait()
        return [update.seq for update in self.updates]


async def passed_on(subscription: RouteSubscription, *updates: Update) -> list[int]:
    """List the seqs that a subscription makes of updates."""
    return [each.seq for update in updates for each in [each async for each in subscription.follow(update)]]


async def test_who_watches_is_told_everything_in_order(desk: Desk) -> None:
    streaming, notes = desk.services.streaming, Notes()
    route_id = (await desk.request()).route_id
    streaming.watch_route(route_id, notes)
    await streaming.following()
    await desk.settle()
    assert await notes.until(8) == list(range(4, 12))
    assert [update.cursor for update in notes.updates] == sorted(update.cursor for update in notes.updates)

    streaming.unwatch(notes)
    other = Notes()
    streaming.watch_route(route_id, other)
    await desk.services.canceller.cancel("desk", route_id)
    assert await other.until(1) == [12]
    assert len(notes.updates) == 8


async def test_a_program_is_told_of_its_own_routes(desk: Desk) -> None:
    mine, theirs = Notes(), Notes()
    desk.services.streaming.watch_program("desk", mine)
    desk.services.streaming.watch_program("other", theirs)
    await desk.services.streaming.following()
    await desk.request(program="other")
    await desk.request()
    assert await mine.until(3) == await theirs.until(3) == [1, 2, 3]
    assert {update.program for update in mine.updates} == {"desk"}


async def test_nothing_is_told_before_what_came_earlier(desk: Desk, postgres_owner_url: str) -> None:
    notes = Notes()
    desk.services.streaming.watch_program("desk", notes)
    await desk.services.streaming.following()
    slow = await asyncpg.connect(postgres_owner_url)
    try:
        transaction = slow.transaction()
        await transaction.start()
        await slow.execute("SELECT pg_current_xact_id()")
        await desk.request()
        start = Cursor()
        assert await desk.services.streaming.read_program("desk", after=start) == []
        await transaction.rollback()
    finally:
        await slow.close()
    assert await notes.until(3) == [1, 2, 3]


async def test_waiting_ends_when_a_route_is_settled(desk: Desk) -> None:
    route_id = (await desk.request()).route_id
    waiting = [
        asyncio.create_task(desk.services.streaming.wait_settled(route_id, timeout_s=WITHIN_S)) for _ in range(3)
    ]
    await desk.settle()
    for view in await asyncio.gather(*waiting):
        assert view is not None
        assert (view.status, view.revision) == ("ready", 1)
    assert await desk.services.streaming.wait_settled(route_id, timeout_s=0.0) is not None


async def test_waiting_gives_up_in_time(desk: Desk) -> None:
    route_id = (await desk.request()).route_id
    assert await desk.services.streaming.wait_settled(route_id, timeout_s=0.05) is None
    assert await desk.services.streaming.wait_settled(UUID(int=0), timeout_s=0.05) is None


async def test_what_was_seen_is_not_passed_on_again(desk: Desk) -> None:
    route_id = await desk.ready()
    updates = await desk.services.streaming.read_route(route_id, after=0)
    subscription = RouteSubscription(desk.services.streaming, "desk")
    await subscription.begin_all(Cursor())
    assert await passed_on(subscription, *updates[:3], *updates[:3], updates[2]) == [1, 2, 3]


async def test_a_gap_is_filled_from_the_trail(desk: Desk) -> None:
    route_id = await desk.ready()
    updates = await desk.services.streaming.read_route(route_id, after=0)
    subscription = RouteSubscription(desk.services.streaming, "desk")
    beginning = await subscription.begin_route(route_id, resume_after=2)
    assert beginning is not None
    assert [update.seq for update in beginning.missed] == list(range(3, 12))

    late = RouteSubscription(desk.services.streaming, "desk")
    await late.begin_all(Cursor())
    assert await passed_on(late, updates[0], updates[6], updates[3], updates[10]) == list(range(1, 12))


async def test_an_update_first_seen_in_the_middle_brings_what_came_after_the_cursor(desk: Desk) -> None:
    route_id = await desk.ready()
    updates = await desk.services.streaming.read_route(route_id, after=0)
    subscription = RouteSubscription(desk.services.streaming, "desk")
    await subscription.begin_all(updates[2].cursor)
    assert await passed_on(subscription, updates[5], updates[3]) == [4, 5, 6]


async def test_who_resumes_from_any_message_misses_nothing(desk: Desk) -> None:
    route_id = await desk.ready()
    updates = await desk.services.streaming.read_route(route_id, after=0)
    first = RouteSubscription(desk.services.streaming, "desk")
    await first.begin_all(Cursor())
    heard = [each for update in (updates[0], updates[8]) for each in [each async for each in first.follow(update)]]
    for number, update in enumerate(heard, start=1):
        second = RouteSubscription(desk.services.streaming, "desk")
        await second.begin_all(update.cursor)
        rest = {each.seq async for each in second.catch_up()}
        assert rest >= set(range(number + 1, 12))


async def test_a_foreign_route_cannot_be_begun(desk: Desk) -> None:
    theirs = (await desk.request(program="other")).route_id
    subscription = RouteSubscription(desk.services.streaming, "desk")
    assert await subscription.begin_route(theirs, resume_after=None) is None
    assert await subscription.begin_route(UUID(int=0), resume_after=3) is None


async def test_a_cursor_ahead_of_the_store_is_not_recovered(desk: Desk) -> None:
    subscription = RouteSubscription(desk.services.streaming, "desk")
    end = await desk.services.streaming.end()
    start, recovered = await subscription.begin_all(Cursor(end.xid + 1000, 0))
    assert (recovered, start.xid >= end.xid, start.xid < end.xid + 1000) == (False, True, True)


async def test_the_epoch_is_that_of_the_store(desk: Desk, postgres_url: str) -> None:
    async with scenarios.desk(postgres_url) as twin:
        assert await twin.services.streaming.epoch() == await desk.services.streaming.epoch()
