"""Quotes: an answer now, nothing stored."""

from fastapi import APIRouter, Request

from app.routers.answers import Json
from app.routers.deps import Trader, body, services
from app.routers.openapi import documented_body
from app.services.schemas.trade import TradeIn

router = APIRouter(tags=["quotes"])


@router.post(
    "/quotes",
    summary="Quote a trade on the markets of this moment",
    openapi_extra=documented_body(TradeIn),
)
async def quote(request: Request, trader: Trader) -> Json:
    """Answer `{solution, forecast, timings_ms}`; a trade the market cannot satisfy is a 422 of type infeasible."""
    trade, _ = await body(request, TradeIn)
    found = await services(request).quoting.quote(trade)
    return Json(found)
