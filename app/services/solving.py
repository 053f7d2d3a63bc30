"""The solve stage: a trade and its snapshot become a route."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from app import telemetry
from app.domain.errors import Infeasible, Invalid
from app.domain.event import EventType, Stage
from app.domain.route import RouteStatus
from app.domain.solver import Problem, solve
from app.services.documents import solution_document
from app.services.market_state import SnapshotReader
from app.services.ports import Clock
from app.services.schemas.trade import TradeIn
from app.services.solver_inputs import Deadline, inputs_document
from app.services.staging import Result


def deadline(timeout_ms: float) -> Deadline:
    """Make a `should_stop` that says yes once the time is over."""
    return Deadline(timeout_ms)


class SolveWork:
    """Solves a batch in one thread, off the event loop."""

    stage = Stage.SOLVE

    def __init__(self, snapshots: SnapshotReader, clock: Clock, *, timeout_ms: float) -> None:
        self._snapshots = snapshots
        self._clock = clock
        self._timeout_ms = timeout_ms

    async def compute(self, rows: Sequence[Mapping[str, Any]]) -> list[Result | Exception]:
        """Solve each route on its snapshot; a trade that cannot be done is a result, not an error."""
        problems: list[Problem] = []
        for row in rows:
            _, prepared, decimals = await self._snapshots.read(row["snapshot_id"])
            trade = TradeIn.model_validate_json(row["trade"]).to_domain()
            problems.append(Problem(trade=trade, markets=prepared, decimals=decimals, as_of=self._clock.now()))
        return await asyncio.to_thread(self._solve_all, rows, problems)

    def _solve_all(self, rows: Sequence[Mapping[str, Any]], problems: list[Problem]) -> list[Result | Exception]:
        return [self._solve(row, problem) for row, problem in zip(rows, problems, strict=True)]

    def _solve(self, row: Mapping[str, Any], problem: Problem) -> Result | Exception:
        began = time.perf_counter()
        try:
            should_stop = deadline(self._timeout_ms)
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
        return Result(
            RouteStatus.READY,
            (EventType.INFERENCE_EXISTS, EventType.ROUTE_SOLVED),
            orjson.dumps(data).decode(),
            (
                row["snapshot_id"],
                orjson.dumps(solution_document(solution, now=problem.as_of or self._clock.now())).decode(),
                orjson.dumps(timings).decode(),
                orjson.dumps(inputs_document(problem, should_stop.polls)).decode(),
            ),
        )


def _infeasible(row: Mapping[str, Any], error: Infeasible | Invalid) -> Result:
    reason = {
        "code": "infeasible",
        "detail": error.detail,
        "constraint": getattr(error, "constraint", None),
        "nearest": getattr(error, "nearest", None),
    }
    data = {"route_id": str(row["id"]), "status": RouteStatus.INFEASIBLE, **reason}
    return Result(
        RouteStatus.INFEASIBLE,
        (EventType.INFERENCE_EXISTS, EventType.ROUTE_INFEASIBLE),
        orjson.dumps(data).decode(),
        (row["snapshot_id"], "null", "{}", "{}"),
        orjson.dumps(reason).decode(),
    )
