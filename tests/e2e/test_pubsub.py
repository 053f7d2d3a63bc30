"""The service on Google Pub/Sub, as its emulator plays it."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from app.infra.bus_pubsub import PubSubBus
from app.infra.db import Database
from app.services.event_check import check_event
from app.services.schemas.prices import PriceIn
from tests import scenarios
from tests.factories import requested, trade
from tests.infra.pubsub_emulator import PubSubEmulator, running_emulator
from tests.scenarios import Office

pytestmark = pytest.mark.emulator

WITHIN_S = 60.0
_numbers = itertools.count()


@pytest.fixture(scope="module")
def emulator() -> Iterator[PubSubEmulator]:
    with running_emulator() as emulator:
        yield emulator


@pytest.fixture
async def sections(emulator: PubSubEmulator) -> dict[str, Any]:
    bus = {"kind": "pubsub", "emulator_host": emulator.host, "topic_prefix": f"run{next(_numbers)}_"}
    return {"bus": bus, "pipeline": {"stuck_after_s": 1.0}}


@pytest.fixture
async def office(clean_database: Database, postgres_url: str, sections: dict[str, Any]) -> AsyncIterator[Office]:
    async with scenarios.office(postgres_url, **sections) as office:
        yield office


async def settled(office: Office, count: int) -> None:
    """Wait until that many routes are ready, sweeping meanwhile."""
    async with asyncio.timeout(WITHIN_S):
        while await office.desk.value("SELECT count(*) FROM lake.route WHERE status = 'ready'") < count:
            await office.desk.stages.sweeper.sweep()
            await asyncio.sleep(0.2)


async def test_routes_are_ready_by_post_and_by_event(office: Office) -> None:
    async with scenarios.working(office.desk):
        answers = await asyncio.gather(
            *(office.client.post("/v1/routes", json=trade(), headers={"Prefer": "wait=30"}) for _ in range(5))
        )
        assert {(answer.status_code, answer.json()["status"]) for answer in answers} == {(201, "ready")}
        await office.desk.services.publishing.publish([b"{", requested(), requested(), requested("other")])
        await settled(office, 7)
        for row in await office.desk.fetch("SELECT id FROM lake.route"):
            trail = await office.desk.trail(row["id"])
            assert [seq for seq, _, _ in trail] == list(range(1, len(trail) + 1))
            assert [kind for _, kind, _ in trail].count("route_update.solution_ok") == 1
    assert await office.desk.count("lake.route") == 7
    assert [letter["payload"] for letter in await office.desk.dead()] == [b"{"]


async def test_every_event_is_published(office: Office) -> None:
    async with scenarios.working(office.desk):
        answer = await office.client.post("/v1/routes", json=trade(), headers={"Prefer": "wait=30"})
        await office.client.delete(answer.headers["location"])
        await office.desk.until("SELECT count(*) = 0 FROM lake.delivery WHERE state = 0", within_s=WITHIN_S)
    relayed = "SELECT count(*) FROM lake.delivery WHERE consumer = 'relay' AND state = 1"
    assert await office.desk.value(relayed) == await office.desk.count("lake.event")


async def test_what_the_broker_forgot_is_published_again(office: Office, emulator: PubSubEmulator) -> None:
    for number in range(10):
        await office.desk.request(key=f"k{number}")
    relay = office.desk.stages.runners["relay"]
    while claims := await office.desk.take("relay"):
        await relay.run(claims)
    emulator.child.kill()
    emulator.child.start()
    await office.desk.execute("UPDATE lake.route SET updated_at = now() - interval '1 minute'")
    await office.desk.execute("UPDATE lake.delivery SET available_at = now() - interval '1 minute' WHERE state = 1")
    async with scenarios.working(office.desk):
        await settled(office, 10)
    for row in await office.desk.fetch("SELECT id FROM lake.route"):
        trail = await office.desk.trail(row["id"])
        assert [seq for seq, _, _ in trail] == list(range(1, len(trail) + 1))
    assert await office.desk.count("lake.dead_letter") == 0


async def test_while_the_broker_is_away_routes_are_accepted_and_wait(office: Office, emulator: PubSubEmulator) -> None:
    emulator.child.kill()
    async with scenarios.working(office.desk):
        try:
            answer = await office.client.post("/v1/routes", json=trade())
            assert answer.status_code == 202
        finally:
            emulator.child.start()
        await settled(office, 1)
    assert await office.desk.count("lake.dead_letter") == 0


async def test_metrics_are_published_row_by_row(office: Office, sections: dict[str, Any]) -> None:
    services, metering = office.desk.services, office.desk.stages.metering
    topic = f"{sections['bus']['topic_prefix']}metrics"
    assert isinstance(services.bus, PubSubBus)
    await services.bus.ensure([topic], {f"{topic}_seen": topic})
    now = services.clock.now()
    times = [now - timedelta(seconds=back) for back in range(400, 300, -1)]
    prices = [{"instrument": "BTC-USD", "price": str(100 + at.second % 3), "size": "1", "at": at} for at in times]
    await services.prices.write([PriceIn.model_validate(price) for price in prices], default_source="desk")
    assert metering is not None
    while await metering.meter():
        pass
    rows = await office.desk.fetch("SELECT instrument, interval_s, event_ts, known_ts FROM warehouse.metric")
    assert len(rows) > 160
    said: dict[str, dict[str, Any]] = {}
    async with asyncio.timeout(WITHIN_S):
        while len(said) < len(rows):
            received = await services.bus.receive(f"{topic}_seen", limit=500, wait_s=1.0)
            said |= {each.message.attributes["id"]: check_event(each.message.body)["data"] for each in received}
            await services.bus.acknowledge(received)
    keys = {(row["instrument"], row["interval_s"], row["event_ts"], row["known_ts"]) for row in rows}
    assert keys == {
        (
            data["instrument"],
            data["interval_s"],
            datetime.fromisoformat(data["event_ts"]),
            datetime.fromisoformat(data["known_ts"]),
        )
        for data in said.values()
    }
