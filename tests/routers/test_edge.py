import re
from collections.abc import MutableMapping
from typing import Any

import pytest

from app import telemetry
from app.domain.errors import Unavailable
from app.services.health import Condition, Part
from tests.routers.stage import EXPIRED, Stage

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"


@pytest.mark.parametrize("header", [None, "Bearer", "Bearer ", "Basic trade", "trade", "Bearer nobody"])
async def test_no_key_no_answer(stage: Stage, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    answer = await stage.client.post("/v1/orders", json={"quantity": "1"}, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_an_expired_key(stage: Stage) -> None:
    assert (await stage.post("/v1/orders", key=EXPIRED, json={"quantity": "1"})).status_code == 401


async def test_a_missing_scope_is_said_before_the_body_is_read(stage: Stage) -> None:
    assert (await stage.post("/v1/orders", key="market", content=b"{")).status_code == 403
    assert (await stage.post("/v1/orders", key="admin", json={"quantity": "1"})).status_code == 200


async def test_the_scheme_is_not_case_sensitive(stage: Stage) -> None:
    answer = await stage.client.post("/v1/orders", json={"quantity": "1"}, headers={"Authorization": "bearer trade"})
    assert answer.status_code == 200


async def test_nobody_is_let_in_while_keys_cannot_be_checked(stage: Stage) -> None:
    stage.access.failure = Unavailable("away")
    answer = await stage.post("/v1/orders", json={"quantity": "1"})
    assert answer.status_code == 503
    assert answer.headers["retry-after"]


async def test_an_allowance_is_shown_and_runs_out(stage: Stage) -> None:
    answers = [await stage.post("/v1/orders", key="limited", json={"quantity": "1"}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[0].headers["ratelimit"] == '"program";r=1;t=31'
    assert answers[2].headers["retry-after"] == "3"
    assert answers[2].headers["ratelimit"] == '"program";r=0;t=3'
    assert answers[2].headers["ratelimit-policy"] == '"program";q=2;w=60'


async def test_an_unlimited_program_is_not_counted(stage: Stage) -> None:
    answer = await stage.post("/v1/orders", json={"quantity": "1"})
    assert "ratelimit" not in answer.headers
    assert stage.access.allowance == 2


async def test_a_trace_is_adopted(stage: Stage) -> None:
    headers = {"Authorization": "Bearer trade", "traceparent": f"00-{TRACE}-{SPAN}-00"}
    answer = await stage.client.get("/v1/orders/1", headers=headers)
    assert answer.headers["x-trace-id"] == TRACE
    match = re.fullmatch(f"00-{TRACE}-([0-9a-f]{{16}})-00", answer.json()["traceparent"])
    assert match
    assert match[1] != SPAN


@pytest.mark.parametrize("header", ["", "00-xyz", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01"])
async def test_a_trace_is_made_where_none_is(stage: Stage, header: str) -> None:
    headers = {"Authorization": "Bearer trade", "traceparent": header}
    answers = [await stage.client.get("/v1/orders/1", headers=headers) for _ in range(2)]
    traces = {answer.headers["x-trace-id"] for answer in answers}
    assert len(traces) == 2
    assert all(re.fullmatch("[0-9a-f]{32}", trace) and trace != TRACE for trace in traces)


async def test_requests_are_counted_by_template(stage: Stage) -> None:
    labels = {"method": "GET", "route": "/v1/orders/{number}", "status": "200"}
    before = telemetry.REGISTRY.get_sample_value("solver_request_seconds_count", labels) or 0
    for number in range(3):
        await stage.client.get(f"/v1/orders/{number}", headers={"Authorization": "Bearer trade"})
    assert telemetry.REGISTRY.get_sample_value("solver_request_seconds_count", labels) == before + 3


@pytest.mark.parametrize("prefix", ["", "/v1"])
async def test_probes_need_no_key(stage: Stage, prefix: str) -> None:
    for path in ("/health/live", "/health/ready", "/metrics", "/docs", "/openapi.json", "/asyncapi.json"):
        assert (await stage.client.get(prefix + path)).status_code == 200, path
    metrics = await stage.client.get(f"{prefix}/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    assert metrics.headers["content-type"].count("charset") == 1


async def test_degraded_is_ready_and_away_is_not(stage: Stage) -> None:
    stage.health.parts = {"postgres": Part(Condition.OK), "redis": Part(Condition.DEGRADED, "slower")}
    answer = await stage.client.get("/health/ready")
    assert answer.status_code == 200
    assert answer.json()["parts"]["redis"] == {"condition": "degraded", "detail": "slower"}
    stage.health.parts = {"postgres": Part(Condition.AWAY, "no connection")}
    assert (await stage.client.get("/health/ready")).status_code == 503
    assert (await stage.client.get("/health/live")).status_code == 200


async def test_draining_refuses_work_and_answers_probes(stage: Stage) -> None:
    stage.app.state.draining.set()
    answer = await stage.post("/v1/orders", json={"quantity": "1"})
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert answer.headers["content-type"] == "application/problem+json"
    assert (await stage.client.get("/v1/health/live")).status_code == 200
    ready = await stage.client.get("/v1/health/ready")
    assert (ready.status_code, ready.json()["status"]) == (503, "draining")


async def test_draining_refuses_sockets(stage: Stage) -> None:
    stage.app.state.draining.set()
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    await stage.app({"type": "websocket", "path": "/v1/stream", "headers": [], "state": {}}, receive, send)
    assert [(message["type"], message["code"]) for message in sent] == [("websocket.close", 1012)]
