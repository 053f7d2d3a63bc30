"""All of it in one process, on real servers: two workers, an API, routes in by HTTP, answers out by a socket."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.infra.db import Database
from tests import scenarios
from tests.factories import book, fill, requested, trade
from tests.infra.redis_server import RedisServer, running_redis
from tests.scenarios import Office

ROUTES = 60


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with tempfile.TemporaryDirectory(prefix="solver-redis-") as directory, running_redis(Path(directory)) as redis:
        yield redis


@pytest.fixture
async def office(clean_database: Database, postgres_url: str, redis: RedisServer) -> AsyncIterator[Office]:
    sections: dict[str, Any] = {"redis": {"url": redis.url}, "pipeline": {"batch": 8}}
    async with (
        scenarios.office(postgres_url, **sections) as office,
        scenarios.desk(postgres_url, worker_name="one", **sections) as one,
        scenarios.desk(postgres_url, worker_name="two", **sections) as two,
        scenarios.working(one, two),
    ):
        yield office


async def test_routes_in_answers_out(office: Office) -> None:
    async with scenarios.served(office) as url, scenarios.stream(url, office.key) as stream:
        await stream.say(op="subscribe", channel="routes", all=True)
        await stream.hear()
        headers = [{"Idempotency-Key": f"k{number}", "Prefer": "wait=20"} for number in range(ROUTES)]
        answers = await asyncio.gather(
            *(office.client.post("/v1/routes", json=trade(), headers=each) for each in headers)
        )
        assert {answer.status_code for answer in answers} == {201}
        assert {answer.json()["status"] for answer in answers} == {"ready"}
        heard = await stream.hear_many(11 * ROUTES)
    for answer in answers:
        mine = [message for message in heard if message["route_id"] == answer.json()["id"]]
        assert [message["seq"] for message in mine] == list(range(1, 12))
        assert mine[-1]["data"]["solution"] == answer.json()["solution"]
    assert await office.desk.count("lake.event") == 11 * ROUTES
    assert await office.desk.count("lake.dead_letter") == 0


async def test_a_whole_life(office: Office) -> None:
    ready = await office.client.post("/v1/routes", json=trade(), headers={"Prefer": "wait=20"})
    location = ready.headers["location"]
    half = fill("a", receives={"asset": "BTC", "amount": "0.25"})
    assert (await office.client.post(f"{location}/fills", json=half)).json()["status"] == "executing"
    rest = fill("b", receives={"asset": "BTC", "amount": "0.25"})
    assert (await office.client.post(f"{location}/fills", json=rest)).json()["status"] == "filled"
    assert (await office.client.delete(location)).json()["status"] == "filled"
    await office.desk.stages.sweeper.sweep()
    trail = (await office.client.get(f"{location}/events")).json()["items"]
    assert [event["sequence"] for event in trail] == [str(number) for number in range(1, 15)]


async def test_routes_over_a_third_asset_come_by_post_and_by_event(office: Office) -> None:
    ether = book("kraken:ETH-USD", base="ETH", bids=[["3000", "90"]], asks=[["3001", "90"]])
    await office.desk.list_markets(ether)
    asked = trade(instrument="ETH-BTC", side="sell", quantity="2")
    posted = await office.client.post("/v1/routes", json=asked, headers={"Prefer": "wait=20"})
    await office.desk.services.publishing.publish([requested(data={"program": "desk", "trade": asked})])
    await office.desk.until("SELECT count(*) = 2 FROM lake.route WHERE status = 'ready'")
    for route in (await office.client.get("/v1/routes")).json()["items"]:
        legs = route["solution"]["slices"][0]["legs"]
        assert [(leg["market_id"], leg["step"]) for leg in legs] == [("kraken:ETH-USD", 0), ("kraken:BTC-USD", 1)]
    assert posted.status_code == 201


async def test_redis_may_come_and_go(office: Office, redis: RedisServer) -> None:
    for change in (redis.child.kill, redis.child.start):
        change()
        answer = await office.client.post("/v1/routes", json=trade(), headers={"Prefer": "wait=20"})
        assert (answer.status_code, answer.json()["status"]) == (201, "ready")


async def test_an_event_asks_for_a_route_like_a_post(office: Office) -> None:
    posted = await office.client.post("/v1/routes", json=trade(), headers={"Prefer": "wait=20"})
    await office.desk.services.publishing.publish([requested(), b"{", requested()])
    await office.desk.until("SELECT count(*) = 2 FROM lake.route WHERE status = 'ready'")
    listed = (await office.client.get("/v1/routes")).json()["items"]
    solutions = [item["solution"] for item in listed]
    assert len(listed) == 2
    assert solutions[0]["receives"] == solutions[1]["receives"] == posted.json()["solution"]["receives"]
    await office.desk.until("SELECT count(*) = 1 FROM lake.dead_letter")
