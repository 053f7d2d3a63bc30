import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from app.domain.event import Cursor
from app.infra.db import Database
from app.infra.repositories import events
from tests import scenarios
from tests.scenarios import Desk


@pytest.fixture
async def desk(clean_database: Database, postgres_url: str) -> AsyncIterator[Desk]:
    async with scenarios.desk(postgres_url) as desk:
        await desk.list_markets()
        yield desk


async def feed(desk: Desk, after: Cursor, *, limit: int = 1000) -> list[events.StoredEvent]:
    """Read the feed."""
    async with desk.database.connection() as connection:
        return await events.feed(connection, after, limit=limit)


async def test_the_feed_page_by_page_is_the_whole_feed(desk: Desk) -> None:
    for _ in range(3):
        await desk.ready()
    whole = await feed(desk, Cursor())
    assert len(whole) == 33
    seen: list[events.StoredEvent] = []
    while page := await feed(desk, seen[-1].cursor if seen else Cursor(), limit=4):
        seen += page
    assert seen == whole


async def test_the_end_of_the_feed_has_nothing_behind_it(desk: Desk) -> None:
    await desk.ready()
    async with desk.database.connection() as connection:
        end = await events.feed_end(connection)
    assert await feed(desk, end) == []
    route_id = (await desk.request()).route_id
    assert [event.route_id for event in await feed(desk, end)] == [route_id] * 3


async def test_the_feed_never_passes_an_open_transaction(desk: Desk, postgres_owner_url: str) -> None:
    before = await feed(desk, Cursor())
    early = await asyncpg.connect(postgres_owner_url)
    try:
        transaction = early.transaction()
        await transaction.start()
        await early.execute("SELECT pg_current_xact_id()")
        await desk.request()
        assert await feed(desk, Cursor()) == before
        await transaction.rollback()
    finally:
        await early.close()
    assert len(await feed(desk, Cursor())) == len(before) + 3


async def test_many_writers_and_one_reader_miss_nothing(desk: Desk) -> None:
    seen: list[events.StoredEvent] = []
    done = asyncio.Event()

    async def read() -> None:
        while not (done.is_set() and len(seen) >= 120):
            seen.extend(await feed(desk, seen[-1].cursor if seen else Cursor(), limit=7))

    async def write() -> None:
        await asyncio.gather(*(desk.request(key=f"k{number}") for number in range(40)))
        done.set()

    async with asyncio.timeout(scenarios.WITHIN_S):
        await asyncio.gather(read(), write())
    assert len({(event.source, event.id) for event in seen}) == len(seen) == 120


async def test_how_far_a_route_had_come_at_a_cursor(desk: Desk) -> None:
    route_id = await desk.ready()
    trail = [event for event in await feed(desk, Cursor()) if event.route_id == route_id]
    async with desk.database.connection() as connection:
        for event in trail:
            assert await events.seq_at(connection, route_id, event.cursor) == event.seq
        assert await events.seq_at(connection, route_id, Cursor()) == 0


@pytest.mark.parametrize("text", ["", "x", "1", "-", "1-x", "1.5-2"])
def test_what_is_no_cursor(text: str) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        Cursor.parse(text)


def test_a_cursor_reads_as_it_was_written() -> None:
    assert Cursor.parse(str(Cursor(7, 9))) == Cursor(7, 9)
    assert Cursor(7, 9) < Cursor(7, 10) < Cursor(8, 0)
