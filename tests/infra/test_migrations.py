import hashlib
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from app.domain.errors import Unavailable
from app.infra.db import Database
from app.infra.migrations import is_current, migrate, newest_revision
from app.models import SCHEMA_REVISION, metadata

OLDER_ROWS = """
INSERT INTO lake.route (id, program, instrument, trade, status, revision, snapshot_id)
VALUES (gen_random_uuid(), 'desk', 'BTC-USD', '{}', 'ready', 1, gen_random_uuid());
INSERT INTO warehouse.solution (route_id, revision, snapshot_id, document, timings)
SELECT id, 1, snapshot_id, '{}', '{}' FROM lake.route;
INSERT INTO lake.price (instrument, source, at, tick_id, price, size) VALUES
  ('BTC-USD', 'x', '2026-01-05T12:00:00Z', '9bb2d9fc46d6f0e0a5a8b1d7', 64000.5, 1),
  ('BTC-USD', 'x', '2026-01-05T12:00:00Z', 'own', 64000.5, 1),
  ('BTC-USD', 'x', '1997-01-05T12:00:00Z', '{digest}', 64000.5, 1)
"""


async def run_alembic(url: str, run: Callable[[Config], None]) -> None:
    """Run a command of Alembic on a database."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parents[2] / "migrations"))

    async def connect() -> "asyncpg.Connection[asyncpg.Record]":
        return await asyncpg.connect(url)

    def run_on(connection: Connection) -> None:
        config.attributes["connection"] = connection
        run(config)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    async with engine.begin() as connection:
        await connection.run_sync(run_on)
    await engine.dispose()


async def test_migrated_database_is_current_for_every_role(postgres_url: str, postgres_owner_url: str) -> None:
    assert await is_current(postgres_url)
    assert await is_current(postgres_owner_url)


async def test_migrating_again_changes_nothing(postgres_owner_url: str) -> None:
    await migrate(postgres_owner_url)
    assert await is_current(postgres_owner_url)


async def test_empty_database_is_not_current(postgres_owner_url: str) -> None:
    owner = await asyncpg.connect(postgres_owner_url)
    try:
        await owner.execute("CREATE DATABASE solver_empty")
        try:
            assert not await is_current(postgres_owner_url.replace("/solver?", "/solver_empty?"))
        finally:
            await owner.execute("DROP DATABASE solver_empty")
    finally:
        await owner.close()


@pytest.mark.filterwarnings("ignore:Did not recognize type 'xid8'")
async def test_an_older_database_is_brought_up_with_its_rows(postgres_owner_url: str) -> None:
    owner = await asyncpg.connect(postgres_owner_url)
    older_url = postgres_owner_url.replace("/solver?", "/solver_older?")
    try:
        await owner.execute("CREATE DATABASE solver_older")
        try:
            await run_alembic(older_url, lambda config: command.upgrade(config, "0001"))
            older = await asyncpg.connect(older_url)
            digest = hashlib.blake2b(b"64000.5 1.0", digest_size=12).hexdigest()
            await older.execute(OLDER_ROWS.replace("{digest}", digest))
            await older.close()
            await migrate(older_url)
            assert await is_current(older_url)
            older = await asyncpg.connect(older_url)
            assert await older.fetchval("SELECT next_due_at IS NULL FROM lake.route")
            assert await older.fetchval("SELECT inputs IS NULL AND revision = 1 FROM warehouse.solution")
            names = await older.fetch("SELECT tick_id FROM lake.price ORDER BY 1")
            assert [row[0] for row in names] == ["64000.5x1.0", "9bb2d9fc46d6f0e0a5a8b1d7", "own"]
            await older.close()
            await run_alembic(older_url, command.check)
        finally:
            await owner.execute("DROP DATABASE solver_older")
    finally:
        await owner.close()


async def test_absent_server_is_unavailable(postgres_owner_url: str) -> None:
    with pytest.raises(Unavailable):
        await is_current("postgresql://solver@127.0.0.1:1/solver")
    with pytest.raises(Unavailable):
        await migrate("postgresql://solver@127.0.0.1:1/solver")


async def test_service_role_may_write_rows_but_not_change_tables(clean_database: Database) -> None:
    async with clean_database.connection() as connection:
        for table in metadata.sorted_tables:
            assert await connection.fetchval(f"SELECT count(*) FROM {table.fullname}") == 0
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("DROP TABLE lake.market")


def test_the_models_name_the_newest_migration() -> None:
    assert newest_revision() == SCHEMA_REVISION
