"""Quotes: an answer now, nothing stored."""

from fastapi import APIRouter, Request

from app.routers.answers import Json
from app.routers.deps import body, require, services
from app.routers.lean import LeanRoute
from app.routers.openapi import documented_body
from app.services.access import Scope
from app.services.schemas.trade import TradeIn

router = APIRouter(tags=["quotes"], route_class=LeanRoute)

_trader = require(Scope.TRADE)


@router.post(
    "/quotes",
    summary="Quote a trade on the markets of this moment",
    openapi_extra=documented_body(TradeIn),
)
async def quote(request: Request) -> Json:
    """Answer `{solution, forecast, timings_ms}`; a trade the market cannot satisfy is a 422 of type infeasible."""
    await _trader(request)
    trade, _ = await body(request, TradeIn)
    return Json(await services(request).quoting.quote(trade))
