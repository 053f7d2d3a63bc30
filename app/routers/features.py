"""Features of markets, as served now and as known then."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.domain.bars import MAX_INTERVAL_S
from app.domain.errors import FieldError, Invalid
from app.domain.metrics.set_reading import SET_NAME_PATTERN
from app.routers.answers import Json
from app.routers.deps import AnyProgram, services
from app.routers.openapi import documented_answer
from app.routers.paging import Cursor, Limit, page, place_of
from app.routers.parameters import AsOf, Instrument, Order
from app.services.documents import timestamp
from app.services.price_history import Span
from app.services.schemas.base import Instant

router = APIRouter(tags=["features"])

_SET_PATTERN = rf"^{SET_NAME_PATTERN}(@[1-9]\d{{0,9}})?$"
_NO_SPAN = "leave it out, or leave out `from`, `to` and `cursor`"
_VECTOR = {
    "instrument": "BTC-USD", "as_of": "2026-01-05T12:00:00.500000Z", "interval_s": 1,
    "event_ts": "2026-01-05T12:00:00.000000Z", "known_ts": "2026-01-05T12:00:00.020000Z", "schema_hash": "63e1…",
    "features": {"log_return_1": 0.42, "adx_14": None}, "missing": ["adx_14"], "stale": [],
    "inputs": {
        "bars": {"newest": "2026-01-05T11:59:59.000000Z", "age_s": 0.61, "count": 20, "gap_filled": 3},
        "books": {"sampled_at": "2026-01-05T12:00:00.000000Z", "age_s": 0.5},
    },
}  # fmt: skip


@router.get(
    "/features/{instrument}",
    summary="Read the features of a market",
    responses={200: documented_answer("one vector; with `from`, `to` or `cursor`, `{items, next}`", _VECTOR)},
)
async def read_features(
    request: Request,
    program: AnyProgram,
    instrument: Instrument,
    as_of: AsOf = None,
    interval: Annotated[int, Query(ge=1, le=MAX_INTERVAL_S, description="seconds a bar covers")] = 1,
    feature_set: Annotated[
        str | None,
        Query(alias="set", max_length=80, pattern=_SET_PATTERN, description="name or name@version of a feature set"),
    ] = None,
    begin: Annotated[Instant | None, Query(alias="from", description="list stored vectors from here on")] = None,
    to: Annotated[Instant | None, Query(description="list stored vectors up to here")] = None,
    order: Order = "desc",
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Answer the vector of now, or that of `as_of` from what was known then: asked again later, it is the same.

    A feature without enough history is null and named in `missing`, never zero; `stale` names inputs (`bars`,
    `books`) older than a minute. With `from`, `to` or `cursor`, lists the vectors that backfills stored, of each
    moment the latest version known at `as_of`. With `set`, answers the columns of that feature set at the newest whole
    interval of its own. 404 as for prices.
    """
    reader = services(request).features
    is_history = begin is not None or to is not None or cursor is not None
    if feature_set is not None:
        if is_history:
            raise Invalid("a set is answered at one moment", (FieldError("/query/set", _NO_SPAN),))
        return Json(await services(request).set_rows.row(instrument, feature_set, as_of=as_of))
    if not is_history:
        return Json(await reader.vector(instrument, interval_s=interval, as_of=as_of))
    place = place_of(cursor, datetime)
    items, last = await reader.history(
        instrument,
        Span(begin, to, newest_first=order == "desc"),
        interval_s=interval,
        as_of=as_of,
        after=None if place is None else place[0],
        limit=limit,
    )
    return page(items, None if last is None else (timestamp(last),))
