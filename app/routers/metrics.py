"""Metrics of instruments over time."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.domain.bars import MAX_INTERVAL_S
from app.domain.errors import FieldError, Invalid
from app.routers.deps import AnyProgram, services
from app.routers.openapi import documented_answer
from app.routers.paging import Cursor, Limit, page, place_of
from app.routers.parameters import AsOf, From, Instrument, Order, To
from app.services.charting import MAX_POINTS
from app.services.documents import timestamp
from app.services.price_history import Span

router = APIRouter(tags=["metrics"])

_ITEM = {"event_ts": "2026-01-05T12:01:00.000000Z", "values": {"ts.rsi": 53.1, "ta.rsi_14": None}}


@router.get(
    "/metrics/{instrument}",
    summary="List metrics of an instrument",
    responses={200: documented_answer("a page of moments", {"items": [_ITEM], "next": None})},
)
async def list_metrics(
    request: Request,
    program: AnyProgram,
    instrument: Instrument,
    names: Annotated[
        str | None,
        Query(
            max_length=4096, description="which, separated by commas; all if unset, without `ta.*` for an interval of 1"
        ),
    ] = None,
    interval: Annotated[
        int | None,
        Query(ge=1, le=MAX_INTERVAL_S, description="seconds a bar covers; 60 unless every name is of `ts.*`"),
    ] = None,
    begin: From = None,
    to: To = None,
    points: Annotated[
        int | None, Query(ge=1, le=MAX_POINTS, description="thin the whole span to so many moments, without pages")
    ] = None,
    order: Order = "desc",
    limit: Limit = 100,
    cursor: Cursor = None,
    as_of: AsOf = None,
) -> Response:
    """Answer `{items, next}`: the values at `event_ts`, the end of a bar, from the bars before it.

    `ts.*` look at 300 one-second points, `ta.*` and `x.*` at 300 bars of the interval. A moment has values up to a
    minute after the last price; what history is too short for is null. Late prices are in. `GET /v1/metrics` with
    `Accept: application/json` lists the names. 404 as for prices.
    """
    reader = services(request).metrics
    asked = reader.asked(names, interval)
    span = Span(begin, to, newest_first=order == "desc")
    if points is not None:
        if cursor is not None:
            raise Invalid(
                "points come in one answer", (FieldError("/query/cursor", "leave it out, or leave out points"),)
            )
        return page(await reader.points(instrument, asked, span, as_of=as_of, points=points), None)
    place = place_of(cursor, datetime)
    items, last = await reader.page(
        instrument, asked, span, as_of=as_of, after=None if place is None else place[0], limit=limit
    )
    return page(items, None if last is None else (timestamp(last),))
