import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
import pytest_asyncio

from app.config import SolveSettings
from app.domain.errors import Overloaded
from app.main import create_app
from app.services.direct_solving import DirectSolving
from tests.factories import book, trade
from tests.routers.stage import Stage, chunked, on_stage
from tests.twins import FixedClock

AS_OF = "2026-01-05T12:00:00Z"
POOL = {
    "market_id": "uni:BTC-USDC", "venue": "uni", "kind": "constant_product", "fee_bps": 30,
    "reserves": {"BTC": "150", "USDC": "9600000"},
}  # fmt: skip
STABLE = {
    "market_id": "curve:USDC-USD", "venue": "curve", "kind": "stable", "fee_bps": 1,
    "reserves": {"USDC": "50000000", "USD": "50000000"}, "amplification": "200",
}  # fmt: skip
TICKS = {
    "market_id": "v3:WETH-USDC", "venue": "v3", "kind": "concentrated", "fee_bps": 5, "asset0": "WETH",
    "asset1": "USDC", "sqrt_price": "55", "liquidity": "1000", "ticks": [],
}  # fmt: skip
QUOTE = {
    "market_id": "maker:1", "venue": "maker", "kind": "rfq", "fee_bps": 0, "gives": "BTC", "takes": "USD",
    "price": "60000", "max_size": "10", "expires_at": "2026-01-05T12:00:01Z",
}  # fmt: skip


def problem(*markets: Any, as_of: str = AS_OF, assets: Any = None, **fields: Any) -> dict[str, Any]:
    market: dict[str, Any] = {"as_of": as_of, "markets": list(markets or (book(),))}
    if assets is not None:
        market["assets"] = assets
    return {"market": market, "trade": trade(), **fields}


class HeldClock(FixedClock):
    """Lets a solve go on only when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Semaphore(0)
        self.released = threading.Event()

    def now(self) -> datetime:
        self.asked.release()
        assert self.released.wait(30)
        return super().now()


@pytest_asyncio.fixture
async def stage() -> AsyncIterator[Stage]:
    direct_solving = DirectSolving(FixedClock(), SolveSettings())
    async with on_stage(create_app, direct_solving=direct_solving) as running:
        yield running
    await direct_solving.close()


async def test_a_problem_is_solved_without_any_state(stage: Stage) -> None:
    answer = await stage.post("/v1/solve", json=problem(book(), POOL, STABLE, trade=trade(quantity="9")))
    document = answer.json()
    assert answer.status_code == 200
    assert document.keys() == {"solution", "timings_ms"}
    assert document["timings_ms"].keys() == {"read", "solve", "total"}
    assert document["solution"]["receives"] == {"asset": "BTC", "amount": "9"}
    (part,) = document["solution"]["slices"]
    assert part["at"] == "2026-01-05T12:00:00.000000Z"
    assert {leg["market_id"] for leg in part["legs"]} == {"kraken:BTC-USD", "uni:BTC-USDC", "curve:USDC-USD"}


async def test_the_same_body_has_the_same_answer(stage: Stage) -> None:
    body = problem(book(), POOL, STABLE, trade=trade(quantity="9"))
    first, second = [(await stage.post("/v1/solve", json=body)).json()["solution"] for _ in range(2)]
    assert first == second


async def test_without_a_time_the_problem_is_of_the_moment(stage: Stage) -> None:
    body = problem()
    del body["market"]["as_of"]
    answer = await stage.post("/v1/solve", json=body)
    assert answer.json()["solution"]["slices"][0]["at"].startswith(f"{FixedClock().now():%Y-%m-%dT%H:%M:%S}")


@pytest.mark.parametrize("quantity", ["5e-01", "5E-0000001", "0.05e+01", "50e-2"])
async def test_decimals_may_have_any_exponent_of_the_contract(stage: Stage, quantity: str) -> None:
    answer = await stage.post("/v1/solve", json=problem(trade=trade(quantity=quantity)))
    assert answer.json()["solution"]["receives"] == {"asset": "BTC", "amount": "0.5"}


async def test_firm_quotes_expire_by_the_time_of_the_problem(stage: Stage) -> None:
    for later_s, market_id in ((0, "maker:1"), (1, "kraken:BTC-USD")):
        as_of = datetime(2026, 1, 5, 12, tzinfo=UTC) + timedelta(seconds=later_s)
        answer = await stage.post("/v1/solve", json=problem(book(), QUOTE, as_of=as_of.isoformat()))
        assert [leg["market_id"] for leg in answer.json()["solution"]["slices"][0]["legs"]] == [market_id]


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ([], [""]),
        ({}, ["/market", "/trade"]),
        (problem(surprise=1), ["/surprise"]),
        (problem(trade=trade(quantity="0")), ["/trade/quantity"]),
        (problem(trade=trade(instrument="BTC-DOGE")), ["/trade/instrument"]),
        (problem(timeout_ms=-1), ["/timeout_ms"]),
        (problem(timeout_ms=60_001), ["/timeout_ms"]),
        (problem(timeout_ms="5"), ["/timeout_ms"]),
        (problem(as_of="yesterday"), ["/market/as_of"]),
        ({**problem(), "market": []}, ["/market"]),
        ({**problem(), "market": {"markets": {}}}, ["/market/markets"]),
        ({**problem(), "market": {"markets": []}}, ["/trade/instrument", "/trade/instrument"]),
        (problem(book(), 7), ["/market/markets/1"]),
        (problem(book(), book("b:1", kind="dark_pool")), ["/market/markets/1/kind"]),
        (problem(book(), book("b:1", surprise=1)), ["/market/markets/1/surprise"]),
        (problem(book(), book("b:1", bids=[["64000", "-1"]])), ["/market/markets/1/bids/0/1"]),
        (problem(book(), book("b:1", bids=[["65000", "1"]])), ["/market/markets/1/bids"]),
        (problem(book(), {**POOL, "reserves": {"BTC": "0", "USDC": "1"}}), ["/market/markets/1/reserves/BTC"]),
        (problem(book(), POOL, book()), ["/market/markets/2/market_id"]),
        (problem(book(), TICKS), ["/market/markets/1/asset0", "/market/markets/1/asset1"]),
        (problem(book(), TICKS, assets={"WETH": {"decimals": 18}}), ["/market/markets/1/asset1"]),
        (problem(assets={"BTC": {"decimals": 99}}), ["/market/assets/BTC/decimals"]),
        (problem(book(bids=1), surprise=1), ["/surprise", "/market/markets/0/bids"]),
    ],
)
async def test_each_field_that_is_wrong_is_named(stage: Stage, body: Any, pointers: list[str]) -> None:
    answer = await stage.post("/v1/solve", json=body)
    assert answer.status_code == 422
    assert answer.json()["type"].endswith(":invalid")
    assert [error["pointer"] for error in answer.json()["errors"]] == pointers
    assert all(error["message"] for error in answer.json()["errors"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"market": []}, "must be a JSON object"),
        ({"market": {"markets": {}}}, "must be a list"),
        ({"timeout_ms": "5"}, "must be a number, without quotes"),
        ({"timeout_ms": -1}, "must be greater than or equal to 0"),
        ({"trade": trade(side="hold")}, "must be 'buy' or 'sell'"),
        ({"trade": trade(constraints={"max_legs": "3"})}, "must be a whole number, without quotes"),
        ({"trade": trade(constraints={"allow_partial": "no"})}, "must be true or false"),
    ],
)
async def test_each_message_says_what_to_write(stage: Stage, changes: dict[str, Any], message: str) -> None:
    answer = await stage.post("/v1/solve", json={**problem(), **changes})
    assert [error["message"] for error in answer.json()["errors"]] == [message]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"market": NaN}', b"[" * 100_000])
async def test_what_is_no_json_is_refused(stage: Stage, content: bytes) -> None:
    answer = await stage.post("/v1/solve", content=content)
    assert (answer.status_code, answer.json()["detail"]) == (422, "the body is not JSON")


async def test_no_more_than_a_hundred_errors_are_listed(stage: Stage) -> None:
    answer = await stage.post("/v1/solve", json=problem(*range(150)))
    assert len(answer.json()["errors"]) == 100


async def test_what_the_markets_cannot_satisfy_names_the_constraint_and_its_nearest_value(stage: Stage) -> None:
    answer = await stage.post("/v1/solve", json=problem(trade=trade(quantity="100")))
    document = answer.json()
    assert answer.status_code == 422
    assert document["type"].endswith(":infeasible")
    assert (document["constraint"], document["nearest"]) == ("liquidity", "7")


async def test_the_body_may_hold_eight_mebibytes(stage: Stage) -> None:
    content = orjson.dumps(problem())
    answer = await stage.post("/v1/solve", content=chunked([content, b" " * (7 << 20)], []))
    assert answer.status_code == 200
    assert (await stage.post("/v1/solve", content=content + b" " * (8 << 20))).status_code == 413


async def test_a_search_without_any_time_still_has_an_answer(stage: Stage) -> None:
    answer = await stage.post("/v1/solve", json=problem(book(), POOL, STABLE, trade=trade(quantity="9"), timeout_ms=0))
    assert answer.json()["solution"]["receives"] == {"asset": "BTC", "amount": "9"}


async def test_a_deep_book_is_solved(stage: Stage) -> None:
    asks = [[str(64_010 + level), "0.01"] for level in range(50_000)]
    body = problem(book(asks=asks), trade=trade(quantity="400"))
    answer = await stage.post("/v1/solve", json=body)
    assert answer.json()["solution"]["slices"][0]["legs"][0]["limit_price"] == str(64_010 + 40_000 - 1)


async def test_its_requests_count_like_others(stage: Stage) -> None:
    answers = [await stage.post("/v1/solve", key="limited", json=problem()) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].headers["Retry-After"]


async def test_more_at_once_than_is_taken_on_is_refused_and_holds_nobody_up() -> None:
    clock = HeldClock()
    first_body = problem()
    solving = DirectSolving(clock, SolveSettings(running=1, waiting=1))
    async with on_stage(create_app, direct_solving=solving) as stage:
        posted = [asyncio.create_task(stage.post("/v1/solve", json=first_body)) for _ in range(2)]
        await asyncio.to_thread(clock.asked.acquire, timeout=30)
        refused = await stage.post("/v1/solve", json=first_body)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        assert refused.json()["type"].endswith(":overloaded")
        assert (await stage.client.get("/health/live")).status_code == 200
        clock.released.set()
        assert [(await each).status_code for each in posted] == [200, 200]
        assert (await stage.post("/v1/solve", json=first_body)).status_code == 200
    await solving.close()


async def test_who_waited_long_enough_is_refused_but_not_who_is_being_solved() -> None:
    clock = HeldClock()
    solving = DirectSolving(clock, SolveSettings(running=1, waiting_s=0.05))
    raw = orjson.dumps(problem())
    first = asyncio.create_task(solving.solve(raw))
    await asyncio.to_thread(clock.asked.acquire, timeout=30)
    with pytest.raises(Overloaded):
        await solving.solve(raw)
    assert not first.done()
    clock.released.set()
    assert (await first)["solution"]
    await solving.close()


async def test_closing_ends_what_is_being_solved() -> None:
    clock = HeldClock()
    solving = DirectSolving(clock, SolveSettings(running=1))
    first = asyncio.create_task(solving.solve(orjson.dumps(problem(timeout_ms=60_000))))
    await asyncio.to_thread(clock.asked.acquire, timeout=30)
    closing = asyncio.create_task(solving.close())
    clock.released.set()
    await closing
    assert (await first)["solution"]


async def test_waiting_problems_hold_no_more_than_so_many_bytes() -> None:
    clock = HeldClock()
    solving = DirectSolving(clock, SolveSettings(waiting_bytes=1 << 20))
    raw = orjson.dumps(problem())
    first = asyncio.create_task(solving.solve(raw))
    await asyncio.to_thread(clock.asked.acquire, timeout=30)
    with pytest.raises(Overloaded):
        await solving.solve(raw + b" " * (1 << 20))
    clock.released.set()
    await first
    await solving.close()
