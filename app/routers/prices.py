"""Prices: ticks in, history out."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from app.domain.bars import MAX_INTERVAL_S
from app.routers.answers import Json
from app.routers.deps import AnyProgram, MarketWriter, read, sends_lines, services
from app.routers.openapi import documented_answer, documented_body
from app.routers.paging import Cursor, Limit, page, place_of
from app.routers.parameters import From, Instrument, Order, Source, To
from app.services.charting import MAX_POINTS
from app.services.documents import timestamp
from app.services.price_history import Span
from app.services.schemas.prices import PriceIn, PricesIn

router = APIRouter(tags=["prices"])


@router.post(
    "/prices",
    summary="Write ticks",
    openapi_extra=documented_body(PricesIn, lines=PriceIn),
    responses={
        200: documented_answer("how many were new", {"received": 2, "inserted": 2, "duplicates": 0}),
    },
)
async def write_prices(
    request: Request,
    writer: MarketWriter,
    on_error: Annotated[
        Literal["reject", "skip"],
        Query(description="what a tick that is not valid does: refuses all of them, or is left out and named"),
    ] = "reject",
) -> Response:
    """Store ticks, as one JSON document or as NDJSON: one tick a line. All of them, or none when one is not valid.

    With `on_error=skip` the valid ones are stored; the answer counts the others as `rejected` and names the first 100
    in `errors`. What was stored before is counted, and changes nothing. A tick is known by its instrument, source, time
    and id; without an id, by its price and size.
    """
    skip = on_error == "skip"
    raw = await read(request, services(request).settings.limits.batch_body_bytes, takes_lines=True)
    receipt = await services(request).prices.write_body(
        raw, is_lines=sends_lines(request), skip=skip, default_source=writer.program
    )
    answer: dict[str, Any] = {
        "received": receipt.received,
        "inserted": receipt.inserted,
        "duplicates": receipt.received - receipt.rejected - receipt.inserted,
    }
    if skip:
        answer["rejected"] = receipt.rejected
        answer["errors"] = [{"pointer": error.pointer, "message": error.message} for error in receipt.errors]
    return Json(answer)


@router.get("/prices/{instrument}", summary="List ticks")
async def list_prices(
    request: Request,
    program: AnyProgram,
    instrument: Instrument,
    begin: From = None,
    to: To = None,
    source: Source = None,
    order: Order = "desc",
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Answer `{items, next}`; 404 for an instrument that no market trades and no price was ever written of."""
    place = place_of(cursor, datetime, str, str)
    items, last = await services(request).prices.list_ticks(
        instrument,
        Span(begin, to, newest_first=order == "desc"),
        source=source,
        after=None if place is None else (place[0], place[1], place[2]),
        limit=limit,
    )
    return page(items, None if last is None else (timestamp(last[0]), last[1], last[2]))


@router.get("/bars/{instrument}", summary="List bars")
async def list_bars(
    request: Request,
    program: AnyProgram,
    instrument: Instrument,
    interval: Annotated[
        int | None, Query(ge=1, le=MAX_INTERVAL_S, description="seconds a bar covers; 60 unless `points` says")
    ] = None,
    begin: From = None,
    to: To = None,
    points: Annotated[
        int | None, Query(ge=1, le=MAX_POINTS, description="for charts: choose the shortest interval with no more bars")
    ] = None,
    order: Order = "desc",
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Answer `{items, next}`: bars that start in [from, to), on a grid that counts from 1970; silence has no bar.

    With `points`, as many bars as that come in one answer; `next` is then null unless adding them up takes long.
    Pages of long intervals hold fewer bars than `limit`. 404 as for prices.
    """
    span = Span(begin, to, newest_first=order == "desc")
    if points is not None:
        return await _chart(request, instrument, span, interval, points, cursor)
    place = place_of(cursor, datetime)
    items, last = await services(request).prices.list_bars(
        instrument, span, interval_s=interval or 60, after=None if place is None else place[0], limit=limit
    )
    return page(items, None if last is None else (timestamp(last),))


async def _chart(
    request: Request, instrument: str, span: Span, interval: int | None, points: int, cursor: str | None
) -> Response:
    charting = services(request).charting
    place = place_of(cursor, datetime, int)
    if place is not None:
        interval = min(max(place[1], 1), MAX_INTERVAL_S)
    interval = interval or await charting.interval_s(instrument, span, points)
    items, last = await charting.bars(
        instrument, span, interval_s=interval, after=None if place is None else place[0], points=points
    )
    return page(items, None if last is None else (timestamp(last), str(interval)))
