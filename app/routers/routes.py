"""Routes: requested, read, waited for, cancelled, filled."""

import re
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request, Response

from app.domain.errors import FieldError, Invalid
from app.domain.route import SETTLED, RouteStatus
from app.routers.answers import Json
from app.routers.deps import Trader, body, require, services
from app.routers.lean import LeanRoute, documented_header
from app.routers.negotiating import representation
from app.routers.openapi import documented_body, documented_problem
from app.services.access import Scope
from app.services.routing import RouteFilter, RouteRequest
from app.services.routing.reading import RouteView
from app.services.schemas.base import LABEL_PATTERN
from app.services.schemas.fill import FillIn
from app.services.schemas.trade import TradeIn

router = APIRouter(prefix="/routes", tags=["routes"])

MAX_WAIT_S = 30.0
SVG = "image/svg+xml"
_INERT = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
}
_trader = require(Scope.TRADE)
_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d+(?:\.\d+)?)\"?", re.IGNORECASE)
_KEY = re.compile(r"^[\x21-\x7e]{1,255}$")


async def request_route(request: Request) -> Response:
    """Store the trade and answer 202; with `Prefer: wait=N` answer 201 once the route is ready or ended."""
    trader = await _trader(request)
    headers = request.headers
    idempotency_key = headers.get("idempotency-key")
    if idempotency_key is not None and not _KEY.match(idempotency_key):
        raise Invalid(
            "the Idempotency-Key is not valid",
            (FieldError("/headers/Idempotency-Key", "must be 1 to 255 visible ASCII characters"),),
        )
    wait_s = _wait_of(headers.get("prefer"))
    trade, parsed = await body(request, TradeIn)
    accepted = await services(request).acceptor.accept(
        RouteRequest(
            program=trader.program,
            trade=trade,
            idempotency_key=idempotency_key,
            body=parsed,
            traceparent=request.scope["state"].get("traceparent"),
        )
    )
    answered = {"Location": f"/v1/routes/{accepted.route_id}"}
    if wait_s is None:
        return Response(accepted.response, 202, answered, "application/json")
    answered["Preference-Applied"] = f"wait={wait_s:g}"
    settled = await services(request).streaming.wait_settled(accepted.route_id, timeout_s=wait_s)
    if settled is None:
        return Response(accepted.response, 202, answered, "application/json")
    return Json(settled.document, 201, {**answered, "ETag": settled.etag})


router.add_api_route(
    "",
    request_route,
    methods=["POST"],
    status_code=202,
    summary="Request a route",
    openapi_extra={
        **documented_body(TradeIn),
        "parameters": [
            documented_header("Idempotency-Key", "any 1 to 255 visible characters; kept 24 h"),
            documented_header("Prefer", "`wait=N`: answer once settled, within N ≤ 30 s"),
        ],
    },
    responses={201: {"description": "settled within the wait"}},
    route_class_override=LeanRoute,
)


@router.get("", summary="List routes, newest first")
async def list_routes(
    request: Request,
    trader: Trader,
    status: RouteStatus | None = None,
    instrument: Annotated[str | None, Query(max_length=129, pattern=LABEL_PATTERN)] = None,
    client_order_id: Annotated[str | None, Query(max_length=128, pattern=LABEL_PATTERN)] = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """Answer `{items, next}`; pass `next` as `cursor` for the following page."""
    which = RouteFilter(
        status,
        instrument,
        client_order_id,
        _aware("created_after", created_after),
        _aware("created_before", created_before),
    )
    views, following = await services(request).routes.page(
        trader.program, which, limit=limit, before=_route_cursor(cursor)
    )
    return Json({"items": [view.document for view in views], "next": str(following) if following else None})


@router.get("/{route_id}", summary="Read a route", responses={304: {"description": "unchanged"}})
async def read_route(
    request: Request,
    trader: Trader,
    route_id: UUID,
    wait: Annotated[
        float | None, Query(ge=0, le=MAX_WAIT_S, description="seconds to wait for a newer revision")
    ] = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Answer the route with its ETag, or 304 when `If-None-Match` still holds.

    With `wait`, a request that names the ETag it knows waits for the next revision or end; one that names none
    waits for the first.
    """
    found = services(request)
    seen = await found.routes.get(trader.program, route_id)
    if wait and _should_wait(seen, if_none_match):
        revision = seen.revision if if_none_match else 0
        newer = await found.streaming.wait_changed(route_id, revision=revision, etag=seen.etag, timeout_s=wait)
        seen = newer or await found.routes.get(trader.program, route_id)
    if if_none_match is not None and _matches(if_none_match, seen.etag):
        return Response(status_code=304, headers={"ETag": seen.etag})
    return Json(seen.document, headers={"ETag": seen.etag})


def _should_wait(seen: RouteView, if_none_match: str | None) -> bool:
    if if_none_match is None:
        return seen.status not in SETTLED and seen.revision == 0
    return _matches(if_none_match, seen.etag)


@router.delete("/{route_id}", summary="Cancel a route")
async def cancel_route(request: Request, trader: Trader, route_id: UUID) -> Response:
    """End the route; cancelling again, or a route that ended, changes nothing and answers its state."""
    found = services(request)
    await found.canceller.cancel(trader.program, route_id)
    seen = await found.routes.get(trader.program, route_id)
    return Json(seen.document, headers={"ETag": seen.etag})


@router.post(
    "/{route_id}/fills",
    status_code=201,
    summary="Report a fill",
    openapi_extra=documented_body(FillIn),
    responses={200: {"description": "this fill was reported before"}},
)
async def report_fill(request: Request, trader: Trader, route_id: UUID) -> Response:
    """Store what was really executed, once per `fill_id`, and move the route."""
    fill, _ = await body(request, FillIn)
    receipt = await services(request).feedback.report(trader.program, route_id, fill)
    return Json(receipt.document, 201 if receipt.is_new else 200, {"Location": f"/v1/routes/{route_id}"})


@router.get("/{route_id}/events", summary="Read a route's event trail")
async def list_events(
    request: Request,
    trader: Trader,
    route_id: UUID,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    cursor: Annotated[int, Query(ge=0, lt=1 << 31, description="`next` of the page before")] = 0,
) -> Response:
    """Answer the CloudEvents of the route in order as `{items, next}`."""
    items, following = await services(request).routes.events(trader.program, route_id, after=cursor, limit=limit)
    return Json({"items": items, "next": None if following is None else str(following)})


@router.get(
    "/{route_id}/explanation",
    summary="Explain a route, in JSON or as a picture",
    responses={
        200: {
            "description": "why the latest revision is what it is",
            "content": {"application/json": {"schema": {"type": "object"}}, SVG: {"schema": {"type": "string"}}},
        },
        304: {"description": "unchanged"},
        406: documented_problem("Neither JSON nor SVG is accepted"),
        409: documented_problem("The route has no solution"),
    },
)
async def explain_route(
    request: Request, trader: Trader, route_id: UUID, if_none_match: Annotated[str | None, Header()] = None
) -> Response:
    """Answer the solution with the reasons for it, the models that forecast, and the snapshot it was solved on.

    With `Accept: image/svg+xml` the answer is a picture: the flows between assets by market, what simpler ways would
    cost, and the slices over time.
    """
    media_type = representation(request, ("application/json", SVG))
    explained = await services(request).explainer.explain(trader.program, route_id)
    headers = {
        "ETag": explained.etag.removesuffix('"') + ('-svg"' if media_type == SVG else '-json"'),
        "Vary": "Accept",
    }
    if if_none_match is not None and _matches(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    if media_type == SVG:
        return Response(await explained.picture(), headers={**headers, **_INERT}, media_type=SVG)
    return Json(explained.document, headers=headers)


def _wait_of(prefer: str | None) -> float | None:
    match = _WAIT.search(prefer) if prefer else None
    return min(float(match[1]), MAX_WAIT_S) if match else None


def _matches(if_none_match: str, etag: str) -> bool:
    return if_none_match.strip() == "*" or etag in (
        candidate.strip().removeprefix("W/") for candidate in if_none_match.split(",")
    )


def _route_cursor(cursor: str | None) -> UUID | None:
    try:
        return UUID(cursor) if cursor else None
    except ValueError as error:
        raise Invalid(
            "the cursor is not valid", (FieldError("/query/cursor", "must be the `next` of the page before"),)
        ) from error


def _aware(name: str, moment: datetime | None) -> datetime | None:
    if moment is None:
        return None
    try:
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except OverflowError:
        pass
    raise Invalid(
        "a time is not valid",
        (FieldError(f"/query/{name}", "must be a time with its zone, for example 2026-01-01T00:00:00Z"),),
    )
