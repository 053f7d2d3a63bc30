"""Solve live routes anew when their markets move."""

import asyncio
import time
from datetime import datetime
from typing import Any

import orjson

from app.config import PipelineSettings
from app.domain.errors import SolverError
from app.domain.solver import Problem, solve
from app.domain.values import Instrument
from app.infra.db import Database
from app.infra.listener import Listener
from app.infra.repositories import revisions, routes
from app.infra.repositories.revisions import Revision
from app.services.documents import solution_document
from app.services.market_state import MarketState, Snapshot
from app.services.ports import Clock
from app.services.schemas.trade import TradeIn
from app.services.solving import deadline

MARKETS = "markets"


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

    def waker(self) -> asyncio.Event:
        """Make an event that is set when a market moved."""
        return self._listener.waker(MARKETS)

    async def revise(self) -> int:
        """Do one round; answers how many routes got a new revision. Raises Unavailable."""
        await self._state.fresh()
        async with self._database.connection() as connection:
            live = await revisions.live(connection, idle_s=self._pipeline.revise_s, limit=self._pipeline.revised_routes)
        stale: list[tuple[dict[str, Any], Snapshot]] = []
        for row in live:
            snapshot = self._state.snapshot(Instrument.parse(row["instrument"]))
            if snapshot.to_store().markets != row["markets"]:
                stale.append((row, snapshot))
        if not stale:
            return 0
        now = self._clock.now()
        made = await asyncio.to_thread(lambda: [self._solve(row, snapshot, now) for row, snapshot in stale])
        changed = [(revision, snapshot) for revision, (_, snapshot) in zip(made, stale, strict=True) if revision]
        if not changed:
            return 0
        async with self._database.transaction() as connection:
            for snapshot in {id(snapshot): snapshot for _, snapshot in changed}.values():
                if not snapshot.is_stored:
                    await routes.store_snapshot(connection, snapshot.to_store())
            count = await revisions.revise(connection, [revision for revision, _ in changed], relay=self._relay)
        for _, snapshot in changed:
            snapshot.is_stored = True
        return count

    def _solve(self, row: dict[str, Any], snapshot: Snapshot, now: datetime) -> Revision | None:
        trade = TradeIn.model_validate_json(row["trade"]).to_domain()
        began = time.perf_counter()
        try:
            solution = solve(
                Problem(trade=trade, markets=snapshot.prepared, decimals=snapshot.decimals),
                deadline(self._pipeline.solve_timeout_ms),
            )
        except SolverError:
            # The market may satisfy the trade again before it expires; until then the last revision stands.
            return None
        document = solution_document(solution, now=now)
        if _legs(document) == _legs(orjson.loads(row["document"])):
            return None
        timings = {**orjson.loads(row["timings"]), "solve": round((time.perf_counter() - began) * 1e3, 3)}
        return Revision(
            route_id=row["id"],
            replaces=row["revision"],
            snapshot_id=snapshot.id,
            document=orjson.dumps(document).decode(),
            timings=orjson.dumps(timings).decode(),
            gap_bps=solution.certificate.gap_bps,
        )


def _legs(document: dict[str, Any]) -> list[Any]:
    return [part["legs"] for part in document["slices"]]
