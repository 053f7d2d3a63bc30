"""Run a stage on what it claimed: read, compute without a connection, commit everything in one transaction."""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from app import telemetry
from app.config import AttemptSettings, PipelineSettings
from app.domain.claim import Claim
from app.domain.errors import Invalid, SolverError, Unavailable
from app.domain.event import RELAY, EventType, Stage
from app.domain.message import unpack
from app.domain.route import RouteStatus
from app.infra.db import Database
from app.infra.repositories import deliveries, stages, transitions
from app.services.ports import Clock


@dataclass(frozen=True, slots=True)
class Result:
    """What a stage made of one route: its new status, the events to say, the columns to store, and whom to wake."""

    status: RouteStatus
    events: tuple[EventType, ...]
    data: str
    row: tuple[Any, ...]
    reason: str | None = None
    wakes: str | None = None


class StageWork(Protocol):
    """The part of a stage that differs: turning what was read into what is stored."""

    stage: Stage

    async def compute(self, rows: Sequence[Mapping[str, Any]]) -> list[Result | Exception]:
        """Work on a batch, one answer per row; an exception stops only its own row."""


class StageRunner:
    """Takes claims through one stage. Every claim ends done, due again, or dead with its reason."""

    def __init__(
        self,
        work: StageWork,
        database: Database,
        clock: Clock,
        *,
        attempts: AttemptSettings,
        pipeline: PipelineSettings,
        consumers: Mapping[str, str],
        near: Mapping[str, Callable[[], None]] | None = None,
    ) -> None:
        """Take the work; `near` wakes consumers of this process, which then need no notification."""
        self.stage = work.stage
        self._work = work
        self._database = database
        self._clock = clock
        self._attempts = attempts
        self._pipeline = pipeline
        self._consumers = consumers
        self._near = near or {}

    async def run(self, claims: Sequence[Claim]) -> None:
        """Handle a batch. Raises Unavailable when Postgres is away; the leases then run out or are given back."""
        worn = [claim for claim in claims if claim.attempts > self._allowed]
        for claim in worn:
            reason = f"{claim.attempts - 1} attempts ended without an answer: the worker died or hung each time"
            await self._fail(claim, SolverError(reason))
        rest = [claim for claim in claims if claim.attempts <= self._allowed]
        if rest:
            await self._run(rest)

    async def _run(self, claims: Sequence[Claim]) -> None:
        known = [claim for claim in claims if claim.row is not None]
        results = await self._compute([claim.row for claim in known if claim.row is not None])
        steps: list[stages.Step] = []
        failures: list[tuple[Claim, Exception]] = [
            (claim, LookupError("the row that the stage before stored is missing"))
            for claim in claims
            if claim.row is None
        ]
        for claim, result in zip(known, results, strict=True):
            if isinstance(result, Exception):
                failures.append((claim, result))
            else:
                steps.append(
                    stages.Step(
                        claim,
                        result.status,
                        result.events,
                        result.data,
                        result.row,
                        reason=result.reason,
                        wakes=result.wakes,
                    )
                )
        if steps:
            await self._commit(steps)
        for claim, error in failures:
            await self._give_up_or_retry(claim, error)

    async def _compute(self, rows: list[Mapping[str, Any]]) -> list[Result | Exception]:
        if not rows:
            return []
        try:
            async with asyncio.timeout(self._pipeline.lease_s * 0.8):
                return await self._work.compute(rows)
        except Unavailable:
            raise
        except Exception as error:
            if len(rows) == 1:
                return [error]
        return [answer for row in rows for answer in await self._compute([row])]

    async def _commit(self, steps: list[stages.Step]) -> None:
        try:
            async with self._database.connection() as connection:
                moved = await stages.advance(connection, self.stage, steps, self._consumers, near=self._near)
        except Unavailable:
            raise
        except Exception as error:
            if len(steps) == 1:
                await self._give_up_or_retry(steps[0].claim, error)
                return
            for step in steps:
                await self._commit([step])
            return
        for wake in self._near.values():
            wake()
        now = self._clock.now()
        for route in moved:
            telemetry.route_moved(self.stage, route.status, (now - route.created_at).total_seconds())

    @property
    def _allowed(self) -> int:
        return attempts_of(self.stage, self._attempts)

    async def _give_up_or_retry(self, claim: Claim, error: Exception) -> None:
        if isinstance(error, Unavailable):
            raise error
        is_hopeless = isinstance(error, SolverError) and not error.retryable
        if is_hopeless or claim.attempts >= self._allowed:
            await self._fail(claim, error)
            return
        delay_s = backoff_s(claim.attempts, self._attempts)
        telemetry.stage_retried(self.stage, str(claim.route_id), claim.attempts, repr(error))
        async with self._database.connection() as connection:
            await deliveries.release(connection, [claim], delays_s=[delay_s], counted=True)

    async def _fail(self, claim: Claim, error: Exception) -> None:
        is_relayed = RELAY in self._consumers.values()
        await fail(self._database, self.stage, claim, error, relay=is_relayed)


def attempts_of(stage: Stage, attempts: AttemptSettings) -> int:
    """Look up how often a stage tries an event."""
    return {
        Stage.INTAKE: attempts.intake,
        Stage.FEATURES: attempts.features,
        Stage.INFERENCE: attempts.inference,
        Stage.SOLVE: attempts.solve,
    }[stage]


def backoff_s(attempt: int, attempts: AttemptSettings) -> float:
    """Wait longer after each attempt, spread at random so that retries do not march in step."""
    ceiling = min(attempts.backoff_max_s, attempts.backoff_initial_s * 2.0 ** (attempt - 1))
    return ceiling * random.uniform(0.5, 1.0)


async def fail(database: Database, stage: str, claim: Claim, error: Exception, *, relay: bool = False) -> None:
    """Dead-letter an event and end its route as failed, in one transaction."""
    code = error.code if isinstance(error, SolverError) else type(error).__name__
    reason = _reason(error)
    async with database.transaction() as connection:
        if not await deliveries.bury(connection, [claim]):
            return
        await deliveries.add_dead_letter(
            connection,
            consumer=stage,
            claim=claim,
            payload=unpack(claim.payload).body if claim.payload else None,
            code=code,
            reason=reason,
        )
        if claim.route_id is not None:
            await transitions.fail(connection, claim.route_id, stage=stage, code=code, detail=reason, relay=relay)
    telemetry.dead_lettered(stage, str(claim.route_id), claim.attempts, code, reason)


def _reason(error: Exception) -> str:
    fields = error.errors if isinstance(error, Invalid) else ()
    text = "; ".join([str(error) or type(error).__name__, *(f"{field.pointer} {field.message}" for field in fields)])
    # Postgres keeps neither NUL nor lone surrogates, and an error may quote any text.
    return text.replace("\x00", "\\0").encode(errors="backslashreplace").decode()
