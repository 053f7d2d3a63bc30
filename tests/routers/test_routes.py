import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from app.infra.db import Database
from tests import scenarios
from tests.factories import book, fill, requested, trade
from tests.scenarios import Office

TABLES = ("lake.route", "lake.event", "lake.delivery", "lake.idempotency", "lake.fill", "warehouse.solution")
ABSENT = "01890a5d-ac96-774b-bcce-b302099a8057"


@pytest.fixture
async def office(clean_database: Database, postgres_url: str) -> AsyncIterator[Office]:
    async with scenarios.office(postgres_url) as office:
        yield office


async def stored(office: Office) -> dict[str, int]:
    """Count what a request may have written."""
    return {table: await office.desk.count(table) for table in TABLES}


async def post(office: Office, *, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
    """Ask for a route."""
    return await office.client.post("/v1/routes", json=trade(**fields), headers=headers)


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Check that an answer is a whole problem document."""
    document: dict[str, Any] = answer.json()
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert document["type"] == f"urn:solver:problem:{code}"
    assert document["status"] == status
    assert document["instance"] == answer.request.url.path
    assert document["trace_id"] == answer.headers["x-trace-id"]
    assert document["title"]
    assert document["detail"]
    return document


async def test_a_request_is_answered_with_the_route(office: Office) -> None:
    answer = await post(office, client_order_id="abc-1")
    document = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/routes/{document['id']}"
    assert (document["status"], document["revision"], document["solution"]) == ("requested", 0, None)
    assert (document["program"], document["client_order_id"]) == ("desk", "abc-1")
    read = await office.client.get(answer.headers["location"])
    assert read.json().keys() == document.keys()
    assert read.json()["trade"] == document["trade"]


async def test_a_replay_is_the_same_to_the_byte(office: Office) -> None:
    headers = {"Idempotency-Key": "k"}
    first = await post(office, headers=headers)
    await office.desk.settle()
    again = await post(office, headers=headers)
    assert (again.status_code, again.content, again.headers["location"]) == (
        202,
        first.content,
        first.headers["location"],
    )
    spaced = b'{ "quantity":"0.5","side":"buy",\n "instrument":"BTC-USD" }'
    other = await office.client.post("/v1/routes", content=spaced, headers=headers)
    assert other.content == first.content


async def test_another_body_under_a_key_is_a_problem(office: Office) -> None:
    await post(office, headers={"Idempotency-Key": "k"})
    before = await stored(office)
    problem(await post(office, headers={"Idempotency-Key": "k"}, side="sell"), 422, "idempotency-key-reused")
    assert await stored(office) == before


@pytest.mark.parametrize("key", [b"", b"a b", "é".encode(), b"x" * 256])
async def test_keys_are_plain(office: Office, key: bytes) -> None:
    headers = httpx.Headers({b"Idempotency-Key": key})
    answer = await office.client.post("/v1/routes", json=trade(), headers=headers)
    problem(answer, 422, "invalid")
    assert await office.desk.count("lake.route") == 0


async def test_waiting_answers_the_settled_route(office: Office) -> None:
    headers = {"Prefer": "wait=15", "Idempotency-Key": "k"}
    async with scenarios.working(office.desk):
        answer = await post(office, headers=headers)
    document = answer.json()
    assert answer.status_code == 201
    assert answer.headers["preference-applied"] == "wait=15"
    assert (document["status"], document["revision"]) == ("ready", 1)
    assert document["solution"]["receives"] == {"asset": "BTC", "amount": "0.5"}
    assert {"features", "inference", "solve", "total"} <= document["timings_ms"].keys()
    assert document["forecast"]["models"]
    read = await office.client.get(answer.headers["location"])
    assert (read.headers["etag"], read.content) == (answer.headers["etag"], answer.content)

    waited = await post(office, headers=headers)
    assert (waited.status_code, waited.content) == (201, answer.content)
    plain = await post(office, headers={"Idempotency-Key": "k"})
    assert (plain.status_code, plain.json()["status"]) == (202, "requested")


@pytest.mark.parametrize("status", ["executing", "filled", "cancelled"])
async def test_waiting_for_a_route_that_went_on_answers_it_as_it_is(office: Office, status: str) -> None:
    headers = {"Prefer": "wait=15", "Idempotency-Key": "k"}
    location = (await post(office, headers={"Idempotency-Key": "k"})).headers["location"]
    await office.desk.settle()
    if status == "cancelled":
        await office.client.delete(location)
    else:
        amount = "0.1" if status == "executing" else "0.5"
        await office.client.post(f"{location}/fills", json=fill(receives={"asset": "BTC", "amount": amount}))
    answer = await post(office, headers=headers)
    assert (answer.status_code, answer.json()["status"]) == (201, status)


@pytest.mark.parametrize("prefer", ["wait=0", "respond-async, wait=0.05", 'wait="0"'])
async def test_waiting_in_vain_answers_what_was_stored(office: Office, prefer: str) -> None:
    answer = await post(office, headers={"Prefer": prefer})
    assert (answer.status_code, answer.json()["status"]) == (202, "requested")
    assert answer.headers["preference-applied"].startswith("wait=0")


async def test_an_infeasible_trade_ends_infeasible_and_a_quote_refuses_it(office: Office) -> None:
    async with scenarios.working(office.desk):
        answer = await post(office, headers={"Prefer": "wait=15"}, quantity="5000")
    document = answer.json()
    assert (answer.status_code, document["status"], document["revision"]) == (201, "infeasible", 0)
    assert document["reason"]["code"] == "infeasible"
    quoted = problem(await office.client.post("/v1/quotes", json=trade(quantity="5000")), 422, "infeasible")
    for name in ("constraint", "nearest"):
        assert quoted[name] == document["reason"][name]


async def test_reading_again_costs_nothing_while_nothing_changed(office: Office) -> None:
    route_id = await office.desk.ready()
    path = f"/v1/routes/{route_id}"
    tag = (await office.client.get(path)).headers["etag"]
    for match in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        answer = await office.client.get(path, headers={"If-None-Match": match})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
    assert (await office.client.get(path, headers={"If-None-Match": '"x"'})).status_code == 200
    await office.desk.services.canceller.cancel("desk", route_id)
    answer = await office.client.get(path, headers={"If-None-Match": tag})
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert answer.headers["etag"] != tag


async def test_a_long_poll_waits_for_the_first_revision(office: Office) -> None:
    location = (await post(office)).headers["location"]
    waiting = asyncio.create_task(office.client.get(location, params={"wait": 15}))
    await office.desk.settle()
    answer = await waiting
    assert (answer.json()["status"], answer.json()["revision"]) == ("ready", 1)


async def test_a_long_poll_waits_for_what_comes_next(office: Office) -> None:
    route_id = await office.desk.ready()
    path = f"/v1/routes/{route_id}"
    tag = (await office.client.get(path)).headers["etag"]
    known = {"If-None-Match": tag}
    waiting = asyncio.create_task(office.client.get(path, params={"wait": 15}, headers=known))
    await office.desk.stages.sweeper.sweep()
    in_vain = await office.client.get(path, params={"wait": 0.05}, headers=known)
    assert in_vain.status_code == 304
    assert not waiting.done()
    await office.desk.services.canceller.cancel("desk", route_id)
    assert (await waiting).json()["status"] == "cancelled"
    at_once = await office.client.get(path, params={"wait": 15}, headers={"If-None-Match": '"older"'})
    assert at_once.status_code == 200


async def test_routes_are_listed_page_by_page_newest_first(office: Office) -> None:
    made = [str((await office.desk.request()).route_id) for _ in range(5)]
    await office.desk.request(program="other")
    seen: list[str] = []
    cursor: str | None = None
    pages = 0
    while cursor or not pages:
        answer = await office.client.get("/v1/routes", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))
        seen += [item["id"] for item in answer.json()["items"]]
        cursor, pages = answer.json()["next"], pages + 1
    assert seen == made[::-1]
    assert pages == 3


async def test_lists_are_filtered(office: Office) -> None:
    await office.desk.list_markets(book("kraken:ETH-USD", base="ETH", bids=[["3000", "9"]], asks=[["3001", "9"]]))
    ready = str(await office.desk.ready(client_order_id="abc-1"))
    ether = str((await office.desk.request(instrument="ETH-USD")).route_id)
    created = (await office.client.get(f"/v1/routes/{ether}")).json()["created_at"]

    async def listed(**filters: str) -> list[str]:
        answer = await office.client.get("/v1/routes", params=filters)
        assert answer.status_code == 200
        return [item["id"] for item in answer.json()["items"]]

    assert await listed(status="ready") == [ready]
    assert await listed(status="data_ready") == [ether]
    assert await listed(instrument="ETH-USD") == [ether]
    assert await listed(client_order_id="abc-1") == [ready]
    assert await listed(created_after=created) == [ether]
    assert await listed(created_before=created) == [ready]
    assert await listed(status="ready", instrument="ETH-USD") == []
    assert await listed(created_after="2100-01-01T00:00:00+14:00") == []


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("status=lost", "/query/status"),
        ("limit=0", "/query/limit"),
        ("limit=501", "/query/limit"),
        ("cursor=x", "/query/cursor"),
        ("created_after=yesterday", "/query/created_after"),
        ("created_after=2026-01-01T00:00:00", "/query/created_after"),
        ("created_before=0001-01-01T00:00:00%2B14:00", "/query/created_before"),
        ("client_order_id=a%00b", "/query/client_order_id"),
        ("instrument=%00", "/query/instrument"),
    ],
)
async def test_a_list_that_makes_no_sense_is_pointed_at(office: Office, query: str, pointer: str) -> None:
    document = problem(await office.client.get(f"/v1/routes?{query}"), 422, "invalid")
    assert [error["pointer"] for error in document["errors"]] == [pointer]


async def test_cancelling_is_idempotent(office: Office) -> None:
    route_id = await office.desk.ready()
    path = f"/v1/routes/{route_id}"
    first = await office.client.delete(path)
    again = await office.client.delete(path)
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json()["status"] == "cancelled"
    assert (again.content, again.headers["etag"]) == (first.content, first.headers["etag"])
    assert len(await office.desk.trail(route_id)) == 12


async def test_the_trail_is_read_page_by_page(office: Office) -> None:
    route_id = await office.desk.ready()
    path = f"/v1/routes/{route_id}/events"
    whole = (await office.client.get(path)).json()
    assert [event["sequence"] for event in whole["items"]] == [str(number) for number in range(1, 12)]
    assert whole["next"] is None
    assert {event["specversion"] for event in whole["items"]} == {"1.0"}
    first = (await office.client.get(path, params={"limit": 4})).json()
    rest = (await office.client.get(path, params={"cursor": first["next"]})).json()
    assert first["items"] + rest["items"] == whole["items"]
    for cursor in ("-1", str(1 << 31), "x"):
        problem(await office.client.get(path, params={"cursor": cursor}), 422, "invalid")


async def test_fills_are_reported(office: Office) -> None:
    route_id = await office.desk.ready()
    path = f"/v1/routes/{route_id}/fills"
    first = await office.client.post(path, json=fill())
    again = await office.client.post(path, json=fill())
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert first.json()["status"] == "filled"
    other = fill(sends={"asset": "USD", "amount": "1"})
    problem(await office.client.post(path, json=other), 409, "conflict")
    late = await office.client.post(path, json=fill("late"))
    assert (late.status_code, late.json()["late"]) == (201, True)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (fill(sends=None), ""),
        (fill("a\x00b"), "/fill_id"),
        (fill(""), "/fill_id"),
        (fill(at="2026-01-01T00:00:00"), "/at"),
        (fill(at="0001-01-01T00:00:00+14:00"), "/at"),
        (fill(at=5), "/at"),
        (fill(receives={"asset": "BTC", "amount": "0"}), "/receives/amount"),
        (fill(quantity=1), "/quantity"),
        (fill(speed="high"), "/speed"),
        (fill(sends={"asset": "BTC", "amount": "1"}), "/sends/asset"),
    ],
)
async def test_a_fill_that_makes_no_sense_is_pointed_at(office: Office, body: dict[str, Any], pointer: str) -> None:
    route_id = await office.desk.ready()
    answer = await office.client.post(f"/v1/routes/{route_id}/fills", json=body)
    document = problem(answer, 422, "invalid")
    assert [error["pointer"] for error in document["errors"]] == [pointer]
    assert await office.desk.count("lake.fill") == 0


async def test_a_route_of_another_program_does_not_exist(office: Office) -> None:
    route_id = await office.desk.ready()
    before = await stored(office)
    theirs = await office.client_of("other")
    for identifier in (str(route_id), ABSENT, str(uuid4())):
        path = f"/v1/routes/{identifier}"
        answers = [
            await office.client.get(path, headers=theirs),
            await office.client.get(f"{path}/events", headers=theirs),
            await office.client.get(path, params={"wait": 15}, headers=theirs),
            await office.client.delete(path, headers=theirs),
            await office.client.post(f"{path}/fills", json=fill(), headers=theirs),
        ]
        for answer in answers:
            assert identifier in problem(answer, 404, "not-found")["detail"]
    assert (await office.client.get("/v1/routes", headers=theirs)).json() == {"items": [], "next": None}
    assert await stored(office) == before


REFUSED: dict[str, tuple[Any, int, str, str | None]] = {
    "an unknown asset": (trade(instrument="DOGE-USD"), 422, "invalid", "/instrument"),
    "no instrument": (trade(instrument="BTCUSD"), 422, "invalid", "/instrument"),
    "an asset for itself": (trade(instrument="BTC-BTC"), 422, "invalid", ""),
    "a foreign quantity": (trade(quantity_asset="ETH"), 422, "invalid", ""),
    "a number for an amount": (trade(quantity=0.5), 422, "invalid", "/quantity"),
    "a negative quantity": (trade(quantity="-1"), 422, "invalid", "/quantity"),
    "nothing": (trade(quantity="0"), 422, "invalid", "/quantity"),
    "an unknown field": (trade(speed="high"), 422, "invalid", "/speed"),
    "a contradiction": (
        trade(constraints={"venues": {"include": ["kraken"], "exclude": ["kraken"]}}),
        422,
        "invalid",
        "/constraints/venues",
    ),
    "no legs": (trade(constraints={"max_legs": 0}), 422, "invalid", "/constraints/max_legs"),
    "no time": (trade(ttl_s=0), 422, "invalid", "/ttl_s"),
    "a NUL": (trade(client_order_id="a\x00b"), 422, "invalid", "/client_order_id"),
    "NaN": (b'{"instrument": "BTC-USD", "side": "buy", "quantity": NaN}', 422, "invalid", "/quantity"),
    "a float of NaN": (
        b'{"instrument": "BTC-USD", "side": "buy", "quantity": "1", "ttl_s": NaN}',
        422,
        "invalid",
        "/ttl_s",
    ),
    "too large a float": (
        b'{"instrument": "BTC-USD", "side": "buy", "quantity": "1", "ttl_s": 1e999}',
        422,
        "invalid",
        "/ttl_s",
    ),
    "no JSON": (b"{", 422, "invalid", ""),
    "two MiB": (b'{"instrument": "' + b"x" * (2 << 20) + b'"}', 413, "too-large", None),
}


@pytest.mark.parametrize("path", ["/v1/routes", "/v1/quotes"])
@pytest.mark.parametrize("name", REFUSED)
async def test_what_can_never_be_valid_stores_nothing(office: Office, path: str, name: str) -> None:
    body, status, code, pointer = REFUSED[name]
    sent = {"content": body} if isinstance(body, bytes) else {"json": body}
    answer = await office.client.post(path, **sent, headers={"Idempotency-Key": "k"})
    document = problem(answer, status, code)
    if pointer is not None:
        assert [error["pointer"] for error in document["errors"]] == [pointer]
        assert document["errors"][0]["message"]
    assert await stored(office) == dict.fromkeys(TABLES, 0)

    accepted = await post(office, headers={"Idempotency-Key": "k"})
    assert accepted.status_code == 202


@pytest.mark.parametrize(
    ("market", "fields"),
    [
        (book(status="halted"), {}),
        (book(asks=[]), {}),
        (book(bids=[]), {"side": "sell"}),
        (book(min_quantity="2"), {}),
        (book(min_notional="1000000"), {}),
        (book(), {"constraints": {"venues": {"exclude": ["kraken"]}}}),
        (book(), {"constraints": {"markets": {"include": ["coinbase:BTC-USD"]}}}),
        (book(), {"limit_price": "60000"}),
        (book(), {"max_slippage_bps": 0}),
        (book(), {"constraints": {"balances": {"USD": "1"}}}),
    ],
    ids=["halted", "one-sided", "other-side", "quantity", "notional", "venue", "market", "limit", "slippage", "poor"],
)
async def test_what_the_market_cannot_satisfy_names_the_constraint(
    office: Office, market: dict[str, Any], fields: dict[str, Any]
) -> None:
    await office.desk.list_markets(market)
    quoted = problem(await office.client.post("/v1/quotes", json=trade(**fields)), 422, "infeasible")
    assert quoted["constraint"]
    assert "nearest" in quoted

    route_id = await office.desk.ready(**fields)
    document = (await office.client.get(f"/v1/routes/{route_id}")).json()
    assert (document["status"], document["solution"]) == ("infeasible", None)
    assert document["reason"]["constraint"] == quoted["constraint"]
    assert document["reason"]["nearest"] == quoted["nearest"]
    assert await office.desk.count("warehouse.solution") == 0
    assert await office.desk.count("lake.dead_letter") == 0


async def test_without_a_good_key_nothing_happens(office: Office) -> None:
    feeder = await office.client_of("feeder", scopes=("market",))
    for headers, status, code in (
        ({"Authorization": "Bearer nonsense"}, 401, "unauthenticated"),
        ({"Authorization": ""}, 401, "unauthenticated"),
        (feeder, 403, "forbidden"),
    ):
        problem(await post(office, headers=headers), status, code)
        problem(await office.client.get("/v1/routes", headers=headers), status, code)
    assert await stored(office) == dict.fromkeys(TABLES, 0)


async def test_an_order_id_that_is_taken_says_where(office: Office) -> None:
    location = (await post(office, client_order_id="abc-1")).headers["location"]
    before = await stored(office)
    answer = await post(office, client_order_id="abc-1")
    problem(answer, 409, "duplicate-client-order-id")
    assert answer.headers["location"] == location
    assert await stored(office) == before


@pytest.mark.parametrize(
    "event",
    [b"{", requested(dataschema="urn:solver:event:route_request:v9"), requested(program="nobody")],
    ids=["malformed", "version", "program"],
)
async def test_a_broken_event_disturbs_no_one(office: Office, event: bytes) -> None:
    await office.desk.services.publishing.publish([event])
    async with scenarios.working(office.desk):
        answer = await post(office, headers={"Prefer": "wait=15"})
    await office.desk.settle()
    assert answer.status_code == 201
    (letter,) = await office.desk.dead()
    assert letter["reason"]
    assert await office.desk.count("lake.route") == 1
