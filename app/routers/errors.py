"""One table from error classes to HTTP answers, all of them `application/problem+json`."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from app import telemetry
from app.domain import errors
from app.domain.errors import FieldError, SolverError
from app.services.schemas.base import PATTERN_REMEDIES

PROBLEM_TYPE = "urn:solver:problem:"
MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1
_AWAY = "a part this service stands on does not answer; nothing was lost, try again as Retry-After says"
_UNEXPECTED = "this should not have happened; the log has the details under this trace_id"


@dataclass(frozen=True, slots=True)
class Answer:
    """How a class of errors is answered."""

    status: int
    title: str


ANSWERS: dict[type[SolverError], Answer] = {
    SolverError: Answer(500, "Internal error"),
    errors.Invalid: Answer(422, "Invalid request"),
    errors.Infeasible: Answer(422, "The market cannot satisfy this trade"),
    errors.KeyReused: Answer(422, "Idempotency key used with another body"),
    errors.Malformed: Answer(422, "No schema accepts this event"),
    errors.Conflict: Answer(409, "Conflict with the current state"),
    errors.NothingLeft: Answer(409, "Nothing is left to trade"),
    errors.Duplicate: Answer(409, "client_order_id already in use"),
    errors.ModelRefused: Answer(409, "Model refused"),
    errors.NotFound: Answer(404, "Not found"),
    errors.Unauthenticated: Answer(401, "A valid key is needed"),
    errors.Forbidden: Answer(403, "The key lacks a scope"),
    errors.TooLarge: Answer(413, "The body is too large"),
    errors.RateLimited: Answer(429, "Too many requests"),
    errors.Unavailable: Answer(503, "Temporarily unavailable"),
    errors.Contended: Answer(503, "Temporarily contended"),
    errors.Overloaded: Answer(503, "Too much at once"),
}

_HTTP_CODES = {404: "unknown-path", 405: "method-not-allowed", 415: "unsupported-media-type"}
_HTTP_DETAILS = {
    404: "there is nothing at {path}; GET /openapi.json lists every operation",
    405: "{path} does not take {method}; the Allow header says what it takes",
}


def answer_of(error: SolverError) -> Answer:
    """Find how an error is answered: its own class, or the nearest above."""
    return next(ANSWERS[kind] for kind in type(error).__mro__ if kind in ANSWERS)


def problem(
    scope: Scope,
    *,
    status: int,
    code: str,
    title: str,
    detail: str,
    headers: Mapping[str, str] | None = None,
    invalid: Sequence[FieldError] = (),
    **members: Any,
) -> Response:
    """Write a problem document about one request."""
    state = scope["state"]
    state["refusal"] = (code, detail)
    document: dict[str, Any] = {
        "type": PROBLEM_TYPE + code,
        "title": title,
        "status": status,
        "detail": detail,
        "instance": scope["path"],
        "trace_id": state["trace_id"],
    }
    if invalid:
        document["errors"] = [{"pointer": error.pointer, "message": error.message} for error in invalid]
    return Response(_written(document | members), status, headers, MEDIA_TYPE)


def _written(document: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(document, default=str)
    except TypeError:
        # Half a surrogate pair is no UTF-8.
        return json.dumps(document, default=str, ensure_ascii=False).encode(errors="replace")


def refusal(scope: Scope, error: SolverError) -> Response:
    """Answer with an error of ours."""
    answer = answer_of(error)
    if answer.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return failure(scope, error)
    members: dict[str, Any] = {}
    if isinstance(error, errors.Infeasible):
        members = {"constraint": error.constraint, "nearest": error.nearest}
    response = problem(
        scope,
        status=answer.status,
        code=error.code,
        title=answer.title,
        detail=_AWAY if isinstance(error, errors.Unavailable) else error.detail,
        headers=_headers(error),
        invalid=error.errors if isinstance(error, errors.Invalid) else (),
        **members,
    )
    scope["state"]["refusal"] = (error.code, error.detail)
    return response


def failure(scope: Scope, error: BaseException) -> Response:
    """Answer an error that nothing foresaw: the log has it, the client only its trace."""
    telemetry.unexpected_error(scope["path"], error)
    return problem(scope, status=500, code=SolverError.code, title=ANSWERS[SolverError].title, detail=_UNEXPECTED)


def _headers(error: SolverError) -> dict[str, str]:
    if isinstance(error, errors.RateLimited):
        wait_s = max(1, math.ceil(error.retry_after_s))
        return {
            "Retry-After": str(wait_s),
            "RateLimit": f'"program";r=0;t={wait_s}',
            "RateLimit-Policy": f'"program";q={error.limit};w={error.window_s}',
        }
    if isinstance(error, errors.Unavailable | errors.Overloaded):
        return {"Retry-After": str(RETRY_AFTER_S)}
    if isinstance(error, errors.Duplicate):
        return {"Location": error.location}
    if isinstance(error, errors.Unauthenticated):
        return {"WWW-Authenticate": 'Bearer realm="solver"'}
    if isinstance(error, errors.Forbidden):
        return {"WWW-Authenticate": 'Bearer realm="solver", error="insufficient_scope"'}
    return {}


def parameter_errors(error: RequestValidationError) -> tuple[FieldError, ...]:
    """Translate FastAPI's report on query, path and header parameters."""
    found = []
    for item in error.errors():
        pattern = item.get("ctx", {}).get("pattern")
        message = PATTERN_REMEDIES.get(pattern, item["msg"])
        if item["type"] == "missing":
            message = "is required; add it"
        message = message.removeprefix("Value error, ")
        found.append(FieldError("".join(f"/{part}" for part in item["loc"]), message))
    return tuple(found)


async def _on_solver_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, SolverError)
    return refusal(request.scope, error)


async def _on_parameters(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    invalid = errors.Invalid("the parameters of this request are not valid", parameter_errors(error))
    return refusal(request.scope, invalid)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    scope, status = request.scope, error.status_code
    phrase = HTTPStatus(status).phrase
    is_default = error.detail == phrase
    template = _HTTP_DETAILS.get(status) if is_default else None
    detail = template.format(path=scope["path"], method=scope["method"]) if template else error.detail
    code = _HTTP_CODES.get(status) or phrase.lower().replace(" ", "-")
    headers = _allowed(request) if status == HTTPStatus.METHOD_NOT_ALLOWED else error.headers
    return problem(scope, status=status, code=code, title=phrase, detail=detail, headers=headers)


def _allowed(request: Request) -> dict[str, str]:
    # The framework names only the methods of the first route that has the path.
    methods: set[str] = set()
    for context in iter_route_contexts(request.app.routes):
        if context.methods and context.path_regex.match(request.scope["path"]):
            methods |= context.methods
    return {"Allow": ", ".join(sorted(methods))}


def install(app: FastAPI) -> None:
    """Answer every error that leaves an operation with a problem document."""
    app.add_exception_handler(SolverError, _on_solver_error)
    app.add_exception_handler(RequestValidationError, _on_parameters)
    app.add_exception_handler(HTTPException, _on_http_error)
