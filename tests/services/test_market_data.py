import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import pytest_asyncio

from app.domain.errors import Invalid, Unavailable
from app.domain.values import Instrument
from app.infra.db import Database
from app.services.market_data import MarketData
from app.services.market_reading import read_market_batch
from app.services.market_state import MarketState
from app.services.schemas.market import MARKET, AnyMarketIn
from tests.twins import FixedClock


@pytest_asyncio.fixture
async def market_data(clean_database: Database) -> AsyncIterator[MarketData]:
    market_data = MarketData(clean_database, MarketState(clean_database, FixedClock()))
    yield market_data
    await market_data.close()


def book(market_id: str, **changes: Any) -> AnyMarketIn:
    return MARKET.validate_python(
        {
            "market_id": market_id,
            "venue": "kraken",
            "kind": "order_book",
            "fee_bps": 2.5,
            "base": "BTC",
            "quote": "USD",
            "bids": [["100", "1"]],
            "asks": [["101", "1"]],
            **changes,
        }
    )


async def transactions(database: Database) -> int:
    async with database.connection() as connection:
        return int(await connection.fetchval("SELECT count(DISTINCT xmin::text) FROM lake.market"))


async def test_other_processes_see_an_acknowledged_write(clean_database: Database, market_data: MarketData) -> None:
    other = MarketState(clean_database, FixedClock())
    await market_data.write([book("a")])
    await other.fresh()
    assert [live.market.market_id for live in other.snapshot(Instrument.parse("BTC-USD")).markets] == ["a"]


async def test_writers_at_one_time_share_transactions(clean_database: Database, market_data: MarketData) -> None:
    answers = await asyncio.gather(*(market_data.write([book(f"m{number}")]) for number in range(200)))
    assert all(result.applied for [result] in answers)
    revisions = [result.revision for [result] in answers]
    assert len(set(revisions)) == 200
    assert await transactions(clean_database) <= 3


async def test_writers_of_one_market_are_each_applied_in_turn(market_data: MarketData) -> None:
    answers = await asyncio.gather(*(market_data.write([book("m", fee_bps=number)]) for number in range(20)))
    revisions = [result.revision for [result] in answers]
    assert all(result.applied for [result] in answers)
    assert revisions == sorted(set(revisions), key=lambda revision: revision or 0)
    document = orjson.loads(orjson.dumps(await market_data.listing.market("m")))
    assert (document["fee_bps"], document["revision"]) == (19, revisions[-1])


async def test_one_invalid_market_leaves_the_others_unstored(market_data: MarketData) -> None:
    crossed = book("b", bids=[["102", "1"]])
    with pytest.raises(Invalid) as refusal:
        await market_data.write([book("a"), crossed])
    assert [error.pointer for error in refusal.value.errors] == ["/markets/1/bids"]
    assert (await market_data.write([book("a")]))[0].applied
    assert await market_data.listing.venues() == (
        {"venue": "kraken", "kinds": ["order_book"], "markets": 1, "status": "trading"},
    )


async def test_states_of_one_market_in_a_batch_are_resolved_by_sequence_then_order(market_data: MarketData) -> None:
    async def winners(*sequences: int | None) -> list[bool]:
        results = await market_data.write([book("m", sequence=sequence) for sequence in sequences])
        return [result.applied for result in results]

    assert await winners(None, None) == [False, True]
    assert await winners(3, 5, 4) == [False, True, False]
    assert await winners(5, 5) == [False, True]
    assert await winners(3, 4) == [False, False]


async def test_outage_fails_the_write_and_the_next_one_works(postgres_url: str, clean_database: Database) -> None:
    database = Database(postgres_url, pool_size=2, connect_timeout_s=1.0, timeout_s=5.0, name="tests-outage")
    market_data = MarketData(database, MarketState(database, FixedClock()))
    with pytest.raises(Unavailable):
        await market_data.write([book("m")])
    await database.open()
    assert (await market_data.write([book("m")]))[0].applied
    await market_data.close()
    await database.close()


async def test_cancelled_writer_harms_no_other(market_data: MarketData) -> None:
    tasks = [asyncio.create_task(market_data.write([book(f"m{number}")])) for number in range(10)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert all(isinstance(answer, list) and answer[0].applied for answer in answers[1:])


async def test_ten_thousand_markets_fit_one_batch_and_let_others_run(market_data: MarketData) -> None:
    document = book("m").model_dump(mode="json")
    raw = orjson.dumps({"markets": [{**document, "market_id": f"m{number}"} for number in range(10_000)]})
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counter = asyncio.create_task(count_turns())
    batch = await read_market_batch(raw)
    read_turns = turns
    results = await market_data.write(batch.markets)
    counter.cancel()
    assert sum(result.applied for result in results) == 10_000
    assert read_turns >= 5
    assert turns > read_turns + 20


@pytest.mark.parametrize(
    ("raw", "pointer"),
    [
        (b"", ""),
        (b"\xff", ""),
        (b"{", ""),
        (b"null", ""),
        (b'{"markets": [],}', ""),
        (b'{"markets": [] "as_of": null}', ""),
        (b'{"markets": [1 2]}', ""),
        (b'{"markets": []} x', ""),
        (b"{1: 2}", ""),
        (b'{"markets": [{"fee_bps": NaN}]}', ""),
        (b'{"markets": ' + b"[" * 100_000, ""),
        (b'{"markets": [' + b'{"a":' * 100_000, ""),
        (b'{"markets": [{"fee_bps": ' + b"9" * 5_000 + b"}]}", ""),
        (b'{"markets": [{"market_id": "\\ud800"}]}', "/markets/0/kind"),
        (b'{"as_of": "now", "markets": []}', "/as_of"),
        (b"{}", "/markets"),
    ],
)
async def test_batch_that_is_no_batch_is_refused(raw: bytes, pointer: str) -> None:
    with pytest.raises(Invalid) as refusal:
        await read_market_batch(raw)
    assert [error.pointer for error in refusal.value.errors] == [pointer]


async def test_whole_snapshot_is_read_whatever_its_spacing_and_order() -> None:
    market = book("m").model_dump_json(exclude_none=True)
    assets, as_of = '"assets" : {"BTC":{"decimals":8}}', '"as_of":"2026-01-05T12:00:00Z"'
    raw = f' {{ {assets} ,\n"markets":[ {market} , {market} ] , {as_of}}} '
    batch = await read_market_batch(raw.encode())
    assert list(batch.markets) == [book("m")] * 2
    assert batch.assets["BTC"].decimals == 8
    assert (await read_market_batch(b'{"markets": [ ]}')).markets == ()
