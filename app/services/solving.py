"""The solve stage: a trade and its snapshot become a route."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from app import telemetry
from app.domain.errors import Infeasible, Invalid, SolverError
from app.domain.event import EventType, Stage
from app.domain.route import RouteStatus
from app.domain.schedule.timeline import Timeline
from app.domain.solver import Problem, solve
from app.domain.trade import ScheduleKind
from app.infra.repositories.revisions import DUE
from app.services.documents import solution_document
from app.services.market_state import SnapshotReader
from app.services.outlooks import Outlooks, stored_outlook
from app.services.ports import Clock
from app.services.schemas.trade import TradeIn
from app.services.solver_inputs import Deadline, inputs_document
from app.services.staging import Result


def next_due_at(problem: Problem) -> datetime | None:
    """Tell when a schedule has to be looked at again if nothing happens before; None for what is not scheduled."""
    schedule = problem.trade.schedule
    if schedule.kind is ScheduleKind.IMMEDIATE:
        return None
    return Timeline.of(schedule, problem.began_at, problem.as_of).next_at


class SolveWork:
    """Solves a batch in one thread, off the event loop."""

    stage = Stage.SOLVE

    def __init__(
        self, snapshots: SnapshotReader, outlooks: Outlooks, clock: Clock, *, timeout_ms: float, batch_s: float
    ) -> None:
        """Take how long one solution may take, and how long all of a batch may together."""
        self._snapshots = snapshots
        self._outlooks = outlooks
        self._clock = clock
        self._timeout_ms = timeout_ms
        self._batch_s = batch_s

    async def compute(self, rows: Sequence[Mapping[str, Any]]) -> list[Result | Exception]:
        """Solve each route on its snapshot; a trade that cannot be done is a result, not an error."""
        problems: list[Problem] = []
        for row in rows:
            _, prepared, decimals = await self._snapshots.read(row["snapshot_id"])
            trade = TradeIn.model_validate_json(row["trade"]).to_domain()
            now = self._clock.now()
            profile = await self._outlooks.profile(trade, now)
            problems.append(
                Problem(
                    trade=trade,
                    markets=prepared,
                    decimals=decimals,
                    as_of=now,
                    outlook=stored_outlook(orjson.loads(row["forecast"]), profile),
                    began_at=now,
                )
            )
        return await asyncio.to_thread(self._solve_all, rows, problems)

    def _solve_all(self, rows: Sequence[Mapping[str, Any]], problems: list[Problem]) -> list[Result | Exception]:
        ends_at = time.monotonic() + self._batch_s
        results = []
        for number, (row, problem) in enumerate(zip(rows, problems, strict=True)):
            # Nothing is won by an answer that comes after its lease: those who come later share what time is left.
            share_ms = max(ends_at - time.monotonic(), 0.0) / (len(rows) - number) * 1e3
            results.append(self._solve(row, problem, Deadline(min(self._timeout_ms, share_ms))))
        return results

    def _solve(self, row: Mapping[str, Any], problem: Problem, should_stop: Deadline) -> Result | Exception:
        began = time.perf_counter()
        try:
            solution = solve(problem, should_stop)
        except (Infeasible, Invalid) as error:
            return _infeasible(row, error)
        except Exception as error:
            return error
        spent_s = time.perf_counter() - began
        telemetry.solved("stage", spent_s)
        timings = {
            "features": row["features_ms"],
            "inference": row["inference_ms"],
            "solve": round(spent_s * 1e3, 3),
        }
        data = {
            "route_id": str(row["id"]),
            "status": RouteStatus.READY,
            "revision": 1,
            "gap_bps": solution.certificate.gap_bps,
        }
        due_at = next_due_at(problem)
        return Result(
            RouteStatus.READY,
            (EventType.INFERENCE_EXISTS, EventType.ROUTE_SOLVED),
            orjson.dumps(data).decode(),
            (
                row["snapshot_id"],
                orjson.dumps(solution_document(solution, now=problem.as_of or self._clock.now())).decode(),
                orjson.dumps(timings).decode(),
                orjson.dumps(inputs_document(problem, should_stop.polls)).decode(),
                due_at,
            ),
            wakes=None if due_at is None else DUE,
        )


def refusal_document(error: SolverError) -> dict[str, Any]:
    """Write why a trade cannot be done."""
    return {
        "code": "infeasible",
        "detail": error.detail,
        "constraint": getattr(error, "constraint", None),
        "nearest": getattr(error, "nearest", None),
    }


def _infeasible(row: Mapping[str, Any], error: Infeasible | Invalid) -> Result:
    reason = refusal_document(error)
    data = {"route_id": str(row["id"]), "status": RouteStatus.INFEASIBLE, **reason}
    return Result(
        RouteStatus.INFEASIBLE,
        (EventType.INFERENCE_EXISTS, EventType.ROUTE_INFEASIBLE),
        orjson.dumps(data).decode(),
        (row["snapshot_id"], "null", "{}", "{}", None),
        orjson.dumps(reason).decode(),
    )
