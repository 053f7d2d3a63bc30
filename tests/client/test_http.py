"""The client against scripted answers: what is repeated, and what refusals become."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from app.client import Retrying, SolverApiError, SolverClient, SolverUnreachable, SyncSolverClient
from app.client.retrying import read_retry_after

TRADE = {"instrument": "BTC-USD", "side": "buy", "quantity": "1"}
ROUTE = {"id": "r1", "status": "ready", "revision": 1}
AT_ONCE = Retrying(attempts=3, backoff_initial_s=0.0)
Step = httpx.Response | Exception


def problem(status: int, code: str, headers: dict[str, str] | None = None, **members: Any) -> httpx.Response:
    """Make a refusal."""
    document = {"type": f"urn:solver:problem:{code}", "title": code, "status": status, "detail": "because", **members}
    return httpx.Response(status, json=document, headers=headers)


def scripted(*steps: Step) -> tuple[SolverClient, list[httpx.Request]]:
    """Make a client whose requests are answered in order, and the list they are kept in."""
    requests: list[httpx.Request] = []
    transport = httpx.MockTransport(_handler(iter(steps), requests))
    return SolverClient("http://solver.test", "sk_test", transport=transport, retrying=AT_ONCE), requests


def _handler(steps: Iterator[Step], requests: list[httpx.Request]) -> Callable[[httpx.Request], httpx.Response]:
    def handle(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        step = next(steps)
        if isinstance(step, Exception):
            raise step
        return step

    return handle


async def test_requests_carry_the_key() -> None:
    client, requests = scripted(httpx.Response(200, json={"items": [], "next": None}))
    async with client:
        await client.routes(status="ready", limit=5)
    assert requests[0].headers["Authorization"] == "Bearer sk_test"
    assert dict(requests[0].url.params) == {"status": "ready", "limit": "5"}


async def test_a_route_is_asked_for_again_under_the_same_key_after_a_broken_connection() -> None:
    client, requests = scripted(httpx.ReadError("cut"), httpx.Response(201, json=ROUTE))
    async with client:
        assert await client.route(TRADE, wait_s=5) == ROUTE
    first, second = requests
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
    assert first.content == second.content
    assert first.headers["Prefer"] == "wait=5"


async def test_a_given_idempotency_key_is_used() -> None:
    client, requests = scripted(httpx.Response(202, json=ROUTE))
    async with client:
        await client.route(TRADE, idempotency_key="mine")
    assert requests[0].headers["Idempotency-Key"] == "mine"
    assert "Prefer" not in requests[0].headers


async def test_a_first_request_still_in_progress_is_waited_for() -> None:
    client, requests = scripted(problem(409, "conflict"), httpx.Response(202, json=ROUTE))
    async with client:
        await client.route(TRADE)
    assert len(requests) == 2


async def test_a_duplicate_order_id_is_refused_at_once() -> None:
    client, requests = scripted(problem(409, "duplicate-client-order-id"))
    async with client:
        with pytest.raises(SolverApiError, match="because") as refused:
            await client.route(TRADE)
    assert (refused.value.code, refused.value.status, len(requests)) == ("duplicate-client-order-id", 409, 1)


async def test_waiting_goes_on_until_the_route_is_settled() -> None:
    pending = {**ROUTE, "status": "data_ready"}
    client, requests = scripted(httpx.Response(202, json=pending), httpx.Response(200, json=ROUTE))
    async with client:
        assert (await client.route(TRADE, wait_s=40))["status"] == "ready"
    assert requests[0].headers["Prefer"] == "wait=30"
    assert requests[1].url.path == "/v1/routes/r1"
    assert 0 < float(requests[1].url.params["wait"]) <= 30


async def test_a_problem_is_posed_with_its_markets() -> None:
    answer: dict[str, Any] = {"solution": {}, "timings_ms": {}}
    client, requests = scripted(*(httpx.Response(200, json=answer) for _ in range(2)))
    market: dict[str, Any] = {"as_of": "2026-01-05T12:00:00Z", "markets": []}
    async with client:
        assert await client.solve(market, TRADE, timeout_ms=20_000) == answer
        await client.solve(market, TRADE)
    first, second = (json.loads(request.content) for request in requests)
    assert first == {"market": market, "trade": TRADE, "timeout_ms": 20_000}
    assert second == {"market": market, "trade": TRADE}
    assert requests[0].extensions["timeout"]["read"] - requests[1].extensions["timeout"]["read"] == 20


async def test_a_route_is_explained_in_words_or_as_a_picture() -> None:
    svg = httpx.Response(200, text="<svg/>", headers={"Content-Type": "image/svg+xml"})
    client, requests = scripted(httpx.Response(200, json={"reasons": []}), svg)
    async with client:
        assert await client.explanation("r1") == {"reasons": []}
        assert await client.explanation_svg("r1") == "<svg/>"
    assert [request.url.path for request in requests] == ["/v1/routes/r1/explanation"] * 2
    assert [request.headers["Accept"] for request in requests] == ["application/json", "image/svg+xml"]


@pytest.mark.parametrize("status", [429, 503])
async def test_a_refusal_for_now_is_repeated_after_its_retry_after(status: int) -> None:
    client, requests = scripted(
        problem(status, "later", {"Retry-After": "0"}), httpx.Response(202, json={"id": "j1", "status": "queued"})
    )
    async with client:
        await client.submit_job("archive")
    assert len(requests) == 2


async def test_a_retry_after_beyond_patience_is_told_at_once() -> None:
    client, requests = scripted(problem(429, "rate-limited", {"Retry-After": "3600"}))
    async with client:
        with pytest.raises(SolverApiError) as refused:
            await client.quote(TRADE)
    assert refused.value.retry_after_s == 3600
    assert len(requests) == 1


async def test_a_job_is_not_asked_for_twice_when_its_answer_is_lost() -> None:
    client, requests = scripted(httpx.ReadError("cut"))
    async with client:
        with pytest.raises(SolverUnreachable):
            await client.submit_job("archive")
    assert len(requests) == 1


async def test_a_job_is_asked_for_again_when_it_was_never_sent() -> None:
    client, requests = scripted(httpx.ConnectError("refused"), httpx.Response(202, json={"id": "j1"}))
    async with client:
        await client.submit_job("archive", {"older_than_h": 1})
    assert json.loads(requests[1].content) == {"kind": "archive", "params": {"older_than_h": 1}}


async def test_a_service_that_never_answers_is_unreachable() -> None:
    client, requests = scripted(*[httpx.ConnectError("refused")] * 3)
    async with client:
        with pytest.raises(SolverUnreachable, match=r"http://solver\.test does not answer \(refused\)"):
            await client.venues()
    assert len(requests) == 3


async def test_an_invalid_request_names_its_fields_and_is_not_repeated() -> None:
    errors = [{"pointer": "/quantity", "message": "must be above zero"}]
    client, requests = scripted(problem(422, "invalid", errors=errors))
    async with client:
        with pytest.raises(SolverApiError) as refused:
            await client.quote(TRADE)
    assert refused.value.fields == [("/quantity", "must be above zero")]
    assert len(requests) == 1


async def test_an_answer_that_is_no_problem_document_becomes_one() -> None:
    client, _ = scripted(httpx.Response(418, text="a teapot"))
    async with client:
        with pytest.raises(SolverApiError) as refused:
            await client.venues()
    assert (refused.value.status, refused.value.detail) == (418, "a teapot")


async def test_an_unready_service_still_tells_its_health() -> None:
    client, requests = scripted(httpx.Response(503, json={"status": "unready", "parts": {}}))
    async with client:
        assert (await client.health())["status"] == "unready"
    assert len(requests) == 1


async def test_many_prices_go_in_batches() -> None:
    answers = [{"received": 10_000, "inserted": 9_000, "duplicates": 1_000}, {"received": 5, "inserted": 5}]
    client, requests = scripted(*(httpx.Response(200, json=answer) for answer in answers))
    async with client:
        totals = await client.put_prices({"instrument": "BTC-USD", "price": "1"} for _ in range(10_005))
    assert totals == {"received": 10_005, "inserted": 9_005, "duplicates": 1_000}
    assert len(json.loads(requests[1].content)["prices"]) == 5


async def test_candles_are_written_in_batches() -> None:
    answers = [{"received": n, "inserted": n, "duplicates": 0} for n in (10_000, 2)]
    client, requests = scripted(*(httpx.Response(200, json=answer) for answer in answers))
    async with client:
        row = ["2026-01-05T12:00:00Z", "1", "2", "0.5", "1.5", "10"]
        totals = await client.put_candles("BTC-USD", 60, [row] * 10_002, source="kraken")
    assert totals == {"received": 10_002, "inserted": 10_002, "duplicates": 0}
    assert json.loads(requests[1].content) == {
        "instrument": "BTC-USD",
        "interval_s": 60,
        "source": "kraken",
        "candles": [row] * 2,
    }


async def test_names_and_times_find_their_way_into_the_url() -> None:
    page: dict[str, Any] = {"items": [], "next": None}
    client, requests = scripted(*(httpx.Response(200, json=page) for _ in range(2)), httpx.Response(200, json={}))
    async with client:
        await client.prices("BTC-USD", begin=datetime(2026, 1, 5, tzinfo=UTC), source=None)
        await client.bars("BTC-USD", interval_s=1)
        await client.put_market("uni:a/b", {"kind": "rfq"})
    assert dict(requests[0].url.params) == {"from": "2026-01-05T00:00:00+00:00"}
    assert dict(requests[1].url.params) == {"interval": "1"}
    assert requests[2].url.raw_path == b"/v1/markets/uni:a%2Fb"


async def test_what_was_measured_is_asked_for_by_name() -> None:
    client, requests = scripted(*(httpx.Response(200, json={}) for _ in range(5)))
    async with client:
        await client.metrics("BTC-USD", ["ts.rsi", "ta.rsi_14"], interval_s=60, points=300)
        await client.features("BTC-USD", feature_set="momentum@2", as_of=datetime(2026, 1, 5, tzinfo=UTC))
        await client.features("BTC-USD")
        await client.metric_catalog()
        await client.get_feature_set("momentum", 2)
    assert dict(requests[0].url.params) == {"names": "ts.rsi,ta.rsi_14", "interval": "60", "points": "300"}
    assert dict(requests[1].url.params) == {"set": "momentum@2", "as_of": "2026-01-05T00:00:00+00:00"}
    assert str(requests[2].url) == "http://solver.test/v1/features/BTC-USD"
    assert requests[3].headers["Accept"] == "application/json"
    assert str(requests[4].url) == "http://solver.test/v1/feature-sets/momentum?version=2"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, None), ("2", 2.0), ("-1", 0.0), ("soon", None), ("Mon, 05 Jan 2026 12:00:10 GMT", 10.0)],
)
def test_retry_after_is_read_as_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert read_retry_after(header, now=datetime(2026, 1, 5, 12, tzinfo=UTC)) == seconds


def test_pauses_double_up_to_a_limit() -> None:
    retrying = Retrying(attempts=100, backoff_initial_s=1.0, backoff_max_s=5.0)
    for attempt, longest in ((1, 1.0), (2, 2.0), (3, 4.0), (4, 5.0), (90, 5.0)):
        pause_s = retrying.pause_s(attempt, None)
        assert pause_s is not None
        assert longest / 2 <= pause_s <= longest
    assert retrying.pause_s(100, None) is None


def test_the_sync_face_blocks_and_raises_alike() -> None:
    requests: list[httpx.Request] = []
    steps = iter([httpx.Response(201, json=ROUTE), problem(404, "not-found"), *(httpx.Response(200, json={}),) * 3])
    transport = httpx.MockTransport(_handler(steps, requests))
    with SyncSolverClient("http://solver.test", "sk_test", transport=transport, retrying=AT_ONCE) as client:
        assert client.route(TRADE, wait_s=1) == ROUTE
        with pytest.raises(SolverApiError, match="because"):
            client.get_route("r2")
        assert client.solve({"markets": []}, TRADE) == {}
        assert client.explanation("r1") == {}
        assert client.explanation_svg("r1") == "{}"
    client.close()
    paths = ["/v1/routes", "/v1/routes/r2", "/v1/solve", *["/v1/routes/r1/explanation"] * 2]
    assert [request.url.path for request in requests] == paths
