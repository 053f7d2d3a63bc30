"""Candles in, and out again."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from app.infra.db import Database
from app.services.schemas.candles import CandlesIn
from tests.data_edge import data_edge
from tests.routers.test_prices import at, walk


@pytest_asyncio.fixture
async def client(clean_database: Database) -> AsyncIterator[httpx.AsyncClient]:
    async with data_edge(clean_database) as client:
        yield client


def candle(minute: int, close: str = "1.5", volume: str = "10") -> list[str]:
    return [at(60 * minute), "1", "2", "0.5", close, volume]


async def post(client: httpx.AsyncClient, *candles: Any, **changes: Any) -> httpx.Response:
    body = {"instrument": "BTC-USD", "interval_s": 60, "source": "kraken", "candles": list(candles)}
    return await client.post("/v1/candles", json=body | changes)


async def test_candles_are_stored_once_and_listed_as_stated(client: httpx.AsyncClient) -> None:
    answer = await post(client, candle(0), candle(1), candle(1))
    assert (answer.status_code, answer.json()) == (200, {"received": 3, "inserted": 2, "duplicates": 1})
    assert (await post(client, candle(1), candle(0))).json()["inserted"] == 0
    assert (await post(client, candle(1, "1.75"))).json() == {"received": 1, "inserted": 1, "duplicates": 0}
    assert (await post(client, candle(1, "1.25", "1"), source=None)).json()["inserted"] == 1
    items = await walk(client, "/v1/candles/BTC-USD", interval=60, limit=1)
    assert [(item["start"][14:16], item["source"], item["close"]) for item in items] == [
        ("01", "kraken", "1.75"),
        ("01", "desk", "1.25"),
        ("00", "kraken", "1.5"),
    ]
    assert items[-1] == {
        "instrument": "BTC-USD",
        "interval_s": 60,
        "source": "kraken",
        "start": items[-1]["start"],
        "open": "1",
        "high": "2",
        "low": "0.5",
        "close": "1.5",
        "volume": "10",
    }
    upwards = await walk(client, "/v1/candles/BTC-USD", interval=60, limit=2, order="asc")
    assert upwards == items[::-1]
    assert await walk(client, "/v1/candles/BTC-USD", interval=60, source="desk") == [items[1]]
    assert await walk(client, "/v1/candles/BTC-USD", **{"interval": 60, "from": at(0), "to": at(60)}) == [items[2]]
    assert await walk(client, "/v1/candles/BTC-USD", interval=300) == []


async def test_bars_follow_from_candles(client: httpx.AsyncClient) -> None:
    await post(client, candle(0), candle(1, "1.75"))
    [newest, oldest] = await walk(client, "/v1/bars/BTC-USD", interval=60)
    assert (oldest["open"], oldest["high"], oldest["low"], oldest["close"]) == ("1", "2", "0.5", "1.5")
    assert (newest["close"], newest["volume"]) == ("1.75", "10")
    [both] = await walk(client, "/v1/bars/BTC-USD", interval=300)
    assert (both["open"], both["close"], both["volume"]) == ("1", "1.75", "20")


@pytest.mark.parametrize(
    ("candles", "changes", "pointer"),
    [
        ([[at(0), "1", "2", "0.5", "1.5"]], {}, "/candles/0/5"),
        ([candle(0), [at(60), "1", "0.9", "0.5", "0.7", "1"]], {}, "/candles/1/2"),
        ([[at(0), "1", "2", "1.1", "1.5", "1"]], {}, "/candles/0/3"),
        ([[at(0), "0", "2", "0.5", "1.5", "1"]], {}, "/candles/0/1"),
        ([[at(0), "1", "2", "0.5", 1.5, "1"]], {}, "/candles/0/4"),
        ([[at(0), "1", "2", "0.5", "1.5", "-1"]], {}, "/candles/0/5"),
        ([["2026-01-05T12:00:00", "1", "2", "0.5", "1.5", "1"]], {}, "/candles/0/0"),
        ([[at(0.5), "1", "2", "0.5", "1.5", "1"]], {}, "/candles/0/0"),
        ([], {}, "/candles"),
        ([candle(0)], {"interval_s": 0}, "/interval_s"),
        ([candle(0)], {"interval_s": 604_801}, "/interval_s"),
        ([candle(0)], {"instrument": "BTC"}, "/instrument"),
        ([candle(0)], {"source": "two words"}, "/source"),
        ([candle(0)], {"more": 1}, "/more"),
    ],
)
async def test_what_no_candle_can_be_is_refused_by_its_place(
    client: httpx.AsyncClient, candles: list[Any], changes: dict[str, Any], pointer: str
) -> None:
    answer = await post(client, *candles, **changes)
    assert answer.status_code == 422
    assert pointer in [error["pointer"] for error in answer.json()["errors"]]
    assert (await client.get("/v1/candles/BTC-USD")).status_code == 404


async def test_the_documented_example_is_valid(client: httpx.AsyncClient) -> None:
    [example] = CandlesIn.model_json_schema()["examples"]
    assert (await client.post("/v1/candles", json=example)).json()["inserted"] == 2
