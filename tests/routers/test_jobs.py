from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from app.infra.db import Database
from app.services.schemas.jobs import JobIn
from tests.data_edge import KEYS, data_edge


@pytest_asyncio.fixture
async def client(clean_database: Database) -> AsyncIterator[httpx.AsyncClient]:
    async with data_edge(clean_database) as client:
        yield client


def signed(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def submit(client: httpx.AsyncClient, key: str = "desk", **params: Any) -> dict[str, Any]:
    answer = await client.post("/v1/jobs", json={"kind": "archive", "params": params}, headers=signed(key))
    assert answer.status_code == 202, answer.text
    document: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{document['id']}"
    return document


async def test_job_is_queued_and_read(client: httpx.AsyncClient) -> None:
    job = await submit(client, older_than_h=5)
    assert job["status"] == "queued"
    assert job["progress"] == 0
    assert job["params"] == {"older_than_h": 5.0}
    assert (await client.get(f"/v1/jobs/{job['id']}")).json() == job


async def test_unknown_kind_is_told_those_there_are(client: httpx.AsyncClient) -> None:
    refused = await client.post("/v1/jobs", json={"kind": "dance"})
    assert refused.status_code == 422
    assert refused.json()["errors"] == [{"pointer": "/kind", "message": "must be one of: archive, backfill"}]


@pytest.mark.parametrize(
    ("params", "pointer"),
    [({"older_than_h": -1}, "/params/older_than_h"), ({"colour": 1}, "/params/colour"), ([], "/params")],
)
async def test_invalid_parameters_are_named(client: httpx.AsyncClient, params: Any, pointer: str) -> None:
    refused = await client.post("/v1/jobs", json={"kind": "archive", "params": params})
    assert refused.status_code == 422
    assert [error["pointer"] for error in refused.json()["errors"]] == [pointer]


async def test_a_backfill_is_queued_as_it_was_asked_for(client: httpx.AsyncClient) -> None:
    params = {"instruments": ["BTC-USD"], "from": "2026-01-05T00:00:00Z", "what": ["features"], "interval_s": 1}
    answer = await client.post("/v1/jobs", json={"kind": "backfill", "params": params})
    assert answer.status_code == 202
    assert answer.json()["params"] == {**params, "horizons_s": [60, 300, 900]}


@pytest.mark.parametrize(
    ("params", "pointer"),
    [
        ({"instruments": []}, "/params/instruments"),
        ({"from": "yesterday"}, "/params/from"),
        ({"interval_s": 7}, "/params"),
        ({"what": ["labels"]}, "/params/what/0"),
        ({"instruments": ["BTC"]}, "/params/instruments/0"),
    ],
)
async def test_an_impossible_backfill_is_refused(
    client: httpx.AsyncClient, params: dict[str, Any], pointer: str
) -> None:
    refused = await client.post("/v1/jobs", json={"kind": "backfill", "params": params})
    assert refused.status_code == 422
    assert [error["pointer"] for error in refused.json()["errors"]] == [pointer]
    assert "Value error" not in refused.json()["errors"][0]["message"]


async def test_queued_job_is_cancelled_at_once_and_for_good(client: httpx.AsyncClient) -> None:
    job = await submit(client)
    cancelled = await client.delete(f"/v1/jobs/{job['id']}")
    assert cancelled.status_code == 200
    assert cancelled.json()["status"] == "cancelled"
    assert cancelled.json()["finished_at"] is not None
    assert (await client.delete(f"/v1/jobs/{job['id']}")).json() == cancelled.json()


async def test_jobs_belong_to_their_program(client: httpx.AsyncClient) -> None:
    job = await submit(client)
    path = f"/v1/jobs/{job['id']}"
    for method in ("GET", "DELETE"):
        assert (await client.request(method, path, headers=signed("other"))).status_code == 404
        assert (await client.request(method, f"/v1/jobs/{uuid4()}")).status_code == 404
        assert (await client.request(method, "/v1/jobs/7")).status_code == 422
    assert (await client.get("/v1/jobs", headers=signed("other"))).json()["items"] == []
    assert (await client.get("/v1/jobs", headers=signed("admin"))).json()["items"] == [job]
    assert (await client.get(path, headers=signed("admin"))).json() == job
    assert (await client.delete(path, headers=signed("admin"))).json()["status"] == "cancelled"


async def test_jobs_are_paged_newest_first_and_filtered(client: httpx.AsyncClient) -> None:
    made = [(await submit(client))["id"] for _ in range(5)]
    await client.delete(f"/v1/jobs/{made[2]}")
    first = (await client.get("/v1/jobs", params={"limit": 3})).json()
    rest = (await client.get("/v1/jobs", params={"limit": 3, "cursor": first["next"]})).json()
    assert [job["id"] for job in first["items"] + rest["items"]] == made[::-1]
    assert rest["next"] is None
    cancelled = (await client.get("/v1/jobs", params={"status": "cancelled", "kind": "archive"})).json()["items"]
    assert [job["id"] for job in cancelled] == [made[2]]
    for params in ({"status": "lost"}, {"cursor": "x"}, {"kind": "\x00"}):
        assert (await client.get("/v1/jobs", params=params)).status_code == 422


async def test_jobs_take_the_train_scope(client: httpx.AsyncClient) -> None:
    assert "train" not in KEYS["reader"].scopes
    for method, path in (("POST", "/v1/jobs"), ("GET", "/v1/jobs"), ("DELETE", f"/v1/jobs/{uuid4()}")):
        assert (await client.request(method, path, headers=signed("reader"))).status_code == 403
        assert (await client.request(method, path, headers=signed("nobody"))).status_code == 401


async def test_documented_example_is_accepted(client: httpx.AsyncClient) -> None:
    [example] = JobIn.model_json_schema()["examples"]
    assert (await client.post("/v1/jobs", json=example)).status_code == 202
