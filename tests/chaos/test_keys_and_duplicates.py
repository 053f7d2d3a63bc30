"""The same thing said many times happens once."""

import asyncio
import json
import random
import uuid

import asyncpg
import httpx
import pytest
from websockets.asyncio.client import connect

from tests.chaos.installation import Installation
from tests.chaos.load import trade
from tests.chaos.truth import Truth, is_at_rest, read_truth

pytestmark = pytest.mark.chaos

KEYS = 20
POSTS_PER_KEY = 50
ROUNDS = 5
PATIENCE_S = 30.0

# Every event of every route comes again, in another order, some of them late.
REDELIVER = """
UPDATE lake.delivery SET state = 0, attempts = 0, available_at = now() + random() * interval '0.3 s' WHERE state = 1
"""


async def test_fifty_posts_with_one_key_make_one_route(
    installation: Installation, client: httpx.AsyncClient, database: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    chance = random.Random(1)
    for _ in range(KEYS):
        key, body = f"one-{uuid.uuid4()}", trade(chance)
        answers = await asyncio.gather(
            *(client.post("/v1/routes", json=body, headers={"Idempotency-Key": key}) for _ in range(POSTS_PER_KEY))
        )
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.content for answer in answers}) == 1
        stored = await database.fetch("SELECT route_id::text FROM lake.idempotency WHERE key = $1", key)
        assert [row[0] for row in stored] == [answers[0].json()["id"]]
    requested = await database.fetchval("SELECT count(*) FROM lake.route")
    named = await database.fetchval("SELECT count(*) FROM lake.idempotency")
    assert requested == named


async def test_events_that_come_again_change_nothing(
    installation: Installation, client: httpx.AsyncClient, database: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    chance = random.Random(2)
    await asyncio.gather(
        *(client.post("/v1/routes", json=trade(chance), headers={"Prefer": "wait=20"}) for _ in range(10))
    )
    before = await _at_rest(database)
    async with connect(installation.socket_url, additional_headers=installation.headers) as socket:
        await socket.send(json.dumps({"op": "subscribe", "channel": "routes", "all": True}))
        assert json.loads(await socket.recv())["type"] == "subscribed"
        for _ in range(ROUNDS):
            await database.execute(REDELIVER)
            await database.execute(
                "SELECT pg_notify('solver_work', c) FROM unnest(ARRAY['features','inference','solve']) AS t(c)"
            )
            assert await _at_rest(database) == before
        # Whatever the rounds had caused would come before what happens to a route requested after them.
        latest = (await client.post("/v1/routes", json=trade(chance), headers={"Prefer": "wait=20"})).json()
        heard: list[str] = []
        while not heard or heard[-1] != "ready":
            message = json.loads(await asyncio.wait_for(socket.recv(), PATIENCE_S))
            if message["type"] == "update":
                assert message["route_id"] == latest["id"]
                heard.append(message["data"]["status"])


async def _at_rest(database: "asyncpg.Connection[asyncpg.Record]") -> Truth:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if await is_at_rest(database):
                return await read_truth(database)
            await asyncio.sleep(0.1)
