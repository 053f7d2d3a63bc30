"""Bring the database to the newest schema, and tell whether it is there."""

from functools import cache
from pathlib import Path

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from app.domain.errors import Unavailable

_DIRECTORY = Path(__file__).parents[2] / "migrations"
_CONNECT_TIMEOUT_S = 5.0
_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
)
_LET_SERVICE_LOOK = """
DO $$ BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'solver_service') THEN
    GRANT SELECT ON public.alembic_version TO solver_service;
  END IF;
END $$
"""


async def migrate(owner_url: str) -> None:
    """Apply the migrations that are missing, all or none. Concurrent calls take turns. Raises Unavailable."""

    async def connect() -> "asyncpg.Connection[asyncpg.Record]":
        return await asyncpg.connect(owner_url, timeout=_CONNECT_TIMEOUT_S)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_upgrade)
    except _AWAY as error:
        raise Unavailable(f"Postgres is away ({type(error).__name__}: {error}); nothing was migrated") from error
    finally:
        await engine.dispose()


async def is_current(url: str) -> bool:
    """Say whether the database has the newest schema; any role may ask. Raises Unavailable."""
    try:
        connection = await asyncpg.connect(url, timeout=_CONNECT_TIMEOUT_S)
        try:
            revision = await connection.fetchval("SELECT version_num FROM public.alembic_version")
        except asyncpg.UndefinedTableError:
            return False
        finally:
            await connection.close()
    except _AWAY as error:
        raise Unavailable(f"Postgres is away ({type(error).__name__}: {error})") from error
    return bool(revision == newest_revision())


@cache
def newest_revision() -> str | None:
    """Name the newest migration."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_DIRECTORY).replace("%", "%%"))
    return config


def _upgrade(connection: Connection) -> None:
    connection.execute(text("SELECT pg_advisory_xact_lock(7305780)"))
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    connection.execute(text(_LET_SERVICE_LOOK))
