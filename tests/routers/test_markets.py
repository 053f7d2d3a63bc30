from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
import pytest
import pytest_asyncio

from app.infra.db import Database
from app.services.schemas.market import ConstantProductIn, OrderBookIn
from tests.data_edge import data_edge

BOOK: dict[str, Any] = {
    "market_id": "kraken:BTC-USD", "venue": "kraken", "kind": "order_book", "fee_bps": 2.5,
    "base": "BTC", "quote": "USD", "bids": [["64000", "1.5"]], "asks": [["64010", "2"]],
}  # fmt: skip
POOL: dict[str, Any] = {
    "market_id": "uni-v2:WETH-BTC", "venue": "uni-v2", "kind": "constant_product", "fee_bps": 30,
    "reserves": {"WETH": "150", "BTC": "9"},
}  # fmt: skip


@pytest_asyncio.fixture
async def client(clean_database: Database) -> AsyncIterator[httpx.AsyncClient]:
    async with data_edge(clean_database) as client:
        yield client


async def put(client: httpx.AsyncClient, market: dict[str, Any], **changes: Any) -> httpx.Response:
    body = {**market, **changes}
    return await client.put(f"/v1/markets/{body['market_id']}", json=body)


def pointers(response: httpx.Response) -> list[str]:
    assert response.status_code == 422, response.text
    return [error["pointer"] for error in response.json()["errors"]]


async def test_written_market_is_read_back_as_written(client: httpx.AsyncClient) -> None:
    written = await put(client, BOOK)
    assert written.status_code == 200
    assert written.json()["applied"] is True
    read = (await client.get("/v1/markets/kraken:BTC-USD")).json()
    assert read.pop("revision") == written.json()["revision"]
    assert read.pop("updated_at").endswith("Z")
    assert read == {**BOOK, "status": "trading"}


async def test_older_sequence_is_not_applied(client: httpx.AsyncClient) -> None:
    await put(client, BOOK, sequence=7)
    older = await put(client, BOOK, sequence=6, fee_bps=9)
    assert older.json() == {"market_id": "kraken:BTC-USD", "applied": False, "revision": None}
    assert (await put(client, BOOK, sequence=7, fee_bps=3)).json()["applied"] is True
    assert (await client.get("/v1/markets/kraken:BTC-USD")).json()["fee_bps"] == 3


async def test_market_id_may_be_left_out_but_not_differ(client: httpx.AsyncClient) -> None:
    body = {name: value for name, value in BOOK.items() if name != "market_id"}
    assert (await client.put("/v1/markets/kraken:BTC-USD", json=body)).json()["market_id"] == "kraken:BTC-USD"
    assert pointers(await client.put("/v1/markets/other", json=BOOK)) == ["/market_id"]


@pytest.mark.parametrize("market_id", ["0xabc/pool-7", "a:b.c_d", "%25", "ü"])
async def test_any_name_without_spaces_is_a_market_id(client: httpx.AsyncClient, market_id: str) -> None:
    path = httpx.URL("/v1/markets/").copy_with(path=f"/v1/markets/{market_id}")
    body = {**BOOK, "market_id": market_id} if market_id != "%25" else {**BOOK, "market_id": None}
    body = {name: value for name, value in body.items() if value is not None}
    written = await client.put(path, json=body)
    assert written.status_code == 200
    read = await client.get(path)
    assert read.json()["market_id"] == written.json()["market_id"]


async def test_unknown_market_is_not_found(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/markets/kraken:BTC-USD")).status_code == 404


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"bids": [["64020", "1"]]}, "/bids"),
        ({"quote": "BTC"}, "/quote"),
        ({"bids": [["64000", 1]]}, "/bids/0/1"),
        ({"fee_bps": -1}, "/fee_bps"),
        ({"colour": "red"}, "/colour"),
        ({"kind": "orderbook"}, "/kind"),
        ({"kind": None}, "/kind"),
    ],
)
async def test_invalid_market_is_refused_where_it_is_wrong(
    client: httpx.AsyncClient, change: dict[str, Any], pointer: str
) -> None:
    assert pointers(await put(client, BOOK, **change)) == [pointer]
    batch = await client.post("/v1/markets:batch", json={"markets": [POOL, {**BOOK, **change}]})
    assert pointers(batch) == [f"/markets/1{pointer}"]
    assert (await client.get("/v1/markets")).json() == {"items": [], "next": None}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ([], ""),
        ({}, "/markets"),
        ({"markets": {}}, "/markets"),
        ({"markets": [3]}, "/markets/0"),
        ({"markets": [], "assets": {"BTC": {"decimals": 99}}}, "/assets/BTC/decimals"),
        ({"markets": [], "more": 1}, "/more"),
    ],
)
async def test_batch_of_another_shape_is_refused(client: httpx.AsyncClient, body: Any, pointer: str) -> None:
    assert pointers(await client.post("/v1/markets:batch", json=body)) == [pointer]


async def test_body_that_is_no_json_is_refused(client: httpx.AsyncClient) -> None:
    for path in ("/v1/markets:batch", "/v1/markets/x"):
        method = "POST" if path.endswith("batch") else "PUT"
        assert (await client.request(method, path, content=b"{")).status_code == 422
        refused = await client.request(method, path, content=b'{"fee_bps": NaN}')
        assert refused.status_code == 422
        assert refused.headers["content-type"] == "application/problem+json"


async def test_latest_state_of_a_market_in_a_batch_counts(client: httpx.AsyncClient) -> None:
    states = [{**BOOK, "sequence": number, "fee_bps": number} for number in (3, 5, 4)]
    answer = (await client.post("/v1/markets:batch", json={"markets": [*states, POOL]})).json()
    assert answer["applied"] == 2
    assert [result["applied"] for result in answer["results"]] == [False, True, False, True]
    assert (await client.get("/v1/markets/kraken:BTC-USD")).json()["fee_bps"] == 5


async def test_concentrated_pool_needs_decimals_once(client: httpx.AsyncClient) -> None:
    pool = {
        "market_id": "uni-v3:USDC-WETH", "venue": "uni-v3", "kind": "concentrated", "fee_bps": 5, "asset0": "USDC",
        "asset1": "WETH", "sqrt_price": "0.02", "liquidity": "1000", "ticks": [{"index": 0, "liquidity_net": "5"}],
    }  # fmt: skip
    assert pointers(await put(client, pool)) == ["/asset0", "/asset1"]
    assets = {"USDC": {"decimals": 6}, "WETH": {"decimals": 18}}
    stated = await client.post("/v1/markets:batch", json={"markets": [pool], "assets": assets})
    assert stated.json()["applied"] == 1
    assert (await put(client, pool)).json()["applied"] is True


async def test_listing_filters_and_pages(client: httpx.AsyncClient) -> None:
    books = [{**BOOK, "market_id": f"v{number}:BTC-USD", "venue": f"v{number}"} for number in range(5)]
    await client.post("/v1/markets:batch", json={"markets": [*books, POOL]})
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = (await client.get("/v1/markets", params={"limit": 4} | ({"cursor": cursor} if cursor else {}))).json()
        seen += [item["market_id"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == sorted(seen)
    assert len(seen) == 6

    async def ids(**params: str) -> list[str]:
        return [item["market_id"] for item in (await client.get("/v1/markets", params=params)).json()["items"]]

    assert await ids(venue="v3") == ["v3:BTC-USD"]
    assert await ids(kind="constant_product") == ["uni-v2:WETH-BTC"]
    assert await ids(asset="WETH") == ["uni-v2:WETH-BTC"]
    assert await ids(instrument="BTC-WETH") == ["uni-v2:WETH-BTC"]
    assert await ids(instrument="BTC-EUR") == []
    for params in ({"cursor": "!"}, {"cursor": "WzFd"}, {"limit": "0"}, {"kind": "book"}, {"instrument": "BTC"}):
        assert (await client.get("/v1/markets", params=params)).status_code == 422


async def test_venues_and_instruments_are_derived(client: httpx.AsyncClient) -> None:
    halted = {**BOOK, "market_id": "gdax:BTC-USD", "venue": "gdax", "status": "halted"}
    three = {
        "market_id": "bal:3", "venue": "bal", "kind": "weighted", "fee_bps": 10,
        "reserves": {"USD": "1", "BTC": "1", "EUR": "1"}, "weights": {"USD": "1", "BTC": "1", "EUR": "1"},
    }  # fmt: skip
    await client.post("/v1/markets:batch", json={"markets": [BOOK, halted, three]})
    venues = (await client.get("/v1/venues")).json()
    assert venues == {
        "items": [
            {"venue": "bal", "kinds": ["weighted"], "markets": 1, "status": "trading"},
            {"venue": "gdax", "kinds": ["order_book"], "markets": 1, "status": "halted"},
            {"venue": "kraken", "kinds": ["order_book"], "markets": 1, "status": "trading"},
        ],
        "next": None,
    }
    instruments = (await client.get("/v1/instruments")).json()["items"]
    assert [(item["instrument"], item["venues"], item["status"]) for item in instruments] == [
        ("BTC-EUR", ["bal"], "trading"),
        ("BTC-USD", ["bal", "gdax", "kraken"], "trading"),
        ("USD-EUR", ["bal"], "trading"),
    ]
    first = (await client.get("/v1/instruments", params={"limit": 1})).json()
    rest = (await client.get("/v1/instruments", params={"cursor": first["next"]})).json()
    assert first["items"] + rest["items"] == instruments
    assert rest["next"] is None


async def test_writing_takes_the_market_scope_and_reading_any_key(clean_database: Database) -> None:
    async with data_edge(clean_database, key="reader") as client:
        assert (await put(client, BOOK)).status_code == 403
        assert (await client.post("/v1/markets:batch", json={"markets": []})).status_code == 403
        for path in ("/v1/markets", "/v1/venues", "/v1/instruments"):
            assert (await client.get(path)).json() == {"items": [], "next": None}
    async with data_edge(clean_database, key="nobody") as client:
        assert (await client.get("/v1/markets")).status_code == 401


async def test_documented_examples_are_accepted(client: httpx.AsyncClient) -> None:
    for model in (OrderBookIn, ConstantProductIn):
        [example] = model.model_json_schema()["examples"]
        assert (await put(client, example)).json()["applied"] is True


async def test_body_of_a_batch_is_limited(client: httpx.AsyncClient) -> None:
    content = orjson.dumps({"markets": [], "assets": {}}) + b" " * (8 << 20)
    assert (await client.post("/v1/markets:batch", content=content)).status_code == 413
