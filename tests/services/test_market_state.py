import asyncio
from collections.abc import AsyncIterator

import pytest

from app.domain.errors import Unavailable
from app.domain.values import Asset, Instrument
from app.infra.db import Database
from app.services.market_state import MarketState, SnapshotReader
from app.services.schemas.market import MARKET
from app.services.snapshots import Snapshot
from tests import scenarios
from tests.factories import book
from tests.scenarios import Desk
from tests.twins import FixedClock

BTC_USD = Instrument.parse("BTC-USD")
ETH_BTC = Instrument.parse("ETH-BTC")
ETHER = book("kraken:ETH-USD", base="ETH", bids=[["3000", "9"]], asks=[["3001", "9"]])


@pytest.fixture
async def desk(clean_database: Database, postgres_url: str) -> AsyncIterator[Desk]:
    async with scenarios.desk(postgres_url) as desk:
        await desk.list_markets()
        yield desk


@pytest.fixture
def state(desk: Desk) -> MarketState:
    return MarketState(desk.database, FixedClock())


async def test_a_write_anywhere_is_seen_by_whoever_asks_next(desk: Desk, state: MarketState) -> None:
    await state.fresh()
    assert [live.market.market_id for live in state.snapshot(BTC_USD).markets] == ["kraken:BTC-USD"]
    for number in range(10):
        name = f"venue-{number}:BTC-USD"
        await desk.list_markets(book(name))
        await asyncio.gather(*(state.fresh() for _ in range(5)))
        assert name in state.markets


async def test_many_who_ask_at_once_share_the_answer(desk: Desk, state: MarketState) -> None:
    async def write_and_ask(number: int) -> bool:
        await desk.list_markets(book(f"venue-{number}:BTC-USD"))
        await state.fresh()
        return f"venue-{number}:BTC-USD" in state.markets

    assert all(await asyncio.gather(*(write_and_ask(number) for number in range(30))))


async def test_whoever_gives_up_waiting_stops_no_one_else(state: MarketState) -> None:
    waiting = [asyncio.create_task(state.fresh()) for _ in range(3)]
    waiting[0].cancel()
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(answer) for answer in done] == [asyncio.CancelledError, type(None), type(None)]
    assert state.knows(Asset("BTC"))


async def test_a_snapshot_stands_until_one_of_its_markets_moves(desk: Desk, state: MarketState) -> None:
    await state.fresh()
    before = state.snapshot(BTC_USD)
    assert state.snapshot(Instrument.parse("USD-BTC")) is before
    await desk.list_markets(ETHER)
    await state.fresh()
    assert state.snapshot(BTC_USD) is before
    await desk.list_markets(book(bids=[["63000", "1"]]))
    await state.fresh()
    assert state.snapshot(BTC_USD).id != before.id


def named(snapshot: Snapshot) -> list[str]:
    """List the markets of a snapshot."""
    return [live.market.market_id for live in snapshot.markets]


async def test_markets_on_the_way_belong_to_a_snapshot(desk: Desk, state: MarketState) -> None:
    await desk.list_markets(ETHER, book("kraken:SOL-USD", base="SOL"))
    await state.fresh()
    both = ["kraken:BTC-USD", "kraken:ETH-USD"]
    assert named(state.snapshot(ETH_BTC)) == both
    assert named(state.snapshot(BTC_USD)) == both[:1]
    await desk.list_markets(book("pool:ETH-BTC", base="ETH", quote="BTC"))
    await state.fresh()
    assert named(state.snapshot(BTC_USD)) == [*both, "pool:ETH-BTC"]
    assert named(state.snapshot(BTC_USD, 1)) == both[:1]
    assert state.snapshot(BTC_USD) is state.snapshot(ETH_BTC)


async def test_where_no_way_is_short_enough_the_shortest_is_shown(desk: Desk, state: MarketState) -> None:
    await desk.list_markets(ETHER)
    await state.fresh()
    assert named(state.snapshot(ETH_BTC, 1)) == ["kraken:BTC-USD", "kraken:ETH-USD"]


async def test_a_snapshot_follows_the_markets_on_its_way(desk: Desk, state: MarketState) -> None:
    await desk.list_markets(ETHER, book("kraken:SOL-USD", base="SOL"))
    await state.fresh()
    before = state.snapshot(ETH_BTC)
    await desk.list_markets(book("kraken:SOL-USD", base="SOL", bids=[["150", "9"]]), book("new:DOGE-USD", base="DOGE"))
    await state.fresh()
    assert state.snapshot(ETH_BTC) is before
    await desk.list_markets({**ETHER, "status": "halted"})
    await state.fresh()
    assert state.snapshot(ETH_BTC) is not before


async def test_what_a_fixed_cost_is_paid_in_can_be_valued(desk: Desk, state: MarketState) -> None:
    await desk.list_markets(ETHER)
    await state.fresh()
    assert named(state.snapshot(BTC_USD)) == ["kraken:BTC-USD"]
    await desk.list_markets(book(fixed_cost={"asset": "ETH", "amount": "0.001"}))
    await state.fresh()
    assert named(state.snapshot(BTC_USD)) == ["kraken:BTC-USD", "kraken:ETH-USD"]


async def test_a_market_that_changes_its_assets_changes_every_way(desk: Desk, state: MarketState) -> None:
    await desk.list_markets(ETHER)
    await state.fresh()
    assert len(named(state.snapshot(ETH_BTC))) == 2
    await desk.list_markets({**ETHER, "quote": "EUR"})
    await state.fresh()
    assert named(state.snapshot(ETH_BTC)) == []
    assert named(state.snapshot(Instrument.parse("ETH-EUR"))) == ["kraken:ETH-USD"]


async def test_assets_are_known_while_a_market_trades_them(desk: Desk, state: MarketState) -> None:
    await desk.list_markets(ETHER)
    await state.fresh()
    assert [state.knows(Asset(name)) for name in ("BTC", "ETH", "USD", "DOGE")] == [True, True, True, False]
    await desk.list_markets(book("kraken:ETH-USD"))
    await state.fresh()
    assert not state.knows(Asset("ETH"))
    assert len(state.snapshot(BTC_USD).markets) == 2
    assert state.snapshot(Instrument.parse("ETH-USD")).markets == []


async def test_decimals_are_part_of_a_snapshot(desk: Desk, state: MarketState) -> None:
    await desk.services.market_data.write([MARKET.validate_python(book())], {"BTC": 8})
    await state.fresh()
    assert state.snapshot(BTC_USD).decimals == {"BTC": 8}
    await desk.services.market_data.write([MARKET.validate_python(ETHER)], {"USD": 2, "ETH": 12, "SOL": 9})
    await state.fresh()
    assert state.snapshot(BTC_USD).decimals == {"BTC": 8, "USD": 2}
    assert state.snapshot(ETH_BTC).decimals == {"BTC": 8, "ETH": 12, "USD": 2}


async def test_each_state_of_a_market_is_stored_once(desk: Desk) -> None:
    await desk.list_markets(ETHER)
    await desk.request(instrument="ETH-BTC")
    assert await desk.count("lake.market_revision") == 2
    await desk.list_markets({**ETHER, "bids": [["2999", "9"]]})
    await desk.request(instrument="ETH-BTC")
    await desk.request()
    assert await desk.count("lake.market_revision") == 3
    assert await desk.count("lake.snapshot") == 3
    _, prepared, _ = await SnapshotReader(desk.database).read(
        await desk.value("SELECT id FROM lake.snapshot ORDER BY as_of OFFSET 1 LIMIT 1")
    )
    assert len(prepared) == 2


async def test_a_stored_snapshot_reads_as_it_was(desk: Desk) -> None:
    accepted = await desk.request()
    identifier = (await desk.route(accepted.route_id))["snapshot_id"]
    taken = desk.services.state.snapshot(BTC_USD)
    await desk.list_markets(book(bids=[["63000", "1"]]))
    markets, prepared, decimals = await SnapshotReader(desk.database).read(identifier)
    assert markets == [live.market for live in taken.markets]
    assert len(prepared) == len(taken.prepared)
    assert decimals == taken.decimals


async def test_few_snapshots_are_kept_and_all_can_be_read(desk: Desk) -> None:
    reader = SnapshotReader(desk.database, size=1)
    identifiers = []
    for price in ("64100", "64200", "64300"):
        await desk.list_markets(book(asks=[[price, "5"]]))
        route = await desk.route((await desk.request()).route_id)
        identifiers.append((price, route["snapshot_id"]))
    for price, identifier in identifiers * 2:
        (market,), _, _ = await reader.read(identifier)
        assert str(market.asks[0][0]) == price  # type: ignore[union-attr]


async def test_without_postgres_nothing_is_fresh() -> None:
    away = Database("postgresql://solver@127.0.0.1:1/x", pool_size=1, connect_timeout_s=1, timeout_s=1, name="away")
    await away.open()
    state = MarketState(away, FixedClock())
    answers = await asyncio.gather(*(state.fresh() for _ in range(3)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {Unavailable}
    with pytest.raises(Unavailable):
        await state.fresh()
    await away.close()
