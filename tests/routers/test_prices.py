from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio

from app.infra.db import Database
from app.services.schemas.prices import PricesIn
from tests.data_edge import data_edge
from tests.routers.test_markets import BOOK
from tests.twins import START


@pytest_asyncio.fixture
async def client(clean_database: Database) -> AsyncIterator[httpx.AsyncClient]:
    async with data_edge(clean_database) as client:
        yield client


def at(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat()


def tick(seconds: float, price: str = "64000", **changes: Any) -> dict[str, Any]:
    return {"instrument": "BTC-USD", "price": price, "size": "1", "at": at(seconds), **changes}


async def post(client: httpx.AsyncClient, *ticks: dict[str, Any]) -> httpx.Response:
    return await client.post("/v1/prices", json={"prices": ticks})


async def walk(client: httpx.AsyncClient, path: str, **params: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        answer = await client.get(path, params=params | ({"cursor": cursor} if cursor else {}))
        assert answer.status_code == 200, answer.text
        items += answer.json()["items"]
        cursor = answer.json()["next"]
        if cursor is None:
            return items


async def test_redelivered_ticks_add_nothing(client: httpx.AsyncClient) -> None:
    ticks = [tick(0), tick(0.5, "64001"), tick(0.5, "64001"), tick(0.5, "64001", id="own"), tick(0, source="kraken")]
    assert (await post(client, *ticks)).json() == {"received": 5, "inserted": 4, "duplicates": 1}
    bars = await walk(client, "/v1/bars/BTC-USD", interval=1)
    assert (await post(client, *reversed(ticks))).json() == {"received": 5, "inserted": 0, "duplicates": 5}
    assert await walk(client, "/v1/bars/BTC-USD", interval=1) == bars
    assert [(bar["count"], bar["volume"]) for bar in bars] == [(4, "4")]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"price": "0"}, "price"),
        ({"price": 64000}, "price"),
        ({"price": "1e99"}, "price"),
        ({"size": "-1"}, "size"),
        ({"size": "1e80"}, "size"),
        ({"instrument": "BTC"}, "instrument"),
        ({"at": "2026-01-05T12:00:00"}, "at"),
        ({"at": "0001-01-01T00:00:00+14:00"}, "at"),
        ({"id": "a\x00b"}, "id"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_bad_row_refuses_the_whole_batch(client: httpx.AsyncClient, change: dict[str, Any], pointer: str) -> None:
    refused = await post(client, *[tick(number) for number in range(17)], tick(17, **change))
    assert refused.status_code == 422
    assert [error["pointer"] for error in refused.json()["errors"]] == [f"/prices/17/{pointer}"]
    assert (await client.get("/v1/prices/BTC-USD")).status_code == 404


async def test_batch_holds_one_to_ten_thousand(client: httpx.AsyncClient) -> None:
    assert (await post(client)).status_code == 422
    ticks = [tick(number / 100) for number in range(10_001)]
    assert (await post(client, *ticks)).status_code == 422
    assert (await post(client, *ticks[:10_000])).json()["inserted"] == 10_000


async def test_ticks_are_paged_in_either_direction(client: httpx.AsyncClient) -> None:
    sources = ("a", "b", "c")
    ticks = [tick(second, str(64000 + n), source=s) for second in range(4) for n, s in enumerate(sources)]
    await post(client, *ticks)
    ascending = await walk(client, "/v1/prices/BTC-USD", order="asc", limit=5)
    assert [(row["at"], row["source"]) for row in ascending] == sorted((row["at"], row["source"]) for row in ascending)
    assert len(ascending) == 12
    assert await walk(client, "/v1/prices/BTC-USD", limit=1) == ascending[::-1]
    span = {"from": at(1), "to": at(3)}
    assert await walk(client, "/v1/prices/BTC-USD", order="asc", **span) == ascending[3:9]
    assert [row["source"] for row in await walk(client, "/v1/prices/BTC-USD", source="b", limit=2)] == ["b"] * 4
    assert ascending[0] == {
        "instrument": "BTC-USD",
        "source": "a",
        "at": "2026-01-05T12:00:00.000000Z",
        "price": "64000",
        "size": "1",
        "id": ascending[0]["id"],
    }


async def test_source_is_the_program_unless_said(client: httpx.AsyncClient) -> None:
    await post(client, tick(0))
    assert [row["source"] for row in await walk(client, "/v1/prices/BTC-USD")] == ["desk"]


async def test_bars_are_added_up_to_any_interval(client: httpx.AsyncClient) -> None:
    prices = ["10", "12", "8", "11", "20", "21"]
    seconds = [0, 30, 59.5, 59.9, 60, 300]
    await post(client, *[tick(s, p, size="2") for s, p in zip(seconds, prices, strict=True)])
    [third, second, first] = await walk(client, "/v1/bars/BTC-USD")
    assert first == {
        "instrument": "BTC-USD",
        "interval_s": 60,
        "start": "2026-01-05T12:00:00.000000Z",
        "open": "10",
        "high": "12",
        "low": "8",
        "close": "11",
        "volume": "8",
        "notional": "82",
        "vwap": "10.25",
        "count": 4,
        "first_at": "2026-01-05T12:00:00.000000Z",
        "last_at": "2026-01-05T12:00:59.900000Z",
    }
    assert (second["start"], third["start"]) == ("2026-01-05T12:01:00.000000Z", "2026-01-05T12:05:00.000000Z")
    assert await walk(client, "/v1/bars/BTC-USD", order="asc", limit=1) == [first, second, third]
    assert await walk(client, "/v1/bars/BTC-USD", limit=2) == [third, second, first]
    assert await walk(client, "/v1/bars/BTC-USD", **{"from": at(1), "to": at(61)}) == [second]
    [hour] = await walk(client, "/v1/bars/BTC-USD", interval=3600)
    assert (hour["open"], hour["close"], hour["count"]) == ("10", "21", 6)


async def test_history_of_an_instrument_is_empty_or_unknown(client: httpx.AsyncClient) -> None:
    for path in ("/v1/prices/BTC-USD", "/v1/bars/BTC-USD"):
        assert (await client.get(path)).status_code == 404
    await client.put("/v1/markets/kraken:BTC-USD", json=BOOK)
    for path in ("/v1/prices/BTC-USD", "/v1/bars/USD-BTC"):
        assert (await client.get(path)).json() == {"items": [], "next": None}
    await post(client, tick(0, instrument="ETH-USD"))
    assert (await client.get("/v1/bars/ETH-USD", params={"from": at(10)})).json()["items"] == []


@pytest.mark.parametrize(
    "params",
    [
        {"cursor": "nonsense"},
        {"from": "yesterday"},
        {"to": "2026-01-05T12:00:00"},
        {"limit": "1001"},
        {"order": "up"},
        {"source": "a\x00b", "interval": "0"},
    ],
)
async def test_invalid_parameters_are_refused(client: httpx.AsyncClient, params: dict[str, str]) -> None:
    await post(client, tick(0))
    for path in ("/v1/prices/BTC-USD", "/v1/bars/BTC-USD"):
        assert (await client.get(path, params=params)).status_code == 422


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
async def test_the_ends_of_time_are_no_obstacle(client: httpx.AsyncClient, moment: str) -> None:
    await post(client, tick(0))
    for path in ("/v1/prices/BTC-USD", "/v1/bars/BTC-USD"):
        for name in ("from", "to"):
            assert (await client.get(path, params={name: moment, "interval": 86_400})).status_code == 200


async def test_writing_takes_the_market_scope(clean_database: Database) -> None:
    async with data_edge(clean_database, key="reader") as client:
        assert (await post(client, tick(0))).status_code == 403
        assert (await client.get("/v1/bars/BTC-USD")).status_code == 404


async def test_documented_example_is_accepted(client: httpx.AsyncClient) -> None:
    [example] = PricesIn.model_json_schema()["examples"]
    answer = (await client.post("/v1/prices", json=example)).json()
    assert answer["inserted"] == len(example["prices"])
    [latest, _] = await walk(client, "/v1/prices/BTC-USD")
    assert datetime.fromisoformat(latest["at"]) == datetime.fromisoformat(example["prices"][1]["at"])
