from collections.abc import AsyncIterator

import pytest

from app.infra.db import Database
from tests import scenarios
from tests.factories import book, trade
from tests.scenarios import Office


@pytest.fixture
async def office(clean_database: Database, postgres_url: str) -> AsyncIterator[Office]:
    async with scenarios.office(postgres_url) as office:
        yield office


async def test_a_quote_answers_at_once_and_stores_nothing(office: Office) -> None:
    answer = await office.client.post("/v1/quotes", json=trade())
    document = answer.json()
    assert answer.status_code == 200
    assert document.keys() == {"solution", "forecast", "timings_ms"}
    assert document["timings_ms"].keys() == {"features", "inference", "solve", "total"}
    assert document["solution"]["receives"] == {"asset": "BTC", "amount": "0.5"}
    for table in ("lake.route", "lake.event", "lake.snapshot", "lake.idempotency"):
        assert await office.desk.count(table) == 0


async def test_a_quote_and_a_route_agree(office: Office) -> None:
    quoted = (await office.client.post("/v1/quotes", json=trade())).json()["solution"]
    route_id = await office.desk.ready()
    solved = (await office.client.get(f"/v1/routes/{route_id}")).json()["solution"]
    for solution in (quoted, solved):
        for part in solution["slices"]:
            part.pop("at")
    assert quoted == solved


async def test_without_history_the_baseline_serves(office: Office) -> None:
    forecast = (await office.client.post("/v1/quotes", json=trade())).json()["forecast"]
    assert {(model["served_by"], model["reason"]) for model in forecast["models"]} == {("baseline", "no_history")}


async def test_a_market_write_is_seen_by_the_next_quote(office: Office, postgres_url: str) -> None:
    async with scenarios.desk(postgres_url) as elsewhere:
        for price in ("64500", "64600", "64700"):
            await elsewhere.list_markets(book(asks=[[price, "5"]]))
            answer = await office.client.post("/v1/quotes", json=trade())
            assert answer.json()["solution"]["slices"][0]["legs"][0]["limit_price"] == price


async def test_an_exact_in_quote_spends_what_was_said(office: Office) -> None:
    answer = await office.client.post("/v1/quotes", json=trade(quantity="1000", quantity_asset="USD"))
    assert answer.json()["solution"]["sends"] == {"asset": "USD", "amount": "1000"}
