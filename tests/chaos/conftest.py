"""One installation for the experiments; each of them leaves it running."""

from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest

from tests.chaos.installation import Installation, installed

# Short leases, so that a worker that was stopped loses what it holds while a test waits.
_SETTINGS = {"SOLVER_PIPELINE__LEASE_S": "1", "SOLVER_PIPELINE__STUCK_AFTER_S": "3"}


@pytest.fixture(scope="package")
async def shared_installation() -> AsyncIterator[Installation]:
    async with installed(_SETTINGS) as installation:
        yield installation


@pytest.fixture
async def installation(shared_installation: Installation) -> Installation:
    await shared_installation.ready()
    await shared_installation.running("worker")
    return shared_installation


@pytest.fixture
async def client(installation: Installation) -> AsyncIterator[httpx.AsyncClient]:
    async with installation.client(timeout_s=40.0) as opened:
        yield opened


@pytest.fixture
async def database(installation: Installation) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(installation.database_url)
    yield connection
    await connection.close()
