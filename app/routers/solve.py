"""Problems that bring their own markets: solved at once, nothing stored."""

from typing import Any

from fastapi import APIRouter, Request

from app.routers.answers import Json
from app.routers.deps import read, require, services
from app.routers.lean import LeanRoute
from app.routers.openapi import documented_answer, documented_body
from app.services.access import Scope
from app.services.schemas.problem import ProblemIn

router = APIRouter(tags=["solve"], route_class=LeanRoute)

_trader = require(Scope.TRADE)
_ANSWER: dict[str, Any] = {"solution": {}, "timings_ms": {"read": 0.4, "solve": 0.9, "total": 1.5}}


@router.post(
    "/solve",
    summary="Solve a trade on the markets that come with it",
    openapi_extra=documented_body(ProblemIn, "Up to 8 MiB"),
    responses={200: documented_answer("the solution as in a route", _ANSWER)},
)
async def solve(request: Request) -> Json:
    """Answer `{solution, timings_ms}`; nothing that is stored plays a part, so the same body has the same answer.

    The search ends after `timeout_ms` (2,000 unless said, 60,000 at most, unless set otherwise in `SOLVER_SOLVE__…`)
    with the best found so far, never worse than the best single path. A trade that the markets cannot satisfy is a 422
    of type infeasible with `constraint` and `nearest`; more at once than this process takes on is a 503.
    """
    await _trader(request)
    found = services(request)
    return Json(await found.direct_solving.solve(await read(request, found.settings.limits.batch_body_bytes)))
