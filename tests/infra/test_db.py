import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from app.domain.errors import Conflict, Unavailable
from app.infra.db import Database
from app.infra.listener import Listener
from app.infra.repositories.deliveries import WORK_CHANNEL

ADD = "INSERT INTO lake.asset (asset, decimals, revision) VALUES ($1, 8, 1)"
COUNT = "SELECT count(*) FROM lake.asset"
WITHIN_S = 15.0


@pytest.fixture
async def small(clean_database: Database, postgres_url: str) -> AsyncIterator[Database]:
    database = Database(postgres_url, pool_size=2, connect_timeout_s=2.0, timeout_s=2.0, name="small")
    await database.open()
    yield database
    await database.close()


async def value(database: Database, query: str) -> object:
    """Read one value."""
    async with database.connection() as connection:
        return await connection.fetchval(query)


async def add(database: Database, *names: str) -> None:
    """Store rows in one transaction."""
    async with database.transaction() as connection:
        for name in names:
            await connection.execute(ADD, name)


async def test_a_transaction_commits_whole(small: Database) -> None:
    async with small.transaction() as connection:
        await connection.execute(ADD, "A")
        await connection.execute(ADD, "B")
        assert await value(small, COUNT) == 0
    assert await value(small, COUNT) == 2


@pytest.mark.parametrize("error", [Conflict("no"), ZeroDivisionError(), asyncio.CancelledError()])
async def test_a_transaction_that_fails_leaves_nothing(small: Database, error: BaseException) -> None:
    async def fail() -> None:
        async with small.transaction() as connection:
            await connection.execute(ADD, "A")
            raise error

    with pytest.raises(type(error)):
        await fail()
    assert await value(small, COUNT) == 0


async def test_a_broken_statement_breaks_no_connection(small: Database) -> None:
    for _ in range(5):
        with pytest.raises(asyncpg.UndefinedTableError):
            await value(small, "SELECT * FROM nowhere")
        with pytest.raises(asyncpg.UniqueViolationError):
            await add(small, "A", "A")
    assert await value(small, COUNT) == 0


async def test_an_argument_that_cannot_be_sent_is_no_outage(small: Database) -> None:
    for argument in ("lone \ud800 surrogate", 7, "a\x00b"):
        with pytest.raises(asyncpg.DataError):
            async with small.connection() as connection:
                await connection.fetchval("SELECT $1::text", argument)
    assert await value(small, "SELECT 1") == 1


async def test_what_takes_too_long_is_unavailable(postgres_url: str) -> None:
    hasty = Database(postgres_url, pool_size=1, connect_timeout_s=2.0, timeout_s=0.2, name="hasty")
    await hasty.open()
    for _ in range(3):
        with pytest.raises(Unavailable):
            await value(hasty, "SELECT pg_sleep(10)")
    with pytest.raises(Unavailable):
        async with hasty.connection():
            await value(hasty, "SELECT 1")
    assert await value(hasty, "SELECT 1") == 1
    await hasty.close()


async def test_a_thousand_cancelled_uses_leave_the_pool_whole(small: Database) -> None:
    async def use() -> None:
        async with small.transaction() as connection:
            await connection.execute(ADD, "A")
            await asyncio.Event().wait()

    for _ in range(50):
        uses = [asyncio.create_task(use()) for _ in range(20)]
        await asyncio.sleep(0)
        for task in uses:
            task.cancel()
        await asyncio.wait(uses)
    assert await value(small, COUNT) == 0
    assert await asyncio.gather(*(value(small, "SELECT 1") for _ in range(20))) == [1] * 20


async def test_a_connection_that_was_cut_is_replaced(small: Database, postgres_owner_url: str) -> None:
    assert await value(small, "SELECT 1") == 1
    owner = await asyncpg.connect(postgres_owner_url)
    try:
        async with small.connection() as connection:
            with pytest.raises(Unavailable):
                await use_while_cut(small, owner)
            assert await connection.fetchval("SELECT 1") == 1
    finally:
        await owner.close()
    assert await value(small, "SELECT 1") == 1


async def use_while_cut(database: Database, owner: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Use a connection that the server ends."""
    async with database.connection() as connection:
        await owner.fetchval(CUT, await connection.fetchval("SELECT pg_backend_pid()"))
        await connection.fetchval("SELECT 1")


async def test_without_a_server_everything_is_unavailable() -> None:
    away = Database("postgresql://solver@127.0.0.1:1/x", pool_size=1, connect_timeout_s=1, timeout_s=1, name="away")
    with pytest.raises(Unavailable):
        await value(away, "SELECT 1")
    await away.open()
    with pytest.raises(Unavailable):
        await value(away, "SELECT 1")
    with pytest.raises(Unavailable):
        await away.listen_connection()
    await away.close()


CUT = "SELECT pg_terminate_backend($1)"
FIND = "SELECT pid FROM pg_stat_activity WHERE application_name = 'small-listen'"


async def heard(small: Database, waker: asyncio.Event, name: str) -> None:
    """Notify until a waker hears of it, as writers do again and again."""
    async with asyncio.timeout(WITHIN_S):
        while not waker.is_set():
            async with small.connection() as connection:
                await connection.execute("SELECT pg_notify($1, $2)", WORK_CHANNEL, name)
            await asyncio.wait([asyncio.create_task(waker.wait())], timeout=0.05)


async def test_a_listener_that_was_cut_listens_again(small: Database, postgres_owner_url: str) -> None:
    listener = Listener(small)
    await listener.open()
    waker, other = listener.waker("features"), listener.waker("solve")
    await heard(small, waker, "features")
    owner = await asyncpg.connect(postgres_owner_url)
    try:
        for _ in range(3):
            (pid,) = [row["pid"] for row in await owner.fetch(FIND)]
            other.clear()
            await owner.fetchval(CUT, pid)
            async with asyncio.timeout(WITHIN_S):
                await other.wait()
            waker.clear()
            await heard(small, waker, "features")
    finally:
        await owner.close()
    listener.forget("features", waker)
    await listener.close()
