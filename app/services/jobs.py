"""Long work: asked for over HTTP, done by workers, resumed after a crash."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

import orjson
from pydantic import BaseModel, ValidationError

from app import telemetry
from app.domain.errors import FieldError, Invalid, NotFound
from app.domain.job import JobClaim
from app.infra.db import Database
from app.infra.ids import new_id
from app.infra.repositories import jobs as repository
from app.infra.repositories.jobs import JobRow
from app.services.documents import fragment, timestamp
from app.services.schemas.jobs import JobIn
from app.services.schemas.trade import field_errors

_RETRY_S = 0.5


class Progress(Protocol):
    """How a job tells how far it is. Between two calls a job must leave everything in a state it can go on from."""

    async def advance(self, progress: float) -> None:
        """Persist the progress, 0 to 1. Raises JobStopped when the job is to end here."""


class JobStopped(Exception):
    """The job was cancelled, lost its lease, or its worker is stopping."""


@dataclass(frozen=True, slots=True)
class JobKind:
    """One kind of work: its parameters, and what does it. A run that was cut off is started again from the top."""

    params: type[BaseModel]
    run: Callable[[Any, Progress], Awaitable[dict[str, Any]]]


class Jobs:
    """Keeps jobs. `kinds` is the table of everything a job can be."""

    def __init__(self, database: Database, kinds: Mapping[str, JobKind]) -> None:
        self._database = database
        self._kinds = dict(kinds)

    @property
    def kinds(self) -> Mapping[str, JobKind]:
        """Everything a job can be."""
        return self._kinds

    async def submit(self, program: str, job: JobIn) -> dict[str, Any]:
        """Queue a job. Raises Invalid, Unavailable."""
        kind = self._kinds.get(job.kind)
        if kind is None:
            known = ", ".join(sorted(self._kinds)) or "none"
            raise Invalid("the job is not valid", (FieldError("/kind", f"must be one of: {known}"),))
        try:
            params = kind.params.model_validate(job.params)
        except ValidationError as error:
            raise Invalid("the job is not valid", field_errors(error, prefix="/params")) from error
        async with self._database.transaction() as connection:
            row = await repository.add(
                connection,
                new_id(),
                program=program,
                kind=job.kind,
                params=params.model_dump_json(exclude_none=True),
            )
        return job_document(row)

    async def get(self, identifier: UUID, *, program: str | None) -> dict[str, Any]:
        """Read a job of a program, or of any. Raises NotFound, Unavailable."""
        async with self._database.connection() as connection:
            row = await repository.get(connection, identifier, program=program)
        return _found(identifier, row)

    async def page(
        self, *, program: str | None, status: str | None, kind: str | None, before: UUID | None, limit: int
    ) -> tuple[list[dict[str, Any]], UUID | None]:
        """List jobs, newest first, and where the next page starts. Raises Unavailable."""
        async with self._database.connection() as connection:
            rows = await repository.page(
                connection, program=program, status=status, kind=kind, before=before, limit=limit + 1
            )
        return [job_document(row) for row in rows[:limit]], rows[limit - 1].id if len(rows) > limit else None

    async def cancel(self, identifier: UUID, *, program: str | None) -> dict[str, Any]:
        """Cancel a job; one that runs stops at its next step. Raises NotFound, Unavailable."""
        async with self._database.connection() as connection:
            row = await repository.cancel(connection, identifier, program=program)
        return _found(identifier, row)

    async def claim(self, *, lease_s: float) -> JobClaim | None:
        """Take a job that is due. Raises Unavailable."""
        async with self._database.connection() as connection:
            return await repository.claim(connection, sorted(self._kinds), lease_s=lease_s)

    async def renew(self, claim: JobClaim, *, progress: float | None, lease_s: float) -> bool | None:
        """Keep a lease; answers whether the job is to stop, or None when the lease is lost. Raises Unavailable."""
        async with self._database.connection() as connection:
            return await repository.renew(connection, claim, progress=progress, lease_s=lease_s)

    async def finish(
        self, claim: JobClaim, status: str, *, result: dict[str, Any] | None = None, error: str | None = None
    ) -> None:
        """End a job whose lease is still held. Raises Unavailable."""
        text = None if result is None else orjson.dumps(result).decode()
        async with self._database.connection() as connection:
            if await repository.finish(connection, claim, status=status, result=text, error=error):
                telemetry.job_ended(claim.kind, str(claim.id), status, error)

    async def release(self, claim: JobClaim, *, is_outage: bool) -> None:
        """Give a job back for another worker to go on with. Raises Unavailable."""
        async with self._database.transaction() as connection:
            await repository.release(connection, claim, delay_s=_RETRY_S if is_outage else 0.0)


def job_document(row: JobRow) -> dict[str, Any]:
    """Write a job as served."""
    return {
        "id": str(row.id),
        "program": row.program,
        "kind": row.kind,
        "params": fragment(row.params),
        "status": row.status,
        "progress": row.progress,
        "cancel_requested": row.cancel_requested,
        "result": fragment(row.result),
        "error": row.error,
        "created_at": timestamp(row.created_at),
        "started_at": timestamp(row.started_at) if row.started_at else None,
        "finished_at": timestamp(row.finished_at) if row.finished_at else None,
    }


def _found(identifier: UUID, row: JobRow | None) -> dict[str, Any]:
    if row is None:
        raise NotFound(f"there is no job {identifier}; GET /v1/jobs lists yours")
    return job_document(row)
