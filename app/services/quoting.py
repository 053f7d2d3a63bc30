"""Answer a trade at once: no persistence, no workers, the low-latency path."""

import asyncio
import time
from typing import Any

from app import telemetry
from app.domain.features.vectors import market_vector
from app.domain.forecast import MarketForecast, document, for_trade
from app.domain.solution import Solution
from app.domain.solver import Problem, solve
from app.domain.values import Instrument
from app.services.documents import solution_document
from app.services.features import order_books
from app.services.forecasting import Forecaster
from app.services.market_state import MarketState
from app.services.ports import Clock
from app.services.price_history import PriceHistory
from app.services.routing.accepting import check_trade
from app.services.schemas.trade import TradeIn
from app.services.snapshots import Snapshot
from app.services.solving import deadline

_FRESH_S = 0.5
_INSTRUMENTS = 4096
_FEW_MARKETS = 50
_THREADS = 2


class Quoting:
    """Quotes trades on the latest state of the markets."""

    def __init__(
        self, state: MarketState, prices: PriceHistory, forecaster: Forecaster, clock: Clock, *, timeout_ms: float
    ) -> None:
        self._state = state
        self._prices = prices
        self._forecaster = forecaster
        self._clock = clock
        self._timeout_ms = timeout_ms
        self._threads = asyncio.Semaphore(_THREADS)
        self._forecasts: dict[Instrument, tuple[float, MarketForecast]] = {}

    async def quote(self, wire: TradeIn) -> dict[str, Any]:
        """Solve a trade now. Raises Invalid, Infeasible, Unavailable."""
        began = time.perf_counter()
        await self._state.fresh()
        check_trade(wire, self._state)
        trade = wire.to_domain()
        snapshot = self._state.snapshot(trade.instrument, trade.constraints.max_hops)
        market, features_ms, inference_ms = await self._forecast(trade.instrument, snapshot)
        forecast = for_trade(market, trade)
        solving = time.perf_counter()
        solution = await self._solve(
            Problem(trade=trade, markets=snapshot.prepared, decimals=snapshot.decimals, as_of=self._clock.now())
        )
        ended = time.perf_counter()
        telemetry.solved("quote", ended - solving)
        return {
            "solution": solution_document(solution, now=self._clock.now()),
            "forecast": document(forecast),
            "timings_ms": {
                "features": features_ms,
                "inference": inference_ms,
                "solve": round((ended - solving) * 1e3, 3),
                "total": round((ended - began) * 1e3, 3),
            },
        }

    async def _solve(self, problem: Problem) -> Solution:
        if len(problem.markets) <= _FEW_MARKETS:
            # A thread costs as much as this solve.
            return solve(problem, deadline(self._timeout_ms))
        async with self._threads:
            return await asyncio.to_thread(lambda: solve(problem, deadline(self._timeout_ms)))

    async def _forecast(self, instrument: Instrument, snapshot: Snapshot) -> tuple[MarketForecast, float, float]:
        began = time.perf_counter()
        known = self._forecasts.get(instrument)
        if known is not None and began < known[0]:
            return known[1], 0.0, 0.0
        name = str(instrument)
        bars = await self._prices.bars(name)
        newest = bars.newest_at
        market = None if newest is None else self._forecaster.recall(name, newest)
        computed = time.perf_counter()
        if market is None:
            books = order_books((live.market for live in snapshot.markets), instrument)
            vector = market_vector(bars, books, self._clock.now())
            computed = time.perf_counter()
            market = await self._forecaster.forecast(name, bars, vector, newest)
        if len(self._forecasts) >= _INSTRUMENTS:
            self._forecasts.clear()
        ended = time.perf_counter()
        self._forecasts[instrument] = (ended + _FRESH_S, market)
        return market, round((computed - began) * 1e3, 3), round((ended - computed) * 1e3, 3)
