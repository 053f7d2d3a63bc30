from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio

from app.domain.features.books import BOOK_NAMES
from app.domain.features.catalog import MARKET_NAMES, schema_hash
from app.infra.clock import SystemClock
from app.infra.db import Database
from tests.data_edge import data_edge
from tests.factories import book
from tests.routers.test_prices import walk

PATH = "/v1/features/BTC-USD"


@pytest_asyncio.fixture
async def client(clean_database: Database) -> AsyncIterator[httpx.AsyncClient]:
    async with data_edge(clean_database, clock=SystemClock()) as client:
        yield client


def text(moment: datetime) -> str:
    return moment.isoformat()


def ticks(until: datetime, seconds: int, *, per_second: int = 3) -> list[dict[str, Any]]:
    count = seconds * per_second
    return [
        {
            "instrument": "BTC-USD",
            "price": f"{64000 + (number * 7919) % 101 / 10:.1f}",
            "size": f"{0.1 + number % 7 / 10:.1f}",
            "at": text(until - timedelta(seconds=(count - number) / per_second)),
        }
        for number in range(count)
    ]


async def post(client: httpx.AsyncClient, rows: list[dict[str, Any]]) -> None:
    answer = await client.post("/v1/prices", json={"prices": rows})
    assert answer.status_code == 200, answer.text


def now() -> datetime:
    return datetime.now(UTC)


async def ask(client: httpx.AsyncClient, **params: Any) -> dict[str, Any]:
    answer = await client.get(PATH, params=params)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def test_features_are_told_with_what_they_were_made_of(client: httpx.AsyncClient) -> None:
    await post(client, ticks(now(), 320))
    await client.put("/v1/markets/kraken:BTC-USD", json=book())
    answer = await ask(client)
    assert list(answer["features"]) == list(MARKET_NAMES)
    assert answer["schema_hash"] == schema_hash()
    assert answer["missing"] == []
    assert answer["stale"] == []
    assert answer["inputs"]["bars"]["count"] == 300
    assert answer["inputs"]["bars"]["age_s"] < 60
    assert answer["inputs"]["books"]["age_s"] < 60
    assert answer["event_ts"] <= answer["as_of"]
    assert answer["known_ts"] <= answer["as_of"]


async def test_missing_history_is_null_and_named_never_zero(client: httpx.AsyncClient) -> None:
    await post(client, ticks(now(), 30))
    answer = await ask(client)
    assert {name for name, value in answer["features"].items() if value is None} == set(answer["missing"])
    assert {"realised_volatility_48", *BOOK_NAMES} <= set(answer["missing"])
    assert "log_return_5" not in answer["missing"]
    assert answer["inputs"]["books"] == {"sampled_at": None, "age_s": None}


async def test_market_without_prices_has_no_history_and_an_unknown_one_is_not_found(client: httpx.AsyncClient) -> None:
    assert (await client.get(PATH)).status_code == 404
    await client.put("/v1/markets/kraken:BTC-USD", json=book())
    answer = await ask(client)
    assert answer["inputs"]["bars"] == {"newest": None, "age_s": None, "count": 0, "gap_filled": 0}
    assert not set(BOOK_NAMES) & set(answer["missing"])


async def test_old_prices_are_told_to_be_stale(client: httpx.AsyncClient) -> None:
    await post(client, ticks(now() - timedelta(hours=3), 30))
    answer = await ask(client)
    assert answer["stale"] == ["bars"]
    assert 3 * 3600 <= answer["inputs"]["bars"]["age_s"] < 3 * 3600 + 60
    assert answer["features"]["quote_age"] == pytest.approx(answer["inputs"]["bars"]["age_s"])
    assert answer["features"]["gap_flag"] == 1.0
    assert answer["features"]["log_return_1"] is None


@pytest.mark.parametrize("interval", [1, 60, 300])
async def test_what_was_known_does_not_change_with_what_comes_later(
    client: httpx.AsyncClient, clean_database: Database, interval: int
) -> None:
    end = now()
    rows = ticks(end, 400)
    await post(client, rows[::2])
    await post(client, rows[1::2])
    as_of = text(now())
    before = (await client.get(PATH, params={"as_of": as_of, "interval": interval})).content
    late = [
        {"instrument": "BTC-USD", "price": "64100", "size": "0.3", "at": text(end - timedelta(seconds=back))}
        for back in (399, 200.5, 100.1, 20.2, 3)
    ]
    await post(client, late)
    after = (await client.get(PATH, params={"as_of": as_of, "interval": interval})).content
    assert after == before
    known_now = await ask(client, as_of=text(now()), interval=interval)
    earlier = await ask(client, as_of=as_of, interval=interval)
    assert known_now["known_ts"] > earlier["known_ts"]
    if interval == 1:
        assert known_now["features"]["log_volume_288"] != earlier["features"]["log_volume_288"]


async def test_second_that_arrived_later_was_silence_then(client: httpx.AsyncClient) -> None:
    end = now()
    rows = ticks(end, 60, per_second=1)
    await post(client, rows[:30])
    as_of = text(now())
    before = await ask(client, as_of=as_of)
    await post(client, rows[30:])
    assert await ask(client, as_of=as_of) == before
    assert before["inputs"]["bars"]["gap_filled"] >= 29
    assert (await ask(client, as_of=text(now())))["inputs"]["bars"]["gap_filled"] < 10


async def test_served_now_and_known_now_are_the_same(client: httpx.AsyncClient) -> None:
    rows = ticks(now(), 320, per_second=7)
    for first in range(3):
        await post(client, rows[first::3])
    served = await ask(client)
    known = await ask(client, as_of=served["as_of"])
    assert known["missing"] == served["missing"]
    for name in set(MARKET_NAMES) - set(served["missing"]):
        assert known["features"][name] == served["features"][name]
    assert known["inputs"]["bars"] == served["inputs"]["bars"]


async def test_books_of_an_earlier_time_come_from_the_samples_known_then(
    client: httpx.AsyncClient, postgres_owner_url: str
) -> None:
    import asyncpg

    end = now()
    await post(client, ticks(end, 30))
    owner = await asyncpg.connect(postgres_owner_url)
    try:
        await owner.execute("SELECT lake.ensure_partitions('lake.book_sample', $1)", [end])
        await owner.executemany(
            "INSERT INTO lake.book_sample (instrument, at, values, known_ts) VALUES ('BTC-USD', $1, $2, $3)",
            [
                (end - timedelta(seconds=5), [1.0, 2, 3, 4, 5, 6, 7], end - timedelta(seconds=5)),
                (end - timedelta(seconds=2), [9.0, 2, 3, 4, 5, 6, 7], end + timedelta(seconds=1)),
            ],
        )
    finally:
        await owner.close()
    answer = await ask(client, as_of=text(end))
    assert [answer["features"][name] for name in BOOK_NAMES] == [1, 2, 3, 4, 5, 6, 7]
    assert answer["inputs"]["books"]["age_s"] == 5


async def test_times_to_come_are_refused(client: httpx.AsyncClient) -> None:
    await post(client, ticks(now(), 3))
    refused = await client.get(PATH, params={"as_of": text(now() + timedelta(seconds=30))})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/query/as_of"
    assert (await client.get(PATH, params={"as_of": "2026-01-05T12:00:00"})).status_code == 422


async def test_before_the_first_price_nothing_was_known(client: httpx.AsyncClient) -> None:
    await post(client, ticks(now(), 30))
    answer = await ask(client, as_of="2020-01-01T00:00:00Z")
    assert answer["inputs"]["bars"]["newest"] is None
    assert answer["known_ts"] is None


async def test_earlier_silence_stays_what_it_was_when_its_prices_come_later(client: httpx.AsyncClient) -> None:
    await post(client, ticks(now() - timedelta(days=2), 5))
    as_of = text(now())
    before = await client.get(PATH, params={"as_of": as_of})
    assert before.json()["stale"] == ["bars"]
    await post(client, ticks(now() - timedelta(hours=1), 4000, per_second=1))
    assert (await client.get(PATH, params={"as_of": as_of})).content == before.content


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
async def test_the_ends_of_time_are_no_obstacle(client: httpx.AsyncClient, moment: str) -> None:
    await post(client, ticks(now(), 3))
    await client.post("/v1/feature-sets", json={"name": "one", "columns": ["ta.rsi_14", "log_return_1"]})
    for path in (PATH, "/v1/metrics/BTC-USD"):
        for interval in (1, 60, 86_400):
            for name in ("from", "to"):
                assert (await client.get(path, params={name: moment, "interval": interval})).status_code == 200
            status = (await client.get(path, params={"as_of": moment, "interval": interval})).status_code
            assert status == (200 if moment < "2" else 422)
    for also in ({"set": "one"}, {"from": moment}):
        answer = await client.get(PATH, params={"as_of": moment, **also})
        assert answer.status_code == (200 if moment < "2" else 422)
    for name in ("from", "to"):
        for path in ("/v1/metrics/BTC-USD", "/v1/bars/BTC-USD"):
            assert (await client.get(path, params={"points": 10, name: moment})).status_code == 200


async def test_stored_vectors_are_listed_in_the_version_known_then(
    client: httpx.AsyncClient, postgres_owner_url: str
) -> None:
    import asyncpg

    await post(client, ticks(now(), 3))
    first = datetime(2026, 1, 5, 12, tzinfo=UTC)
    rows = [
        (
            "BTC-USD",
            60,
            schema_hash(),
            first + timedelta(minutes=n),
            first + timedelta(minutes=n + k),
            [float(n + k)] * 42,
        )
        for n in range(5)
        for k in (1, 60)
    ]
    owner = await asyncpg.connect(postgres_owner_url)
    try:
        await owner.execute("SELECT lake.ensure_partitions('warehouse.feature_history', $1)", [first])
        await owner.copy_records_to_table(
            "feature_history",
            schema_name="warehouse",
            columns=["instrument", "interval_s", "schema_hash", "event_ts", "known_ts", "values"],
            records=rows,
        )
    finally:
        await owner.close()
    span = {"from": text(first), "to": text(first + timedelta(minutes=4)), "interval": 60}
    latest = await walk(client, PATH, limit=2, **span)
    assert [item["features"]["log_return_1"] for item in latest] == [63.0, 62.0, 61.0, 60.0]
    then = await walk(client, PATH, limit=3, order="asc", as_of=text(first + timedelta(minutes=30)), **span)
    assert [item["features"]["log_return_1"] for item in then] == [1.0, 2.0, 3.0, 4.0]
    assert await walk(client, PATH, **{"from": text(first), "interval": 1}) == []
