"""Markets: liquidity in, listings out."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import TypeAdapter

from app.domain.values import INSTRUMENT_PATTERN
from app.routers.answers import Json
from app.routers.deps import AnyProgram, MarketWriter, adapted, read, services
from app.routers.openapi import documented_answer, documented_body
from app.routers.paging import Cursor, Limit, page, place_of
from app.services.market_listing import MarketFilter
from app.services.market_reading import read_market_batch, read_one_market
from app.services.schemas.base import NAME_PATTERN
from app.services.schemas.market import MARKET, MarketsIn

router = APIRouter(tags=["markets"])

_ANYTHING: TypeAdapter[Any] = TypeAdapter(Any)
MarketId = Annotated[str, Path(min_length=1, max_length=128, pattern=NAME_PATTERN, examples=["kraken:BTC-USD"])]
Kind = Literal["order_book", "constant_product", "weighted", "stable", "concentrated", "rfq"]
_WRITTEN = {"market_id": "kraken:BTC-USD", "applied": True, "revision": 4711}


@router.put(
    "/markets/{market_id:path}",
    summary="Write the state of one market",
    openapi_extra=documented_body(MARKET, "`market_id` may be left out; it must be the one of the URL otherwise"),
    responses={200: documented_answer("what became of it", _WRITTEN)},
)
async def write_market(request: Request, writer: MarketWriter, market_id: MarketId) -> Response:
    """Store the state; every later request, in any process, sees it.

    `applied` is false, and `revision` null, when a state with a higher `sequence` is there already.
    """
    market = read_one_market(market_id, await adapted(request, _ANYTHING, is_batch=True))
    [result] = await services(request).market_data.write([market], pointer=lambda _: "")
    return Json(result)


@router.post(
    "/markets:batch",
    summary="Write the states of many markets",
    openapi_extra=documented_body(MarketsIn, "A snapshot as `POST /v1/solve` takes it is welcome; `as_of` is not kept"),
    responses={
        200: documented_answer("what became of each, in their order", {"applied": 1, "results": [_WRITTEN]}),
    },
)
async def write_markets(request: Request, writer: MarketWriter) -> Response:
    """Store all of them, or none when one is not valid. `applied` counts the results that are.

    Of several states of one market in a batch the one with the highest `sequence` counts, then the last one; the
    others are answered `applied: false`.
    """
    raw = await read(request, services(request).settings.limits.batch_body_bytes)
    batch = await read_market_batch(raw)
    decimals = {asset: stated.decimals for asset, stated in batch.assets.items()}
    results = await services(request).market_data.write(batch.markets, decimals)
    return Json({"applied": sum(result.applied for result in results), "results": results})


@router.get("/markets", summary="List markets by id")
async def list_markets(
    request: Request,
    program: AnyProgram,
    venue: Annotated[str | None, Query(max_length=128)] = None,
    kind: Kind | None = None,
    asset: Annotated[str | None, Query(max_length=64, description="markets that exchange it")] = None,
    instrument: Annotated[
        str | None, Query(pattern=INSTRUMENT_PATTERN, description="markets that trade it, in either direction")
    ] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Answer `{items, next}`; an item is the market as written, with its `revision` and `updated_at`."""
    after = place_of(cursor, str)
    which = MarketFilter(venue, kind, asset, instrument)
    items, last = await services(request).market_data.listing.markets(
        which, limit=limit, after=after[0] if after else None
    )
    return page(items, None if last is None else (last,))


@router.get("/markets/{market_id:path}", summary="Read one market")
async def read_market(request: Request, program: AnyProgram, market_id: MarketId) -> Response:
    """Answer the market as written, with its `revision` and `updated_at`."""
    return Json(await services(request).market_data.listing.market(market_id))


@router.get("/venues", summary="List venues by name")
async def list_venues(request: Request, program: AnyProgram, limit: Limit = 1000, cursor: Cursor = None) -> Response:
    """Answer `{items, next}`: each venue with the kinds and number of its markets; `trading` if one of them is."""
    return _named(await services(request).market_data.listing.venues(), "venue", limit, cursor)


@router.get("/instruments", summary="List instruments by name")
async def list_instruments(
    request: Request, program: AnyProgram, limit: Limit = 1000, cursor: Cursor = None
) -> Response:
    """Answer `{items, next}`: each pair of assets that some market exchanges, with its venues, kinds and status."""
    return _named(await services(request).market_data.listing.instruments(), "instrument", limit, cursor)


def _named(rows: tuple[dict[str, Any], ...], name: str, limit: int, cursor: str | None) -> Json:
    after = place_of(cursor, str)
    rest = rows if after is None else [row for row in rows if row[name] > after[0]]
    return page(rest[:limit], (rest[limit - 1][name],) if len(rest) > limit else None)
