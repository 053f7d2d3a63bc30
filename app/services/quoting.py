"""Answer a trade at once: no persistence, no workers, the low-latency path."""

import asyncio
import time
from typing import Any

from app import telemetry
from app.domain.forecast import document, for_trade
from app.domain.solution import Solution
from app.domain.solver import Problem, solve
from app.domain.trade import ScheduleKind
from app.services.documents import solution_document
from app.services.market_state import MarketState
from app.services.outlooks import Outlooks, outlook_of
from app.services.ports import Clock
from app.services.routing.accepting import check_trade
from app.services.schemas.trade import TradeIn
from app.services.solver_inputs import Deadline

_FEW_MARKETS = 50
_THREADS = 2


class Quoting:
    """Quotes trades on the latest state of the markets."""

    def __init__(self, state: MarketState, outlooks: Outlooks, clock: Clock, *, timeout_ms: float) -> None:
        self._state = state
        self._outlooks = outlooks
        self._clock = clock
        self._timeout_ms = timeout_ms
        self._threads = asyncio.Semaphore(_THREADS)

    async def quote(self, wire: TradeIn) -> dict[str, Any]:
        """Solve a trade now. Raises Invalid, Infeasible, Unavailable."""
        began = time.perf_counter()
        await self._state.fresh()
        check_trade(wire, self._state)
        trade = wire.to_domain()
        snapshot = self._state.snapshot(trade.instrument, trade.constraints.max_hops)
        expected = await self._outlooks.expect(trade.instrument, snapshot)
        forecast = for_trade(expected.market, trade)
        now = self._clock.now()
        outlook = outlook_of(expected.market, await self._outlooks.profile(trade, now))
        solving = time.perf_counter()
        solution = await self._solve(
            Problem(trade=trade, markets=snapshot.prepared, decimals=snapshot.decimals, as_of=now, outlook=outlook)
        )
        ended = time.perf_counter()
        telemetry.solved("quote", ended - solving)
        return {
            "solution": solution_document(solution, now=now),
            "forecast": document(forecast),
            "timings_ms": {
                "features": expected.features_ms,
                "inference": expected.inference_ms,
                "solve": round((ended - solving) * 1e3, 3),
                "total": round((ended - began) * 1e3, 3),
            },
        }

    async def _solve(self, problem: Problem) -> Solution:
        is_immediate = problem.trade.schedule.kind is ScheduleKind.IMMEDIATE
        if is_immediate and len(problem.markets) <= _FEW_MARKETS:
            # A thread costs as much as this solve.
            return solve(problem, Deadline(self._timeout_ms))
        async with self._threads:
            return await asyncio.to_thread(lambda: solve(problem, Deadline(self._timeout_ms)))
