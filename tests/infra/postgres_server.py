"""A real, migrated Postgres for the whole run, which ends with it."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from app.infra.db import Database
from app.infra.embedded.binaries import find_postgres
from app.infra.embedded.errors import BinaryMissing
from app.infra.embedded.postgres import EmbeddedPostgres
from app.infra.migrations import migrate
from app.models import metadata

_SETTINGS = {"fsync": "off", "full_page_writes": "off", "max_connections": "120"}
_TABLES = ", ".join(table.fullname for table in metadata.sorted_tables)


@pytest_asyncio.fixture(scope="session")
async def postgres_server() -> AsyncIterator[EmbeddedPostgres]:
    """Run a migrated server."""
    try:
        binaries = find_postgres()
    except BinaryMissing as missing:
        pytest.skip(str(missing))
    # Not `tmp_path_factory`: a unix socket's path must be short, and another user may have to pass.
    directory = Path(tempfile.mkdtemp(prefix="solver-pg-"))
    os.chmod(directory, 0o711)
    try:
        async with EmbeddedPostgres(directory / "data", binaries, settings=_SETTINGS) as server:
            await migrate(server.owner_url)
            yield server
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_owner_url(postgres_server: EmbeddedPostgres) -> str:
    """Name the database as the role that migrates."""
    return postgres_server.owner_url


@pytest.fixture(scope="session")
def postgres_url(postgres_server: EmbeddedPostgres) -> str:
    """Name the database as the least-privilege role of the service."""
    return postgres_server.service_url


@pytest_asyncio.fixture(scope="session")
async def database(postgres_url: str) -> AsyncIterator[Database]:
    """Open the database as the service does; rows of earlier tests may be there."""
    database = Database(postgres_url, pool_size=8, connect_timeout_s=5.0, timeout_s=10.0, name="tests")
    await database.open()
    yield database
    await database.close()


@pytest_asyncio.fixture
async def clean_database(database: Database, postgres_owner_url: str) -> Database:
    """Empty every table before the test."""
    connection = await asyncpg.connect(postgres_owner_url)
    try:
        await connection.execute(f"TRUNCATE {_TABLES} RESTART IDENTITY")
    finally:
        await connection.close()
    return database
