"""Parts that stop, vanish or forget; work goes on, or says that it cannot and when to ask again."""

import asyncio
import json
import random
import signal
import time
import uuid

import asyncpg
import httpx
import psutil
import pytest
import redis.asyncio as redis
from websockets.asyncio.client import connect

from tests.chaos.installation import Installation
from tests.chaos.load import trade
from tests.chaos.truth import is_at_rest, read_truth, unsettled

pytestmark = pytest.mark.chaos

PATIENCE_S = 30.0
REFUSED_WITHIN_S = 2.5
"""The promise is 2 s; a loaded machine gets half a second more."""
RECOVERED_WITHIN_S = 10.0
DRAINED_WITHIN_S = 15.0
BURST = 60

LEASED = "SELECT count(*) FROM lake.delivery WHERE state = 0 AND owner LIKE 'worker/%' AND available_at > now()"
BUSY = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'solver-worker' AND state <> 'idle'"


async def test_a_worker_that_lost_its_lease_commits_nothing(
    installation: Installation, client: httpx.AsyncClient, database: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    chance = random.Random(3)
    await _stop_worker_holding_leases(installation, client, database, chance)
    try:
        async with installation.another_worker("second"):
            await _settled(database)
            before = await read_truth(database)
    finally:
        installation.signal("worker", signal.SIGCONT)
    answer = await client.post("/v1/routes", json=trade(chance), headers={"Prefer": "wait=20"})
    assert answer.json()["status"] == "ready"
    await _at_rest(database)
    after = await read_truth(database)
    for route_id, trail in before.trails.items():
        # The sweeper confirms what was stored; the stages say nothing twice.
        assert after.trails[route_id][: len(trail)] == trail
        assert all(event.type == "route_update.existence_ok" for event in after.trails[route_id][len(trail) :])
    assert {route_id: after.solutions[route_id] for route_id in before.solutions} == before.solutions


async def _stop_worker_holding_leases(
    installation: Installation,
    client: httpx.AsyncClient,
    database: "asyncpg.Connection[asyncpg.Record]",
    chance: random.Random,
) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            posts = asyncio.gather(*(client.post("/v1/routes", json=trade(chance)) for _ in range(BURST)))
            await asyncio.sleep(chance.uniform(0.05, 0.25))
            installation.signal("worker", signal.SIGSTOP)
            await posts
            if await database.fetchval(LEASED) and not await database.fetchval(BUSY):
                return
            installation.signal("worker", signal.SIGCONT)


async def test_a_silent_database_is_answered_503_and_recovered_from(
    installation: Installation, client: httpx.AsyncClient
) -> None:
    body, key = trade(random.Random(4)), f"silent-{uuid.uuid4()}"
    assert (await client.post("/v1/routes", json=trade(random.Random(5)))).status_code == 202
    installation.signal("postgres", signal.SIGSTOP, with_children=True)
    try:
        for _ in range(3):
            began = time.monotonic()
            refused = await client.post("/v1/routes", json=body, headers={"Idempotency-Key": key})
            assert refused.status_code == 503
            assert int(refused.headers["Retry-After"]) >= 1
            assert time.monotonic() - began < REFUSED_WITHIN_S
    finally:
        installation.signal("postgres", signal.SIGCONT, with_children=True)
    async with asyncio.timeout(RECOVERED_WITHIN_S):
        while True:
            answer = await client.post("/v1/routes", json=body, headers={"Idempotency-Key": key, "Prefer": "wait=9"})
            if answer.status_code == 201:
                break
    assert answer.json()["status"] == "ready"
    listed = await client.get("/v1/routes", params={"limit": 5})
    assert [route["id"] for route in listed.json()["items"]].count(answer.json()["id"]) == 1


async def test_routes_settle_without_redis(installation: Installation, client: httpx.AsyncClient) -> None:
    chance = random.Random(6)
    async with redis.from_url(installation.runtime["SOLVER_REDIS__URL"]) as connection:
        await connection.flushall()
    assert await _statuses(client, chance) == {"ready"}
    killed = installation.signal("redis", signal.SIGKILL)
    assert await _statuses(client, chance) == {"ready"}
    await installation.running("redis", but_not=killed)


async def _statuses(client: httpx.AsyncClient, chance: random.Random) -> set[str]:
    answers = await asyncio.gather(
        *(client.post("/v1/routes", json=trade(chance), headers={"Prefer": "wait=20"}) for _ in range(10))
    )
    return {answer.json()["status"] for answer in answers}


async def test_a_terminated_api_says_so_answers_what_it_holds_and_ends(
    installation: Installation, client: httpx.AsyncClient
) -> None:
    # While no worker runs, a request that waits for its route is still under way when the signal comes.
    installation.signal("worker", signal.SIGSTOP)
    try:
        pid = await installation.running("api")
        async with connect(installation.socket_url, additional_headers=installation.headers) as socket:
            await socket.send(json.dumps({"op": "subscribe", "channel": "routes", "all": True}))
            assert json.loads(await socket.recv())["type"] == "subscribed"
            waiting = asyncio.create_task(
                client.post("/v1/routes", json=trade(random.Random(7)), headers={"Prefer": "wait=3"})
            )
            assert json.loads(await asyncio.wait_for(socket.recv(), PATIENCE_S))["type"] == "update"
            began = time.monotonic()
            installation.signal("api", signal.SIGTERM)
            types = [json.loads(message)["type"] async for message in socket]
            assert types[-1] == "closing"
            assert socket.close_code == 1001
        assert not await _is_ready(installation, pid)
        assert (await waiting).status_code == 202
        await asyncio.to_thread(_wait_for_end, pid)
        assert time.monotonic() - began < DRAINED_WITHIN_S
    finally:
        installation.signal("worker", signal.SIGCONT)
    await installation.running("api", but_not=pid)
    await installation.ready()


async def _is_ready(installation: Installation, pid: int) -> bool:
    async with installation.client(timeout_s=2.0) as probe:
        try:
            answer = await probe.get("/health/ready")
        except httpx.HTTPError:
            return False
    return answer.status_code == 200 and installation.pid("api") == pid


def _wait_for_end(pid: int) -> None:
    try:
        psutil.Process(pid).wait(DRAINED_WITHIN_S)
    except psutil.NoSuchProcess:
        return


async def _settled(database: "asyncpg.Connection[asyncpg.Record]") -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if not await unsettled(database):
                return
            await asyncio.sleep(0.1)


async def _at_rest(database: "asyncpg.Connection[asyncpg.Record]") -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if await is_at_rest(database):
                return
            await asyncio.sleep(0.1)
