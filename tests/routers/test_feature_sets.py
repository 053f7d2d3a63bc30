import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from app.infra.clock import SystemClock
from app.infra.db import Database
from app.services.schemas.feature_sets import FeatureSetIn
from tests.data_edge import data_edge
from tests.routers.test_features import now, post, text, ticks
from tests.routers.test_prices import walk

PATH = "/v1/feature-sets"


@pytest.fixture
async def client(clean_database: Database) -> AsyncIterator[httpx.AsyncClient]:
    async with data_edge(clean_database, clock=SystemClock()) as client:
        yield client


def momentum(**changes: Any) -> dict[str, Any]:
    return {
        "name": "momentum",
        "interval_s": 1,
        "columns": [
            "ta.rsi_14",
            "ts.sma",
            "log_return_1",
            "bar.close",
            {"name": "before", "transform": "lag", "of": ["bar.close"], "n": 3},
            {"name": "hour", "transform": "date_part", "part": "hour"},
        ],
        **changes,
    }


async def test_versions_count_up_and_the_same_again_is_the_version_there_is(client: httpx.AsyncClient) -> None:
    first = await client.post(PATH, json=momentum())
    assert first.status_code == 201
    assert first.headers["location"] == "/v1/feature-sets/momentum?version=1"
    again = await client.post(PATH, json=momentum(instruments=["*"]))
    assert (again.status_code, again.json()) == (200, first.json())
    second = (await client.post(PATH, json=momentum(interval_s=60))).json()
    assert second["version"] == 2
    assert second["schema_hash"] != first.json()["schema_hash"]
    assert (await client.post(PATH, json=momentum())).json()["version"] == 1
    newest = (await client.get(f"{PATH}/momentum")).json()
    assert newest == {**second, "versions": [1, 2]}
    assert (await client.get(f"{PATH}/momentum", params={"version": 1})).json()["interval_s"] == 1


async def test_many_at_once_make_one_version(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(client.post(PATH, json=momentum()) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [201]


async def test_sets_are_listed_by_name_newest_version_first(client: httpx.AsyncClient) -> None:
    for name, interval in (("b", 1), ("a", 1), ("b", 60), ("a2", 5)):
        await client.post(PATH, json=momentum(name=name, interval_s=interval))
    items = await walk(client, PATH, limit=1)
    assert [(item["name"], item["version"]) for item in items] == [("a", 1), ("a2", 1), ("b", 2), ("b", 1)]


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"name": "Momentum"}, "/name"),
        ({"columns": ["ta.rsi_15"]}, "/columns/0"),
        ({"columns": []}, "/columns"),
        ({"instruments": ["BTC"]}, "/instruments/0"),
        ({"interval_s": 0}, "/interval_s"),
        ({"version": 3}, "/version"),
    ],
)
async def test_invalid_sets_are_refused(client: httpx.AsyncClient, changes: dict[str, Any], pointer: str) -> None:
    refused = await client.post(PATH, json=momentum(**changes))
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == pointer
    assert (await client.get(PATH)).json()["items"] == []


async def test_defining_takes_the_market_scope_and_reading_does_not(clean_database: Database) -> None:
    async with data_edge(clean_database, key="reader") as client:
        assert (await client.post(PATH, json=momentum())).status_code == 403
        assert (await client.get(PATH)).json() == {"items": [], "next": None}
        assert (await client.get(f"{PATH}/momentum")).status_code == 404


async def test_documented_example_is_accepted(client: httpx.AsyncClient) -> None:
    [example] = FeatureSetIn.model_json_schema()["examples"]
    assert (await client.post(PATH, json=example)).status_code == 201


async def test_columns_are_told_as_known_at_a_time(client: httpx.AsyncClient) -> None:
    end = now()
    await post(client, ticks(end, 400))
    await client.post(PATH, json=momentum())
    as_of = text(now())
    params = {"set": "momentum@1", "as_of": as_of}
    known = await client.get("/v1/features/BTC-USD", params=params)
    assert known.status_code == 200, known.text
    answer = known.json()
    assert list(answer["features"]) == ["ta.rsi_14", "ts.sma", "log_return_1", "bar.close", "before", "hour"]
    assert answer["missing"] == []
    assert answer["set"] == {"name": "momentum", "version": 1}
    ending = datetime.fromisoformat(answer["event_ts"])
    bars = await walk(client, "/v1/bars/BTC-USD", interval=1, to=text(ending))
    closes = {datetime.fromisoformat(bar["start"]): float(bar["close"]) for bar in bars}
    assert answer["features"]["bar.close"] == closes[ending - timedelta(seconds=1)]
    assert answer["features"]["before"] == closes[ending - timedelta(seconds=4)]
    assert answer["features"]["hour"] == ending.astimezone(UTC).hour
    metrics = await client.get(
        "/v1/metrics/BTC-USD", params={"names": "ta.rsi_14,ts.sma", "interval": 1, "as_of": as_of, "limit": 1}
    )
    assert {name: answer["features"][name] for name in ("ta.rsi_14", "ts.sma")} == metrics.json()["items"][0]["values"]
    late = ticks(end - timedelta(seconds=1.5), 1)
    await post(client, [{**row, "price": "65000"} for row in late])
    assert (await client.get("/v1/features/BTC-USD", params=params)).content == known.content
    assert (await client.get("/v1/features/BTC-USD", params={"set": "momentum"})).json()["features"] != answer[
        "features"
    ]


async def test_seconds_and_bars_of_a_minute_go_together(client: httpx.AsyncClient) -> None:
    await post(client, ticks(now(), 1800, per_second=2))
    await client.post(PATH, json=momentum(interval_s=60))
    answer = (await client.get("/v1/features/BTC-USD", params={"set": "momentum"})).json()
    assert answer["interval_s"] == 60
    assert answer["missing"] == []


async def test_set_that_is_unknown_or_for_others_is_refused(client: httpx.AsyncClient) -> None:
    await post(client, ticks(now(), 3))
    await client.post(PATH, json=momentum(instruments=["ETH-USD"]))
    for name, status in (("nothing", 404), ("momentum@2", 404), ("momentum", 422), ("momentum@x", 422)):
        assert (await client.get("/v1/features/BTC-USD", params={"set": name})).status_code == status
    span = {"set": "momentum", "from": text(now())}
    assert (await client.get("/v1/features/BTC-USD", params=span)).status_code == 422
