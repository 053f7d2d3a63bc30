"""Put an HTTP application together from routers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version

from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.config import Settings
from app.routers import errors, health, middleware, openapi
from app.routers.answers import Json
from app.routers.asyncapi import asyncapi_document
from app.services.container import Services

PREFIX = "/v1"
VERSION = version("solver-api")

ServicesFactory = Callable[[Settings], AbstractAsyncContextManager[Services]]


def assemble(settings: Settings, services_factory: ServicesFactory, routers: Sequence[APIRouter]) -> FastAPI:
    """Build an application that opens its services at start and closes them at the end.

    Setting the event `app.state.draining` makes it unready at once and refuse new requests.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with services_factory(settings) as services:
            app.state.services = services
            yield
            draining.set()

    draining = asyncio.Event()
    app = FastAPI(
        title=openapi.TITLE,
        version=VERSION,
        description=openapi.DESCRIPTION,
        openapi_tags=openapi.TAGS,
        lifespan=lifespan,
        openapi_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.draining = draining
    app.state.sockets = 0
    app.add_middleware(middleware.Edge, draining=draining)
    errors.install(app)
    openapi.install(app)
    # Matching is linear: the routers come in the order of their traffic.
    for router in routers:
        app.include_router(router, prefix=PREFIX)
    app.include_router(health.router, prefix=PREFIX)
    app.include_router(health.router, include_in_schema=False)
    for prefix in (PREFIX, ""):
        app.router.routes.extend(
            [
                Route(f"{prefix}/openapi.json", _openapi),
                Route(f"{prefix}/asyncapi.json", _asyncapi),
                Route(f"{prefix}/docs", _docs),
            ]
        )
    return app


async def _openapi(request: Request) -> Response:
    return Json(request.app.openapi())


async def _asyncapi(_: Request) -> Response:
    return Response(asyncapi_document(VERSION), media_type="application/json")


async def _docs(_: Request) -> Response:
    return get_swagger_ui_html(openapi_url="/openapi.json", title=openapi.TITLE)
