"""Probes and metrics. No key is needed."""

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from app import telemetry
from app.routers.answers import Json
from app.routers.deps import services
from app.services.container import Services

router = APIRouter(tags=["health"])


@router.get("/health/live", summary="Is the process alive")
async def live() -> Response:
    """Answer as long as the process runs."""
    return Json({"status": "alive"})


@router.get(
    "/health/ready",
    summary="Should requests be sent here",
    responses={503: {"description": "A part is away, or the process is about to end"}},
)
async def ready(request: Request, use: Annotated[Services, Depends(services)]) -> Response:
    """Report each part: `ok`, `degraded` (slower at worst) or `away`, which makes the process unready."""
    readiness = await use.health.readiness()
    is_draining = request.app.state.draining.is_set()
    is_ready = readiness.is_ready and not is_draining
    document = {
        "status": "draining" if is_draining else "ready" if is_ready else "unready",
        "parts": {name: {"condition": part.condition, "detail": part.detail} for name, part in readiness.parts.items()},
    }
    return Json(document, status_code=200 if is_ready else 503)


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Write the metrics of this process as text.

    `GET /v1/metrics` with `Accept: application/json` lists the metrics of instruments instead.
    """
    accepted = request.headers.get("accept", "")
    if request.url.path.startswith("/v1/") and "application/json" in accepted and "text/" not in accepted:
        return Json(services(request).metrics.catalog())
    return Response(telemetry.metrics_text(), headers={"Content-Type": telemetry.METRICS_CONTENT_TYPE})
