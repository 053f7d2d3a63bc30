"""Run migrations on the database that the caller connected, or that SOLVER_DATABASE__OWNER_URL names."""

import asyncio

from alembic import context
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from app.config import load_settings
from app.models import LAKE, WAREHOUSE, metadata


def include_name(name: str | None, kind: str, _: object) -> bool:
    """Look only at this product's schemas."""
    return kind != "schema" or name in (LAKE, WAREHOUSE)


def run(connection: Connection) -> None:
    """Migrate in one transaction."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_schemas=True,
        include_name=include_name,
        compare_type=True,
        version_table_schema="public",
    )
    with context.begin_transaction():
        context.run_migrations()


async def run_online(url: str) -> None:
    """Connect as the owner and migrate."""
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://", 1))
    async with engine.begin() as connection:
        await connection.run_sync(run)
    await engine.dispose()


connection = context.config.attributes.get("connection")
if connection is not None:
    run(connection)
else:
    database = load_settings().database
    url = database.owner_url or database.url
    if url is None:
        raise SystemExit("set SOLVER_DATABASE__OWNER_URL (or SOLVER_DATABASE__URL) to the database to migrate")
    asyncio.run(run_online(url.get_secret_value()))
