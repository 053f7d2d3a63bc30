"""An application with two small operations, for what every operation shares."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest_asyncio
from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from app.routers.answers import Json
from app.routers.deps import AnyProgram, Trader, batch, body
from app.routers.openapi import documented_body
from app.services.schemas.base import PositiveText, Wire
from tests.routers.stage import Stage, edge_of, on_stage


class Order(Wire):
    """A message with a field of each sort."""

    quantity: PositiveText
    weight: float = Field(1.0, ge=0)
    note: dict[str, Any] = Field(default_factory=dict)


router = APIRouter()


@router.post("/orders", openapi_extra=documented_body(Order))
async def order(request: Request, trader: Trader) -> Response:
    """Echo an order."""
    message, parsed = await body(request, Order)
    return Json({"program": trader.program, "quantity": message.quantity, "parsed": parsed})


@router.get("/orders")
async def orders_page(program: AnyProgram) -> Response:
    """List nothing."""
    return Json({"items": [], "next": None})


@router.post("/orders:batch", openapi_extra=documented_body(Order))
async def orders(request: Request, trader: Trader) -> Response:
    """Echo an order that may be large."""
    return Json({"quantity": (await batch(request, Order)).quantity})


@router.get("/orders/{number}")
async def read(request: Request, program: AnyProgram, number: int, limit: Annotated[int, Query(ge=1)] = 1) -> Response:
    """Fail as the application was told to, or show the trace."""
    failure: Exception | None = getattr(request.app.state, "failure", None)
    if failure is not None:
        raise failure
    return Json({"traceparent": request.state.traceparent, "number": number, "limit": limit})


@pytest_asyncio.fixture
async def stage() -> AsyncIterator[Stage]:
    """Run the small application."""
    async with on_stage(edge_of(router)) as running:
        yield running
