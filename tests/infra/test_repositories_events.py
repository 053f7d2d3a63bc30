from uuid import UUID

from app.domain.event import Cursor
from app.infra.db import Database
from app.infra.ids import new_id
from app.infra.repositories import events


async def _say(database: Database, route_id: UUID, xid: int, seq: int) -> None:
    async with database.connection() as connection:
        await connection.execute(
            """
            INSERT INTO lake.event (xid, source, id, type, route_id, seq, program, status, revision, data)
            VALUES ($1::text::xid8, 'test', $2, 'a.b', $3, $4, 'desk', 'ready', 1, '{}')
            """,
            str(xid),
            str(new_id()),
            route_id,
            seq,
        )


async def test_the_feed_follows_the_number_of_the_transaction_not_its_digits(clean_database: Database) -> None:
    route_id = new_id()
    for seq, xid in enumerate((9, 10, 99, 100), start=1):
        await _say(clean_database, route_id, xid, seq)
    async with clean_database.connection() as connection:
        found = await events.feed(connection, Cursor(), limit=10)
        behind = await events.feed(connection, found[0].cursor, limit=10)
    assert [event.cursor.xid for event in found] == [9, 10, 99, 100]
    assert [event.seq for event in behind] == [2, 3, 4]


async def test_the_feed_stops_before_a_transaction_that_is_still_open(clean_database: Database) -> None:
    route_id = new_id()
    async with clean_database.transaction() as slow:
        await slow.execute("SELECT pg_current_xact_id()")
        await _say(clean_database, route_id, 1, 1)
        async with clean_database.connection() as connection:
            current = int(await connection.fetchval("SELECT pg_snapshot_xmin(pg_current_snapshot())::text"))
        await _say(clean_database, route_id, current + 1, 2)
        async with clean_database.connection() as connection:
            seen = await events.feed(connection, Cursor(), limit=10)
    assert [event.seq for event in seen] == [1]
