import asyncpg
import pytest

from app.domain.errors import Unavailable
from app.infra.db import Database
from app.infra.migrations import is_current, migrate, newest_revision
from app.models import SCHEMA_REVISION, metadata


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
