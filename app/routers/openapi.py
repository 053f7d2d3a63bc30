"""The OpenAPI document: what FastAPI finds, completed with what holds for every operation."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, TypeAdapter

from app.routers.errors import MEDIA_TYPE, PROBLEM_TYPE
from app.routers.middleware import PROBE_PATHS

_REFERENCE = "#/components/schemas/{model}"
_HOISTED = "x-schemas"
_METHODS = ("get", "put", "post", "delete", "patch")

TITLE = "solver-api"
DESCRIPTION = f"""
Ask for the best way to execute a trade, follow it, and report what you got.

**Start.** Every request carries `Authorization: Bearer <key>`. `POST /v1/quotes` prices a trade at once and stores
nothing; `POST /v1/routes` stores it, and answers 202 at once or, with `Prefer: wait=5`, 201 with the solution. Send an
`Idempotency-Key` and repeat freely: the same key gives the same route.

**Liquidity comes from you.** Write order books and pools with `PUT /v1/markets/{{market_id}}` or in batches. Once a
write is answered with 2xx, every later request sees it.

**Numbers.** Amounts, prices and quantities are decimal strings such as `"2.50"`; basis points and seconds are numbers.
Times are RFC 3339 in UTC, ids are UUIDv7. A field this document does not name is refused, as are NaN and Infinity.

**Errors** are `application/problem+json` (RFC 9457). `type` is stable (`{PROBLEM_TYPE}…`), `errors[]` points at each
field and says what to do, `trace_id` finds the request in the log. 429 and 503 say when to come back in `Retry-After`.

**Lists** answer `{{"items": […], "next": cursor | null}}`; pass `next` back as `cursor`.

Live updates come over the WebSocket `/v1/stream`; `/asyncapi.json` describes it, and the topics.
"""
TAGS = [
    {"name": "routes", "description": "Trades to execute, and what became of them"},
    {"name": "quotes", "description": "Prices at once, with nothing stored"},
    {"name": "solve", "description": "Trades with markets of their own, with nothing stored"},
    {"name": "markets", "description": "Liquidity in, listings out"},
    {"name": "prices", "description": "Ticks in, history out"},
    {"name": "features", "description": "What the models read, now and as known at any time"},
    {"name": "metrics", "description": "Indicators of instruments over time"},
    {"name": "jobs", "description": "Long work"},
    {"name": "health", "description": "Probes and metrics; no key needed"},
]
_PROBLEM: dict[str, Any] = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457",
    "required": ["type", "title", "status", "detail", "instance", "trace_id"],
    "properties": {
        "type": {"type": "string", "description": f"stable: {PROBLEM_TYPE}infeasible, …"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what to do about it"},
        "instance": {"type": "string", "description": "the path of the request"},
        "trace_id": {"type": "string", "description": "finds the request in the log"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "message"],
                "properties": {
                    "pointer": {"type": "string", "description": "JSON pointer into the body"},
                    "message": {"type": "string"},
                },
            },
        },
        "constraint": {"type": "string", "description": "of an infeasible trade: what cannot be met"},
        "nearest": {"type": ["string", "null"], "description": "its nearest feasible value"},
    },
    "examples": [
        {
            "type": PROBLEM_TYPE + "invalid",
            "title": "Invalid request",
            "status": 422,
            "detail": "the body is not valid",
            "instance": "/v1/quotes",
            "trace_id": "0af7651916cd43dd8448eb211c80319c",
            "errors": [{"pointer": "/quantity", "message": 'must be a decimal string above zero such as "2.50"'}],
        }
    ],
}
_RETRY_AFTER = {"Retry-After": {"description": "seconds to wait", "schema": {"type": "integer"}}}
_RATE_LIMIT = {
    "RateLimit": {"description": "r: requests left, t: seconds until all are back", "schema": {"type": "string"}},
    "RateLimit-Policy": {"description": "q: requests per w seconds", "schema": {"type": "string"}},
}
_TRACE = {"X-Trace-Id": {"description": "finds the request in the log", "schema": {"type": "string"}}}


def documented_body(
    message: type[BaseModel] | TypeAdapter[Any],
    description: str | None = None,
    *,
    lines: type[BaseModel] | None = None,
) -> dict[str, Any]:
    """Describe a body that an operation reads itself: pass it as `openapi_extra`. `lines` may also come one a line."""
    schema, hoisted = _schema_of(message)
    content: dict[str, Any] = {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
    if lines is not None:
        line, more = _schema_of(lines)
        hoisted |= more
        content["requestBody"]["content"]["application/x-ndjson"] = {"schema": line}
    if description:
        content["requestBody"]["description"] = description
    return {**content, _HOISTED: hoisted}


def documented_answer(description: str, example: Any = None, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    """Describe an answer: use it as a value of `responses`."""
    content: dict[str, Any] = {"schema": schema or {"type": "object"}}
    if example is not None:
        content["example"] = example
    return {"description": description, "content": {"application/json": content}}


def _schema_of(message: type[BaseModel] | TypeAdapter[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    is_adapter = isinstance(message, TypeAdapter)
    adapter: TypeAdapter[Any] = message if isinstance(message, TypeAdapter) else TypeAdapter(message)
    schema = adapter.json_schema(ref_template=_REFERENCE)
    hoisted = schema.pop("$defs", {})
    if is_adapter or "$ref" in schema:
        return schema, hoisted
    name = getattr(message, "__name__", "")
    return {"$ref": _REFERENCE.format(model=name)}, {**hoisted, name: schema}


def install(app: FastAPI) -> None:
    """Let the application serve the completed document, built at the first request for it."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(
                get_openapi(
                    title=app.title,
                    version=app.version,
                    description=app.description,
                    routes=app.routes,
                    tags=app.openapi_tags,
                    servers=[{"url": "/", "description": "this server"}],
                )
            )
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def is_public(path: str) -> bool:
    """Say whether a path takes no key."""
    return path in PROBE_PATHS


def _complete(document: dict[str, Any]) -> dict[str, Any]:
    components = document.setdefault("components", {})
    schemas: dict[str, Any] = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    components["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "a key from `solver keys create`"}
    }
    for path, operation in _operations(document):
        schemas |= operation.pop(_HOISTED, {})
        responses = operation.setdefault("responses", {})
        if not is_public(path):
            operation["security"] = [{"key": []}]
            for status, answer in _refusals(path, operation).items():
                if "HTTPValidationError" in str(responses.get(status)):
                    del responses[status]
                responses.setdefault(status, answer)
        for answer in responses.values():
            answer["headers"] = {**_TRACE, **answer.get("headers", {})}
    schemas["Problem"] = _PROBLEM
    components["schemas"] = dict(sorted(schemas.items()))
    return document


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                yield path, item[method]


def _refusals(path: str, operation: dict[str, Any]) -> dict[str, Any]:
    found = {
        "401": documented_problem("No valid key"),
        "403": documented_problem("The key lacks the scope"),
        "429": documented_problem("The program's allowance is spent", {**_RETRY_AFTER, **_RATE_LIMIT}),
        "500": documented_problem("Unexpected; the log has the details"),
        "503": documented_problem("Temporarily unavailable; nothing was lost", _RETRY_AFTER),
    }
    if "{" in path:
        found["404"] = documented_problem("Nothing of that name that this program may see")
    if "requestBody" in operation:
        found["413"] = documented_problem("The body is too large")
        found["415"] = documented_problem("The body is not JSON by its Content-Type")
    if "requestBody" in operation or operation.get("parameters"):
        found["422"] = documented_problem("A request that cannot be valid; `errors` points at each field")
    return found


def documented_problem(description: str, headers: dict[str, Any] | None = None) -> dict[str, Any]:
    """Describe a refusal: use it as a value of `responses`. Those of every operation are added anyway."""
    answer: dict[str, Any] = {
        "description": description,
        "content": {MEDIA_TYPE: {"schema": {"$ref": _REFERENCE.format(model="Problem")}}},
    }
    return answer | ({"headers": headers} if headers else {})
