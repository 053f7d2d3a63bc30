from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import orjson
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
        ({"at": 1767614400}, "at"),
        ({"at": "1767614400"}, "at"),
        ({"at": "2016-12-31T23:59:60Z"}, "at"),
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
    for path in ("/v1/prices/BTC-USD", "/v1/bars/BTC-USD?interval=86400"):
        for name in ("from", "to"):
            assert (await client.get(httpx.URL(path).copy_add_param(name, moment))).status_code == 200


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


async def post_lines(client: httpx.AsyncClient, *lines: Any, **params: str) -> httpx.Response:
    body = b"\n".join(line if isinstance(line, bytes) else orjson.dumps(line) for line in lines)
    return await client.post(
        "/v1/prices", content=body, headers={"Content-Type": "application/x-ndjson"}, params=params
    )


async def test_ticks_may_come_one_a_line(client: httpx.AsyncClient) -> None:
    lines = [tick(0), b"", tick(1, id="a"), b"  ", tick(1, id="a"), b""]
    assert (await post_lines(client, *lines)).json() == {"received": 3, "inserted": 2, "duplicates": 1}
    assert (await post(client, tick(0), tick(1, id="a"))).json() == {"received": 2, "inserted": 0, "duplicates": 2}
    assert (await post_lines(client, b"")).status_code == 422
    assert (await post_lines(client, *[b"{}"] * 10_001)).json()["errors"][0]["pointer"] == ""


@pytest.mark.parametrize(
    ("line", "pointer", "message"),
    [
        (b"{", "/2", "line 4: is not JSON"),
        (b"\xff", "/2", "line 4: is not JSON"),
        (b"[1, 2]", "/2", "line 4: must be a JSON object"),
        (b"{},{}", "/2", "line 4: is not JSON"),
        ({"price": 1}, "/2/price", "line 4: must be a string"),
    ],
)
async def test_a_bad_line_is_named_by_index_and_line(
    client: httpx.AsyncClient, line: Any, pointer: str, message: str
) -> None:
    bad = tick(2, **line) if isinstance(line, dict) else line
    refused = await post_lines(client, tick(0), b"", tick(1), bad, tick(3))
    assert refused.status_code == 422
    [error] = refused.json()["errors"]
    assert error["pointer"] == pointer
    assert error["message"].startswith(message)
    assert (await client.get("/v1/prices/BTC-USD")).status_code == 404
    kept = (await post_lines(client, tick(0), b"", tick(1), bad, tick(3), on_error="skip")).json()
    assert kept == {"received": 4, "inserted": 3, "duplicates": 0, "rejected": 1, "errors": [error]}


async def test_lines_that_only_make_sense_together_are_bad_lines(client: httpx.AsyncClient) -> None:
    halves = [b'{"instrument": "BTC-USD", "price": "1"', b'"at": "2026-01-05T12:00:00Z"}']
    refused = await post_lines(client, tick(0), *halves)
    assert [error["pointer"] for error in refused.json()["errors"]] == ["/1", "/2"]
    refused = await post_lines(client, b'{"id": [{}', b"{}]}", orjson.dumps(tick(0)) + b"," + orjson.dumps(tick(1)))
    assert [error["pointer"] for error in refused.json()["errors"]] == ["/0", "/1", "/2"]


async def test_skipping_keeps_the_good_rows(client: httpx.AsyncClient) -> None:
    ticks = [tick(number) for number in range(20)]
    ticks[3]["price"], ticks[7]["colour"], ticks[11]["at"] = "0", "red", "yesterday"
    skip = {"on_error": "skip"}
    answer = await client.post("/v1/prices", json={"prices": ticks}, params=skip)
    assert answer.status_code == 200
    found = answer.json()
    assert (found["received"], found["inserted"], found["duplicates"], found["rejected"]) == (20, 17, 0, 3)
    assert [error["pointer"] for error in found["errors"]] == ["/prices/3/price", "/prices/7/colour", "/prices/11/at"]
    again = (await client.post("/v1/prices", json={"prices": ticks}, params=skip)).json()
    assert (again["inserted"], again["duplicates"], again["rejected"]) == (0, 17, 3)
    refused = await client.post("/v1/prices", json={"prices": [ticks[3]]}, params=skip)
    assert refused.status_code == 422
    assert [error["pointer"] for error in refused.json()["errors"]] == ["/prices/0/price"]
    assert (await client.post("/v1/prices", json={"prices": ticks, "x": 1}, params=skip)).status_code == 422
    assert (await client.post("/v1/prices", json={"prices": ticks}, params={"on_error": "x"})).status_code == 422


async def test_at_most_a_hundred_errors_are_named(client: httpx.AsyncClient) -> None:
    ticks = [tick(number, "x") for number in range(150)]
    assert len((await post(client, *ticks)).json()["errors"]) == 100
    good = tick(0)
    found = (await client.post("/v1/prices", json={"prices": [*ticks, good]}, params={"on_error": "skip"})).json()
    assert (len(found["errors"]), found["rejected"], found["inserted"]) == (100, 150, 1)


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[]", b'{"prices": 1}', b'{"prices": [NaN]}', b"null", b'{"x": []}'])
async def test_a_body_that_is_no_batch_is_refused(client: httpx.AsyncClient, body: bytes) -> None:
    for on_error in ("reject", "skip"):
        answer = await client.post("/v1/prices", content=body, params={"on_error": on_error})
        assert answer.status_code == 422, body
        assert answer.json()["errors"]


async def test_a_tick_may_be_sent_back_as_it_is_listed(client: httpx.AsyncClient) -> None:
    await post(client, tick(0, "64000.50"), tick(1, "1e-7", size="0"), tick(2, "123456789012345678901"))
    rows = await walk(client, "/v1/prices/BTC-USD")
    assert (await post(client, *rows)).json() == {"received": 3, "inserted": 0, "duplicates": 3}


@pytest.mark.parametrize("path", ["/v1/bars/BTC-USD?as_of=2026-01-05T12:00:00Z", "/v1/jobs?colour=red"])
async def test_a_parameter_that_would_be_overlooked_is_refused(client: httpx.AsyncClient, path: str) -> None:
    await post(client, tick(0))
    answer = await client.get(path)
    name = path.partition("?")[2].partition("=")[0]
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [f"/query/{name}"]
    assert "there are" in answer.json()["errors"][0]["message"]
