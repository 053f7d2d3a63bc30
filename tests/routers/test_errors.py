import inspect

import orjson
import pytest

from app.domain import errors
from app.domain.errors import FieldError, SolverError
from app.routers.errors import ANSWERS, PROBLEM_TYPE
from tests.routers.stage import Stage

TREE = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, SolverError)]
CASES = [
    (errors.Invalid("bad", (FieldError("/a", "fix a"),)), 422, {"errors": [{"pointer": "/a", "message": "fix a"}]}, {}),
    (
        errors.Infeasible("too deep", constraint="max_slippage_bps", nearest="31"),
        422,
        {"constraint": "max_slippage_bps", "nearest": "31"},
        {},
    ),
    (errors.KeyReused("other body"), 422, {}, {}),
    (errors.Conflict("no"), 409, {}, {}),
    (errors.Duplicate("taken", location="/v1/routes/7"), 409, {}, {"location": "/v1/routes/7"}),
    (errors.NotFound("none"), 404, {}, {}),
    (errors.TooLarge("big"), 413, {}, {}),
    (errors.Unauthenticated("who"), 401, {}, {"www-authenticate": 'Bearer realm="solver"'}),
    (errors.Forbidden("no"), 403, {}, {}),
    (
        errors.RateLimited("slow", retry_after_s=2.2, limit=60, window_s=60),
        429,
        {},
        {"retry-after": "3", "ratelimit": '"program";r=0;t=3', "ratelimit-policy": '"program";q=60;w=60'},
    ),
    (errors.Unavailable("10.0.0.7 refused"), 503, {}, {"retry-after": "1"}),
]


@pytest.mark.parametrize("kind", TREE)
def test_every_class_of_the_tree_has_its_answer(kind: type[SolverError]) -> None:
    assert kind in ANSWERS


def test_codes_are_distinct() -> None:
    codes = [kind.code for kind in TREE]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize(("error", "status", "members", "headers"), CASES)
async def test_an_error_becomes_a_problem(
    stage: Stage, error: SolverError, status: int, members: dict[str, object], headers: dict[str, str]
) -> None:
    stage.app.state.failure = error
    answer = await stage.client.get("/v1/orders/1", headers={"Authorization": "Bearer trade"})
    document = answer.json()
    assert answer.status_code == document["status"] == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert document["type"] == PROBLEM_TYPE + error.code
    assert document["instance"] == "/v1/orders/1"
    assert document["trace_id"] == answer.headers["x-trace-id"]
    assert {"title", "detail"} <= document.keys()
    assert members.items() <= document.items()
    assert headers.items() <= dict(answer.headers).items()


@pytest.mark.parametrize("error", [errors.Unavailable("secret host"), SolverError("secret"), KeyError("secret")])
async def test_internals_stay_inside(stage: Stage, error: Exception) -> None:
    stage.app.state.failure = error
    answer = await stage.client.get("/v1/orders/1", headers={"Authorization": "Bearer trade"})
    assert answer.status_code in (500, 503)
    assert "secret" not in answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_an_unknown_path(stage: Stage) -> None:
    answer = await stage.client.get("/v1/nowhere")
    assert answer.status_code == 404
    assert answer.json()["type"] == PROBLEM_TYPE + "unknown-path"
    assert answer.json()["instance"] == "/v1/nowhere"


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/orders", "GET, POST"),
        ("/v1/orders:batch", "POST"),
        ("/v1/orders/1", "GET"),
        ("/v1/health/live", "GET"),
        ("/openapi.json", "GET, HEAD"),
    ],
)
async def test_a_wrong_method(stage: Stage, path: str, allowed: str) -> None:
    answer = await stage.client.patch(path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == allowed
    assert answer.json()["type"] == PROBLEM_TYPE + "method-not-allowed"


async def test_parameters_are_pointed_at(stage: Stage) -> None:
    answer = await stage.client.get("/v1/orders/seven?limit=0", headers={"Authorization": "Bearer trade"})
    assert answer.status_code == 422
    assert {error["pointer"] for error in answer.json()["errors"]} == {"/path/number", "/query/limit"}


async def test_a_problem_survives_what_json_has_not(stage: Stage) -> None:
    stage.app.state.failure = errors.NotFound("lone surrogate \udc80")
    answer = await stage.client.get("/v1/orders/1", headers={"Authorization": "Bearer trade"})
    assert answer.status_code == 404
    assert orjson.loads(answer.content)["status"] == 404
