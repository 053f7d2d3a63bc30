"""Solve problems that bring their own markets: nothing is looked up and nothing is stored."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from app import telemetry
from app.config import SolveSettings
from app.domain.errors import Overloaded
from app.domain.solver import forget, never, solve
from app.services.documents import solution_document
from app.services.ports import Clock
from app.services.problem_reading import read_problem
from app.services.solver_inputs import Deadline


def solve_problem(
    raw: bytes, *, now: datetime, limits: SolveSettings, is_closing: Callable[[], bool] = never
) -> dict[str, Any]:
    """Answer `{market, trade, timeout_ms?}` with `{solution, timings_ms}`. Raises Invalid, Infeasible.

    The same body has the same answer, unless time ends the search.
    """
    began = time.perf_counter()
    posed = read_problem(raw, now=now, timeout_max_ms=limits.timeout_max_ms)
    solving = time.perf_counter()
    is_over = Deadline(limits.timeout_ms if posed.timeout_ms is None else posed.timeout_ms)
    try:
        solution = solve(posed.problem, lambda: is_over() or is_closing())
    finally:
        forget(posed.problem.markets)
    ended = time.perf_counter()
    telemetry.solved("direct", ended - solving)
    return {
        "solution": solution_document(solution, now=posed.as_of),
        "timings_ms": {
            "read": round((solving - began) * 1e3, 3),
            "solve": round((ended - solving) * 1e3, 3),
            "total": round((ended - began) * 1e3, 3),
        },
    }


class DirectSolving:
    """Solves in threads of its own, so many at once, and refuses what it could not take up soon."""

    def __init__(self, clock: Clock, limits: SolveSettings) -> None:
        self._clock = clock
        self._limits = limits
        self._threads = ThreadPoolExecutor(limits.running, thread_name_prefix="direct-solving")
        self._count = 0
        self._bytes = 0
        self._closing = False

    async def solve(self, raw: bytes) -> dict[str, Any]:
        """Solve a problem in its turn. Raises Invalid, Infeasible, Overloaded."""
        began = time.perf_counter()
        limits = self._limits
        is_full = self._count >= limits.running + limits.waiting
        if is_full or (self._count and self._bytes + len(raw) > limits.waiting_bytes):
            raise Overloaded(f"{self._count} problems are being solved or wait for it; try again as Retry-After says")
        taken = self._threads.submit(self._solve, raw)
        self._count += 1
        self._bytes += len(raw)
        try:
            running = asyncio.wrap_future(taken)
            await asyncio.wait([running], timeout=limits.waiting_s)
            # What a thread has begun cannot be cancelled, and is waited for.
            if not running.done() and taken.cancel():
                raise Overloaded(f"nothing was free for {limits.waiting_s:g} s; try again as Retry-After says")
            answer = await running
        finally:
            taken.cancel()
            self._count -= 1
            self._bytes -= len(raw)
        answer["timings_ms"]["total"] = round((time.perf_counter() - began) * 1e3, 3)
        return answer

    def _solve(self, raw: bytes) -> dict[str, Any]:
        return solve_problem(raw, now=self._clock.now(), limits=self._limits, is_closing=lambda: self._closing)

    async def close(self) -> None:
        """End what is being solved with the best found so far, and take nothing up any more."""
        self._closing = True
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
