"""Jobs: long work, asked for here and done by workers."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from app.routers.answers import Json
from app.routers.deps import Trainer, body, services
from app.routers.openapi import documented_answer, documented_body
from app.routers.paging import Cursor, Limit, page, place_of
from app.services.access import Identity, Scope
from app.services.schemas.base import NAME_PATTERN
from app.services.schemas.jobs import JobIn

router = APIRouter(prefix="/jobs", tags=["jobs"])

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
_JOB = {
    "id": "01983c5e-0000-7000-8000-000000000000", "program": "desk", "kind": "archive", "params": {"older_than_h": 720},
    "status": "running", "progress": 0.25, "cancel_requested": False, "result": None, "error": None,
    "created_at": "2026-01-05T12:00:00.000000Z", "started_at": "2026-01-05T12:00:00.100000Z", "finished_at": None,
}  # fmt: skip


@router.post(
    "",
    status_code=202,
    summary="Ask for a job",
    openapi_extra=documented_body(JobIn),
    responses={202: documented_answer("the job; `Location` says where to follow it", _JOB)},
)
async def submit_job(request: Request, trainer: Trainer) -> Response:
    """Queue the job. `archive` moves records past their retention (`older_than_h`) into zipped files."""
    job, _ = await body(request, JobIn)
    document = await services(request).jobs.submit(trainer.program, job)
    return Json(document, 202, {"Location": f"/v1/jobs/{document['id']}"})


@router.get("", summary="List jobs, newest first")
async def list_jobs(
    request: Request,
    trainer: Trainer,
    status: Status | None = None,
    kind: Annotated[str | None, Query(max_length=64, pattern=NAME_PATTERN)] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Answer `{items, next}`: the program's jobs, or everyone's for an admin."""
    place = place_of(cursor, UUID)
    items, last = await services(request).jobs.page(
        program=_owner(trainer), status=status, kind=kind, before=place[0] if place else None, limit=limit
    )
    return page(items, None if last is None else (str(last),))


@router.get("/{job_id}", summary="Read a job", responses={200: documented_answer("the job", _JOB)})
async def read_job(request: Request, trainer: Trainer, job_id: UUID) -> Response:
    """Answer the job with its progress, 0 to 1, and what came of it."""
    return Json(await services(request).jobs.get(job_id, program=_owner(trainer)))


@router.delete("/{job_id}", summary="Cancel a job", responses={200: documented_answer("the job", _JOB)})
async def cancel_job(request: Request, trainer: Trainer, job_id: UUID) -> Response:
    """End a queued job at once; a running one stops at its next step. An ended job stays as it is."""
    return Json(await services(request).jobs.cancel(job_id, program=_owner(trainer)))


def _owner(identity: Identity) -> str | None:
    return None if identity.allows(Scope.ADMIN) else identity.program
