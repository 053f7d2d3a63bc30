"""Feature sets: which columns a model reads, in versions that never change."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from app.domain.metrics.set_reading import SET_NAME_PATTERN
from app.routers.answers import Json
from app.routers.deps import AnyProgram, MarketWriter, body, services
from app.routers.openapi import documented_answer, documented_body
from app.routers.paging import Cursor, Limit, page, place_of
from app.services.schemas.feature_sets import FeatureSetIn

router = APIRouter(prefix="/feature-sets", tags=["features"])

_SET = {
    "name": "momentum", "version": 1, "interval_s": 60, "instruments": ["BTC-USD"],
    "columns": ["ta.rsi_14", {"name": "rsi_rise", "transform": "diff", "of": ["ta.rsi_14"], "n": 5}],
    "column_names": ["ta.rsi_14", "rsi_rise"], "schema_hash": "63e1…", "program": "desk",
    "created_at": "2026-01-05T12:00:00.000000Z",
}  # fmt: skip


@router.post(
    "",
    status_code=201,
    summary="Define a feature set",
    openapi_extra=documented_body(FeatureSetIn),
    responses={
        200: documented_answer("these columns were a version already", _SET),
        201: documented_answer("the next version; `Location` says where to read it", _SET),
    },
)
async def define_feature_set(request: Request, writer: MarketWriter) -> Response:
    """Store the next version of a name. The same columns again are answered with the version they have."""
    _, parsed = await body(request, FeatureSetIn)
    document, is_new = await services(request).feature_sets.define(writer.program, parsed)
    location = f"/v1/feature-sets/{document['name']}?version={document['version']}"
    return Json(document, 201 if is_new else 200, {"Location": location})


@router.get("", summary="List feature sets by name, newest version first")
async def list_feature_sets(
    request: Request, program: AnyProgram, limit: Limit = 100, cursor: Cursor = None
) -> Response:
    """Answer `{items, next}`."""
    place = place_of(cursor, str, int)
    items, last = await services(request).feature_sets.page(
        after=None if place is None else (place[0], place[1]), limit=limit
    )
    return page(items, None if last is None else (last[0], str(last[1])))


@router.get(
    "/{name}",
    summary="Read a feature set",
    responses={200: documented_answer("one version, and which there are", {**_SET, "versions": [1]})},
)
async def read_feature_set(
    request: Request,
    program: AnyProgram,
    name: Annotated[str, Path(pattern=f"^{SET_NAME_PATTERN}$", examples=["momentum"])],
    version: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="the newest if unset")] = None,
) -> Response:
    """Answer one version. `GET /v1/features/{instrument}?set=name@version` evaluates it."""
    return Json(await services(request).feature_sets.get(name, version))
