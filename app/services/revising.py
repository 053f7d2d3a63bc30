"""Solve live routes anew when their markets move."""

import asyncio
import time
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from app import telemetry
from app.config import PipelineSettings
from app.domain.errors import SolverError
from app.domain.solver import Problem, solve
from app.domain.values import Instrument
from app.infra.db import Database
from app.infra.listener import Listener
from app.infra.repositories import revisions, routes
from app.infra.repositories.revisions import LiveRoute, Revision
from app.services.documents import solution_document
from app.services.market_state import MarketState
from app.services.ports import Clock
from app.services.schemas.trade import TradeIn
from app.services.snapshots import Snapshot
from app.services.solver_inputs import inputs_document
from app.services.solving import deadline

MARKETS = "markets"
_SETTLING_S = 30.0
"""A route requested before a change may become ready this long after it."""


class Reviser:
    """Gives routes that wait for their first fill a new revision once it differs from the one they have."""

    def __init__(
        self,
        database: Database,
        state: MarketState,
        listener: Listener,
        clock: Clock,
        *,
        pipeline: PipelineSettings,
        relay: bool,
    ) -> None:
        self._database = database
        self._state = state
        self._listener = listener
        self._clock = clock
        self._pipeline = pipeline
        self._relay = relay
        self._market_lists: dict[UUID, str] = {}
        self._looked_at: dict[UUID, UUID] = {}
        self._revision = -1
        self._settled_at = 0.0

    def waker(self) -> asyncio.Event:
        """Make an event that is set when a market moved."""
        return self._listener.waker(MARKETS)

    async def revise(self) -> int:
        """Do one round; answers how many routes got a new revision. Raises Unavailable."""
        await self._state.fresh()
        if self._state.revision != self._revision:
            self._revision = self._state.revision
            self._settled_at = time.monotonic() + _SETTLING_S
        if time.monotonic() > self._settled_at:
            return 0
        stale = await self._stale()
        if not stale:
            return 0
        async with self._database.connection() as connection:
            known = await revisions.solved(connection, [route for route, _ in stale])
        self._looked_at.update((route.id, snapshot.id) for route, snapshot in stale)
        todo = [(route, snapshot, known[route.id]) for route, snapshot in stale if route.id in known]
        now = self._clock.now()
        made = await asyncio.to_thread(lambda: [self._solve(*each, now) for each in todo])
        changed = [(revision, each[1]) for revision, each in zip(made, todo, strict=True) if revision is not None]
        if not changed:
            return 0
        async with self._database.transaction() as connection:
            for snapshot in {snapshot.id: snapshot for _, snapshot in changed}.values():
                if not snapshot.is_stored:
                    await routes.store_snapshot(connection, snapshot.to_store())
            count = await revisions.revise(connection, [revision for revision, _ in changed], relay=self._relay)
        for _, snapshot in changed:
            snapshot.mark_stored()
        return count

    async def _stale(self) -> list[tuple[LiveRoute, Snapshot]]:
        async with self._database.connection() as connection:
            live = await revisions.live(connection, idle_s=self._pipeline.revise_s, limit=self._pipeline.revised_routes)
            unknown = {route.snapshot_id for route in live} - self._market_lists.keys()
            if unknown:
                self._market_lists.update(await revisions.market_lists(connection, list(unknown)))
        in_use = {route.snapshot_id for route in live}
        self._market_lists = {name: text for name, text in self._market_lists.items() if name in in_use}
        living = {route.id for route in live}
        self._looked_at = {name: snapshot for name, snapshot in self._looked_at.items() if name in living}
        pairs = [(route, self._state.snapshot(Instrument.parse(route.instrument), route.max_hops)) for route in live]
        return [
            (route, snapshot)
            for route, snapshot in pairs
            if self._market_lists.get(route.snapshot_id) != snapshot.markets_text
            and self._looked_at.get(route.id) != snapshot.id
        ]

    def _solve(
        self, route: LiveRoute, snapshot: Snapshot, known: tuple[str, str, str], now: datetime
    ) -> Revision | None:
        trade, document, timings = known
        began = time.perf_counter()
        problem = Problem(
            trade=TradeIn.model_validate_json(trade).to_domain(),
            markets=snapshot.prepared,
            decimals=snapshot.decimals,
            as_of=now,
        )
        should_stop = deadline(self._pipeline.solve_timeout_ms)
        try:
            solution = solve(problem, should_stop)
        except SolverError:
            # The market may satisfy the trade again before it expires; until then the last revision stands.
            return None
        spent_s = time.perf_counter() - began
        telemetry.solved("revision", spent_s)
        fresh = solution_document(solution, now=now)
        if _legs(fresh) == _legs(orjson.loads(document)):
            return None
        return Revision(
            route_id=route.id,
            replaces=route.revision,
            snapshot_id=snapshot.id,
            document=orjson.dumps(fresh).decode(),
            timings=orjson.dumps({**orjson.loads(timings), "solve": round(spent_s * 1e3, 3)}).decode(),
            inputs=orjson.dumps(inputs_document(problem, should_stop.polls)).decode(),
            gap_bps=solution.certificate.gap_bps,
        )


def _legs(document: dict[str, Any]) -> list[Any]:
    return [part["legs"] for part in document["slices"]]
