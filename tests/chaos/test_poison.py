"""Events that cannot be handled end as dead letters with their reason; the others do not notice."""

import asyncio
import json
import random
import uuid
from typing import Any

import asyncpg
import httpx
import pytest

from tests.chaos.installation import Installation
from tests.chaos.load import trade

pytestmark = pytest.mark.chaos

PATIENCE_S = 30.0
GOOD = 20


async def test_broken_events_are_dead_lettered_and_the_others_finish(
    installation: Installation, client: httpx.AsyncClient, database: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    chance = random.Random(8)
    program = (await client.post("/v1/routes", json=trade(chance))).json()["program"]
    source = f"desk-{uuid.uuid4()}"
    good = [_event(source, f"good-{number}", program, trade(chance)) for number in range(GOOD)]
    broken = {
        "unknown-version": {
            **_event(source, "unknown-version", program, trade(chance)),
            "dataschema": "urn:solver:event:route_request:v99",
        },
        "unknown-program": _event(source, "unknown-program", "nobody", trade(chance)),
        "unknown-asset": _event(source, "unknown-asset", program, trade(chance, instrument="XXX-USD")),
        "wrong-trade": _event(source, "wrong-trade", program, trade(chance, quantity="-1")),
        "no-data": {**_event(source, "no-data", program, {}), "data": "nothing"},
    }
    mixed = [*good, *broken.values()]
    chance.shuffle(mixed)
    code, said = await installation.solver(
        "events", "publish", "-", "--unchecked", content="\n".join(map(json.dumps, mixed)).encode()
    )
    assert code == 0, said
    # A stage gets an event about a route that does not exist.
    await database.execute(
        "INSERT INTO lake.delivery (consumer, source, event_id, route_id) VALUES ('features', $1, 'no-route', $2)",
        source,
        uuid.uuid4(),
    )
    reasons = await _dead(database, source, len(broken) + 1)
    assert set(reasons) == {*broken, "no-route"}
    assert all(reasons.values())
    for number in range(GOOD):
        assert await _status(client, f"{source}-good-{number}") == "ready"
    for name in broken:
        found = await client.get("/v1/routes", params={"client_order_id": f"{source}-{name}"})
        assert found.json()["items"] == []
    code, said = await installation.solver("events", "dead", "--json")
    assert code == 0, said
    assert {letter["event_id"] for letter in json.loads(said) if letter["source"] == source} == set(reasons)


def _event(source: str, identifier: str, program: str, wanted: dict[str, Any]) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": identifier,
        "source": source,
        "type": "route_request.trade_route",
        "data": {"program": program, "client_order_id": f"{source}-{identifier}", "trade": wanted},
    }


async def _dead(database: "asyncpg.Connection[asyncpg.Record]", source: str, count: int) -> dict[str, str]:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            rows = await database.fetch("SELECT event_id, reason FROM lake.dead_letter WHERE source = $1", source)
            if len(rows) >= count:
                return {row[0]: row[1] for row in rows}
            await asyncio.sleep(0.1)


async def _status(client: httpx.AsyncClient, client_order_id: str) -> str:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = (await client.get("/v1/routes", params={"client_order_id": client_order_id})).json()["items"]
            if found and found[0]["status"] in ("ready", "failed", "infeasible"):
                return str(found[0]["status"])
            await asyncio.sleep(0.1)
