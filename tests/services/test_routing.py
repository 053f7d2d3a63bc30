import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import orjson
import pytest

from app.domain.errors import Duplicate, Invalid, KeyReused, NotFound, Unavailable
from app.infra.db import Database
from app.services.routing import Accepted, RouteRequest
from app.services.routing.reading import RouteFilter
from app.services.schemas.trade import TradeIn, read_trade
from tests import scenarios
from tests.factories import book, trade
from tests.scenarios import Desk, as_json

TABLES = ("lake.route", "lake.event", "lake.delivery", "lake.idempotency", "lake.snapshot", "lake.market_revision")


@pytest.fixture
async def desk(clean_database: Database, postgres_url: str) -> AsyncIterator[Desk]:
    async with scenarios.desk(postgres_url) as desk:
        await desk.list_markets()
        yield desk


async def stored(desk: Desk) -> dict[str, int]:
    """Count what accepting writes."""
    return {table: await desk.count(table) for table in TABLES}


def request(body: dict[str, Any], *, key: str | None = "k", program: str = "desk") -> RouteRequest:
    """Build a request as the edge does."""
    return RouteRequest(program=program, trade=read_trade(body), idempotency_key=key, body=body)


async def accept_all(desk: Desk, *requests: RouteRequest) -> list[Accepted | BaseException]:
    """Send requests at once, so that they share a batch."""
    accept = desk.services.acceptor.accept
    return await asyncio.gather(*(accept(each) for each in requests), return_exceptions=True)


async def test_what_was_acknowledged_is_stored(desk: Desk) -> None:
    accepted = await desk.request(client_order_id="abc-1", key="k")
    answer = as_json(accepted.response)
    row = await desk.route(accepted.route_id)

    assert answer["id"] == str(accepted.route_id)
    assert (answer["status"], answer["revision"], answer["solution"]) == ("requested", 0, None)
    assert answer["trade"] == orjson.loads(row["trade"])
    assert answer["trade"] == TradeIn(**trade(client_order_id="abc-1")).to_document()
    assert (row["program"], row["client_order_id"], row["status"]) == ("desk", "abc-1", "data_ready")
    assert await stored(desk) == dict.fromkeys(TABLES, 1) | {"lake.event": 3}
    assert accepted.route_id.version == 7


async def test_a_replay_returns_the_stored_bytes(desk: Desk) -> None:
    first = await desk.request(key="k")
    before = await stored(desk)
    await desk.settle()
    replay = await desk.request(key="k")
    assert replay.is_replay
    assert (replay.route_id, replay.response) == (first.route_id, first.response)
    assert await stored(desk) | {"lake.event": 3, "lake.delivery": 1} == before


async def test_order_of_fields_and_spaces_do_not_make_another_body(desk: Desk) -> None:
    body = trade(constraints={"max_legs": 3, "venues": {"include": ["kraken"], "exclude": []}})
    shuffled = orjson.loads(b'  {"quantity":"0.5" , "constraints": {"venues": {"exclude":[], "include":["kraken"]},'
                            b'"max_legs": 3}, "side":"buy", "instrument":"BTC-USD"}')  # fmt: skip
    first, second = await accept_all(desk, request(body), request(shuffled))
    assert isinstance(first, Accepted)
    assert second == replace(first, is_replay=True)


@pytest.mark.parametrize("other", [{"quantity": "0.50"}, {"side": "sell"}, {"ttl_s": 300}])
async def test_another_body_under_a_key_is_refused(desk: Desk, other: dict[str, Any]) -> None:
    await desk.request(key="k")
    before = await stored(desk)
    with pytest.raises(KeyReused):
        await desk.request(key="k", **other)
    assert await stored(desk) == before


async def test_keys_belong_to_their_program(desk: Desk) -> None:
    mine = await desk.request(key="k")
    theirs = await desk.request(key="k", program="other", side="sell")
    assert mine.route_id != theirs.route_id


async def test_errors_store_nothing(desk: Desk) -> None:
    before = await stored(desk)
    with pytest.raises(Invalid) as refused:
        await desk.request(key="k", instrument="DOGE-USD")
    assert [error.pointer for error in refused.value.errors] == ["/instrument"]
    assert await stored(desk) == before

    accepted = await desk.request(key="k")
    assert not accepted.is_replay


async def test_a_replay_outlives_the_market_it_was_for(desk: Desk) -> None:
    await desk.list_markets(book("kraken:ETH-USD", base="ETH", bids=[["3000", "9"]], asks=[["3001", "9"]]))
    first = await desk.request(key="k", instrument="ETH-USD")
    await desk.list_markets(book("kraken:ETH-USD"))
    assert (await desk.request(key="k", instrument="ETH-USD")).response == first.response
    with pytest.raises(Invalid):
        await desk.request(key="other", instrument="ETH-USD")


async def test_an_expired_key_works_anew(desk: Desk) -> None:
    first = await desk.request(key="k")
    await desk.execute("UPDATE lake.idempotency SET created_at = now() - interval '23 hours 59 minutes'")
    assert (await desk.request(key="k")).is_replay
    await desk.execute("UPDATE lake.idempotency SET created_at = now() - interval '24 hours 1 minute'")
    anew = await desk.request(key="k", side="sell")
    assert not anew.is_replay
    assert anew.route_id != first.route_id
    assert await desk.count("lake.idempotency") == 1


async def test_fifty_at_once_under_one_key_are_one_route(desk: Desk) -> None:
    answers = await accept_all(desk, *[request(trade()) for _ in range(50)])
    assert len({answer.response for answer in answers if isinstance(answer, Accepted)}) == 1
    assert sum(isinstance(answer, Accepted) and not answer.is_replay for answer in answers) == 1
    assert await desk.count("lake.route") == 1


async def test_one_batch_tells_bodies_of_one_key_apart(desk: Desk) -> None:
    answers = await accept_all(desk, request(trade()), request(trade(side="sell")), request(trade()))
    assert [type(answer) for answer in answers] == [Accepted, KeyReused, Accepted]


async def test_a_client_order_id_names_one_route(desk: Desk) -> None:
    first = await desk.request(client_order_id="abc-1")
    before = await stored(desk)
    with pytest.raises(Duplicate) as refused:
        await desk.request(client_order_id="abc-1", key="other")
    assert refused.value.location == f"/v1/routes/{first.route_id}"
    assert await stored(desk) == before
    assert (await desk.request(client_order_id="abc-1", program="other")).route_id != first.route_id


async def test_one_batch_tells_duplicates_and_replays_apart(desk: Desk) -> None:
    body = trade(client_order_id="abc-1")
    answers = await accept_all(
        desk, request(body, key="a"), request(body, key="a"), request(body, key="b"), request(body, key=None)
    )
    assert [type(answer) for answer in answers] == [Accepted, Accepted, Duplicate, Duplicate]
    assert await desk.count("lake.route") == 1


async def test_what_cannot_be_stored_fails_alone(desk: Desk) -> None:
    odd = replace(request(trade()), idempotency_key="a\x00b")
    good, bad, other = await accept_all(desk, request(trade(), key="a"), odd, request(trade(), key="b"))
    assert isinstance(good, Accepted)
    assert isinstance(other, Accepted)
    assert isinstance(bad, Exception)
    assert not isinstance(bad, Unavailable)
    assert await desk.count("lake.route") == 2


async def test_two_processes_racing_for_keys_make_one_route_each(desk: Desk, postgres_url: str) -> None:
    async with scenarios.desk(postgres_url) as twin:
        for round_ in range(10):
            keys = [f"{round_}-{number}" for number in range(8)]
            requests = [request(trade(client_order_id=key), key=key) for key in keys]
            mine, theirs = await asyncio.gather(
                accept_all(desk, *requests), accept_all(twin, *(requests[::-1] if round_ % 2 else requests))
            )
            answers = [*mine, *theirs]
            assert [answer for answer in answers if not isinstance(answer, Accepted)] == []
            assert len({answer.response for answer in answers if isinstance(answer, Accepted)}) == 8
        assert await desk.count("lake.route") == 80
        assert await desk.count("lake.event") == 240


async def test_two_processes_racing_for_an_order_id_make_one_route(desk: Desk, postgres_url: str) -> None:
    body = trade(client_order_id="abc-1")
    async with scenarios.desk(postgres_url) as twin:
        answers = [
            answer
            for pair in await asyncio.gather(
                accept_all(desk, request(body, key="a")), accept_all(twin, request(body, key="b"))
            )
            for answer in pair
        ]
    assert sorted(type(answer).__name__ for answer in answers) == ["Accepted", "Duplicate"]
    assert await desk.count("lake.route") == 1


async def test_routes_of_one_moment_share_a_snapshot(desk: Desk) -> None:
    await accept_all(desk, *[request(trade(), key=None) for _ in range(5)])
    assert await desk.count("lake.snapshot") == 1
    await desk.list_markets(book(bids=[["63000", "1"]]))
    await desk.request()
    assert await desk.count("lake.snapshot") == 2
    assert await desk.count("lake.market_revision") == 2


async def test_cancelling_is_idempotent_and_private(desk: Desk) -> None:
    route_id = await desk.ready()
    with pytest.raises(NotFound):
        await desk.services.canceller.cancel("other", route_id)
    await desk.services.canceller.cancel("desk", route_id)
    trail = await desk.trail(route_id)
    await desk.services.canceller.cancel("desk", route_id)
    assert await desk.trail(route_id) == trail
    assert trail[-1] == (12, "route_update.cancelled", "cancelled")


async def test_reading_is_private(desk: Desk) -> None:
    accepted = await desk.request()
    reader = desk.services.routes
    assert (await reader.get("desk", accepted.route_id)).document["id"] == str(accepted.route_id)
    for read in (
        reader.get("other", accepted.route_id),
        reader.require("other", accepted.route_id),
        reader.events("other", accepted.route_id, after=0, limit=10),
    ):
        with pytest.raises(NotFound):
            await read
    assert await reader.page("other", RouteFilter(), limit=10, before=None) == ([], None)
