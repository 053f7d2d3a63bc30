from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio

from app.domain.bars import Bars, Tick, aggregate
from app.domain.metrics.catalog import INDICATOR_NAMES, METRIC_NAMES, SECOND_NAMES
from app.domain.metrics.measuring import compute
from app.infra.clock import SystemClock
from app.infra.db import Database
from tests.data_edge import data_edge
from tests.routers.test_prices import walk

PATH = "/v1/metrics/BTC-USD"
START = datetime(2026, 1, 5, 12, tzinfo=UTC)


@pytest_asyncio.fixture
async def client(clean_database: Database) -> AsyncIterator[httpx.AsyncClient]:
    async with data_edge(clean_database, clock=SystemClock()) as client:
        yield client


def text(moment: datetime) -> str:
    return moment.isoformat()


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def history(seconds: list[float]) -> list[Tick]:
    return [
        Tick("BTC-USD", 64000 + number * 7919 % 101 / 4, 1 + number % 4, START + timedelta(seconds=second), "desk")
        for number, second in enumerate(seconds)
    ]


async def post(client: httpx.AsyncClient, ticks: list[Tick]) -> None:
    rows = [
        {"instrument": tick.instrument, "price": str(tick.price), "size": str(tick.size), "at": text(tick.at)}
        for tick in ticks
    ]
    for first in range(0, len(rows), 10_000):
        answer = await client.post("/v1/prices", json={"prices": rows[first : first + 10_000]})
        assert answer.status_code == 200, answer.text


def expected(ticks: list[Tick], names: list[str], interval_s: int, at: str) -> list[float | None]:
    bars = Bars.from_bars("BTC-USD", aggregate(ticks, interval_s), interval_s)
    values = compute(bars.window(moment(at)), names).tolist()
    return [None if np.isnan(value) else value for value in values]


def agree(items: list[dict[str, Any]], ticks: list[Tick], interval_s: int) -> None:
    for item in items:
        names = list(item["values"])
        wanted = expected(ticks, names, interval_s, item["event_ts"])
        for name, value in zip(names, wanted, strict=True):
            assert item["values"][name] == (None if value is None else pytest.approx(value, rel=1e-9, abs=1e-9)), name


async def test_every_second_with_a_window_is_listed_in_either_direction(client: httpx.AsyncClient) -> None:
    ticks = history([0, 1, 2.5, 5, 40, 41, 200, 201.5, 400])
    await post(client, ticks)
    items = await walk(client, PATH, names="ts.rsi,ts.sma,ts.gap", order="asc", limit=7)
    seconds = [(moment(item["event_ts"]) - START).total_seconds() for item in items]
    assert seconds == [*range(1, 103), *range(201, 263), *range(401, 462)]
    agree(items, ticks, 1)
    assert await walk(client, PATH, names="ts.rsi,ts.sma,ts.gap", limit=50) == items[::-1]
    some = {"from": text(START + timedelta(seconds=50)), "to": text(START + timedelta(seconds=205))}
    assert await walk(client, PATH, names="ts.rsi,ts.sma,ts.gap", order="asc", limit=40, **some) == items[49:106]


async def test_indicators_look_at_bars_of_the_interval(client: httpx.AsyncClient) -> None:
    ticks = history([7.5 * number for number in range(3000)])
    await post(client, ticks)
    items = await walk(client, PATH, names=",".join(INDICATOR_NAMES), interval=60, limit=200)
    assert len(items) == 376
    agree([items[1], items[180], items[-3], items[-40]], ticks, 60)
    assert items[-1]["values"]["ta.rsi_14"] is None


async def test_both_families_come_together(client: httpx.AsyncClient) -> None:
    ticks = history([float(number) for number in range(2000)])
    await post(client, ticks)
    [item] = (await client.get(PATH, params={"limit": 1})).json()["items"]
    assert set(item["values"]) == set(METRIC_NAMES)
    agree([{**item, "values": {name: item["values"][name] for name in SECOND_NAMES}}], ticks, 1)
    agree([{**item, "values": {name: item["values"][name] for name in INDICATOR_NAMES}}], ticks, 60)


@pytest.mark.parametrize("points", [1, 10, 299, 5000])
async def test_points_thin_the_whole_span(client: httpx.AsyncClient, points: int) -> None:
    ticks = history([float(number) for number in range(0, 3000, 2)])
    await post(client, ticks)
    answer = (await client.get(PATH, params={"names": "ts.sma,ts.rsi", "points": points, "order": "asc"})).json()
    items = answer["items"]
    assert answer["next"] is None
    assert points / 2 < len(items) <= points
    assert moment(items[-1]["event_ts"]) == START + timedelta(seconds=2999)
    agree(items[:: max(1, len(items) // 20)], ticks, 1)


async def test_late_prices_are_in_unless_the_past_is_asked_for(client: httpx.AsyncClient) -> None:
    ticks = history([float(number) for number in range(100)])
    await post(client, ticks[:50] + ticks[51:])
    as_of = text(datetime.now(UTC))
    params: dict[str, str | int] = {"names": "ts.sma,ts.count", "limit": 30, "as_of": as_of}
    before = (await client.get(PATH, params=params)).content
    await post(client, [ticks[50]])
    assert (await client.get(PATH, params=params)).content == before
    agree(await walk(client, PATH, names="ts.sma,ts.count"), ticks, 1)


@pytest.mark.parametrize("thinned", [{"points": 7}, {"points": 5000}, {"limit": 30}, {"limit": 30, "order": "asc"}])
async def test_late_prices_of_other_times_do_not_move_which_moments_were_known(
    client: httpx.AsyncClient, thinned: dict[str, str | int]
) -> None:
    ticks = history([float(number) for number in (-900, *range(0, 20, 2), *range(300, 1500, 30), 2400)])
    await post(client, ticks[1:-1:2])
    params = {"names": "ts.sma,ts.count", "as_of": text(datetime.now(UTC)), **thinned}
    before = (await client.get(PATH, params=params)).content
    await post(client, ticks)
    assert (await client.get(PATH, params=params)).content == before


async def test_late_ticks_do_not_hide_a_candle_that_was_known(client: httpx.AsyncClient) -> None:
    candles = [
        [text(START + timedelta(minutes=number)), "10", "12", "9", f"{10 + number % 3}", "1"] for number in range(40)
    ]
    stated = {"instrument": "BTC-USD", "interval_s": 60, "candles": candles}
    assert (await client.post("/v1/candles", json=stated)).status_code == 200
    params: dict[str, str | int] = {"names": "ta.sma_20", "interval": 60, "as_of": text(datetime.now(UTC))}
    before = await client.get(PATH, params=params)
    assert len(before.json()["items"]) == 41
    await post(client, history([600.5]))
    assert (await client.get(PATH, params=params)).content == before.content


async def test_unknown_names_are_refused_with_what_may_be_meant(client: httpx.AsyncClient) -> None:
    await post(client, history([0]))
    refused = await client.get(PATH, params={"names": "ts.sma,ta.rsi14"})
    assert refused.status_code == 422
    [error] = refused.json()["errors"]
    assert error["pointer"] == "/query/names"
    assert "ta.rsi_14" in error["message"]


@pytest.mark.parametrize(
    "params",
    [
        {"points": "0"},
        {"points": "5001"},
        {"points": "5", "cursor": "x"},
        {"from": "1767614400"},
        {"as_of": "2026-01-05T12:00:00"},
        {"interval": "0"},
        {"cursor": "x"},
    ],
)
async def test_invalid_parameters_are_refused(client: httpx.AsyncClient, params: dict[str, str]) -> None:
    await post(client, history([0]))
    assert (await client.get(PATH, params=params)).status_code == 422


async def test_instrument_without_prices_is_not_found(client: httpx.AsyncClient) -> None:
    for params in ({}, {"points": 5}):
        assert (await client.get(PATH, params=params)).status_code == 404
    await post(client, history([0]))
    none = await client.get(PATH, params={"to": text(START)})
    assert none.json() == {"items": [], "next": None}
    for path in ("/v1/metrics/ETH-USD", "/v1/features/ETH-USD", "/v1/bars/ETH-USD?points=5"):
        assert (await client.get(path)).status_code == 404


async def test_catalog_of_metrics_is_json_and_prometheus_stays_text(client: httpx.AsyncClient) -> None:
    wanted = {"Accept": "application/json"}
    catalog = (await client.get("/v1/metrics", headers=wanted)).json()
    assert [metric["name"] for metric in catalog["metrics"]] == list(METRIC_NAMES)
    either = {"Accept": "application/json, text/plain, */*"}
    for path, headers in (("/v1/metrics", {}), ("/v1/metrics", either), ("/metrics", {}), ("/metrics", wanted)):
        assert (await client.get(path, headers=headers)).headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(("points", "interval"), [(1, 3_600), (3, 1_800), (60, 60), (100, 60), (3600, 1), (5000, 1)])
async def test_chart_bars_have_the_shortest_interval_that_fits(
    client: httpx.AsyncClient, points: int, interval: int
) -> None:
    await post(client, history([float(number) for number in range(3600)]))
    answer = (await client.get("/v1/bars/BTC-USD", params={"points": points, "order": "asc"})).json()
    assert answer["next"] is None
    assert {bar["interval_s"] for bar in answer["items"]} == {interval}
    assert len(answer["items"]) == -(-3600 // interval) <= points
    assert sum(bar["count"] for bar in answer["items"]) == 3600


async def test_chart_of_a_span_chooses_by_the_span(client: httpx.AsyncClient) -> None:
    await post(client, history([float(number) for number in range(3600)]))
    span = {"from": text(START + timedelta(minutes=10)), "to": text(START + timedelta(minutes=20))}
    items = (await client.get("/v1/bars/BTC-USD", params={"points": 100, **span})).json()["items"]
    assert [bar["interval_s"] for bar in items] == [10] * 60
