from collections.abc import AsyncIterator
from decimal import Decimal

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


async def test_a_quote_may_pass_a_third_asset(office: Office) -> None:
    await office.desk.list_markets(book("kraken:ETH-USD", base="ETH", bids=[["3000", "90"]], asks=[["3001", "90"]]))
    asked = trade(instrument="ETH-BTC", side="buy", quantity="2")
    answer = await office.client.post("/v1/quotes", json=asked)
    legs = answer.json()["solution"]["slices"][0]["legs"]
    assert [leg["market_id"] for leg in legs] == ["kraken:BTC-USD", "kraken:ETH-USD"]
    assert legs[-1]["receives"] == {"asset": "ETH", "amount": "2"}

    refused = await office.client.post("/v1/quotes", json={**asked, "constraints": {"max_hops": 1}})
    problem = refused.json()
    assert (refused.status_code, problem["constraint"], problem["nearest"]) == (422, "max_hops", "2")


@pytest.mark.parametrize("kind", ["twap", "vwap", "pov", "is"])
async def test_a_quote_may_be_spread_over_time(office: Office, kind: str) -> None:
    schedule = {"kind": kind, "horizon_s": 600, "slices": 4}
    answer = await office.client.post("/v1/quotes", json=trade(quantity="2", schedule=schedule))
    solution = answer.json()["solution"]
    slices = solution["slices"]
    assert [part["indicative"] for part in slices] == [False, True, True, True]
    assert sum(Decimal(part["quantity"]) for part in slices) == 2
    assert [part["at"] for part in slices] == sorted({part["at"] for part in slices})
    assert len(solution["schedule"]["frontier"]) == 5


async def test_a_quote_between_assets_that_nothing_connects_is_infeasible(office: Office) -> None:
    await office.desk.list_markets(book("kraken:ETH-EUR", base="ETH", quote="EUR"))
    answer = await office.client.post("/v1/quotes", json=trade(instrument="ETH-BTC"))
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:solver:problem:infeasible")


async def test_a_quote_over_many_markets_agrees_with_one_over_few(office: Office) -> None:
    few = (await office.client.post("/v1/quotes", json=trade())).json()["solution"]
    await office.desk.list_markets(*(book(f"dear-{n}:BTC-USD", asks=[["65000", "5"]]) for n in range(60)))
    many = (await office.client.post("/v1/quotes", json=trade())).json()["solution"]
    assert many["slices"][0]["legs"] == few["slices"][0]["legs"]


async def test_an_exact_in_quote_spends_what_was_said(office: Office) -> None:
    answer = await office.client.post("/v1/quotes", json=trade(quantity="1000", quantity_asset="USD"))
    assert answer.json()["solution"]["sends"] == {"asset": "USD", "amount": "1000"}
