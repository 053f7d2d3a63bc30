"""Candles: those of exchanges and files in, and out again as they were stated."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.routers.answers import Json
from app.routers.deps import AnyProgram, MarketWriter, batch, services
from app.routers.openapi import documented_answer, documented_body
from app.routers.paging import Cursor, Limit, page, place_of
from app.routers.parameters import From, Instrument, Order, Source, To
from app.services.candle_check import MAX_SPAN_S
from app.services.candle_writing import write_candles
from app.services.documents import timestamp
from app.services.price_history import Span
from app.services.schemas.candles import CandlesIn

router = APIRouter(tags=["prices"])


@router.post(
    "/candles",
    summary="Write candles",
    openapi_extra=documented_body(CandlesIn),
    responses={
        200: documented_answer("how many were new or differ", {"received": 2, "inserted": 2, "duplicates": 0}),
    },
)
async def post_candles(request: Request, writer: MarketWriter) -> Response:
    """Store all of them, or none when one is not valid. Those that say what is stored already change nothing.

    A candle is known by its instrument, length, source and start; one that says something else replaces it. Bars of
    that length follow from the candles of all sources, where there are no ticks of the same time.
    """
    message = await batch(request, CandlesIn)
    inserted = await write_candles(services(request).prices, message, default_source=writer.program)
    received = len(message.candles)
    return Json({"received": received, "inserted": inserted, "duplicates": received - inserted})


@router.get("/candles/{instrument}", summary="List candles")
async def list_candles(
    request: Request,
    program: AnyProgram,
    instrument: Instrument,
    interval: Annotated[int, Query(ge=1, le=MAX_SPAN_S, description="seconds a candle covers")] = 60,
    begin: From = None,
    to: To = None,
    source: Source = None,
    order: Order = "desc",
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Answer `{items, next}`: candles of one length as they were written, by start and source. 404 as for prices."""
    place = place_of(cursor, datetime, str)
    items, last = await services(request).prices.list_candles(
        instrument,
        Span(begin, to, newest_first=order == "desc"),
        interval_s=interval,
        source=source,
        after=None if place is None else (place[0], place[1]),
        limit=limit,
    )
    return page(items, None if last is None else (timestamp(last[0]), last[1]))
