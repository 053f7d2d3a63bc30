"""Solve live routes anew when their markets move, and plan schedules anew when time, fills or forecasts ask for it."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import orjson

from app import telemetry
from app.config import PipelineSettings
from app.domain.errors import NothingLeft, SolverError
from app.domain.forecast import MarketForecast, document, for_trade
from app.domain.schedule.outlook import Outlook
from app.domain.solver import Problem, solve
from app.domain.trade import ScheduleKind, Trade
from app.domain.values import Instrument
from app.infra.db import Database
from app.infra.listener import Listener
from app.infra.repositories import revisions, routes
from app.infra.repositories.revisions import LiveRoute, Postponed, Revision, Solved
from app.services.documents import solution_document
from app.services.market_state import MarketState
from app.services.outlooks import Outlooks, has_turned, outlook_of
from app.services.plan_changes import is_new
from app.services.ports import Clock
from app.services.schemas.trade import TradeIn
from app.services.snapshots import Snapshot
from app.services.solver_inputs import Deadline, inputs_document, read_inputs, read_outlook
from app.services.solving import next_due_at, refusal_document

MARKETS = "markets"
_SETTLING_S = 30.0
"""A route requested before a change may become ready this long after it."""
_AT_ONCE = 50
_ROUND_S = 0.5


@dataclass(frozen=True, slots=True)
class _Task:
    route: LiveRoute
    snapshot: Snapshot
    is_due: bool


@dataclass(frozen=True, slots=True)
class _Look:
    at: float
    snapshot_id: UUID
    outlook: Outlook | None


@dataclass(frozen=True, slots=True)
class _Posed:
    task: _Task
    problem: Problem
    known: Solved
    market: MarketForecast | None


@dataclass(frozen=True, slots=True)
class _Answer:
    task: _Task
    revision: Revision | None
    next_due_at: datetime | None
    reason: str | None = None


class Reviser:
    """Gives live routes a new revision once it differs from the one they have.

    Routes that wait for their first fill follow the market. So do routes with a schedule until they end; those are
    looked at, too, when a slice is due and when a fill came in. When that is stands in Postgres: whatever dies, the
    next round of any worker finds it.
    """

    def __init__(
        self,
        database: Database,
        state: MarketState,
        outlooks: Outlooks,
        listener: Listener,
        clock: Clock,
        *,
        pipeline: PipelineSettings,
        relay: bool,
    ) -> None:
        self._database = database
        self._state = state
        self._outlooks = outlooks
        self._listener = listener
        self._clock = clock
        self._pipeline = pipeline
        self._relay = relay
        self._digests: dict[UUID, str] = {}
        self._looked_at: dict[UUID, _Look] = {}
        self._revision = -1
        self._settled_at = 0.0
        self._due_at: float | None = None

    def wakers(self) -> tuple[asyncio.Event, ...]:
        """Make events of which one is set when there may be something to revise."""
        return self._listener.waker(MARKETS), self._listener.waker(revisions.DUE)

    def wait_s(self, most: float) -> float:
        """Tell how long to wait for a waker: until the next slice is due."""
        return most if self._due_at is None else min(max(self._due_at - time.monotonic(), 0.0), most)

    async def revise(self) -> int:
        """Do one round; answers how many routes got a new revision. Raises Unavailable."""
        await self._state.fresh()
        if self._state.revision != self._revision:
            self._revision = self._state.revision
            self._settled_at = time.monotonic() + _SETTLING_S
        async with self._database.connection() as connection:
            due = await revisions.due(connection, limit=_AT_ONCE)
        count = await self._revise([_Task(route, self._snapshot(route), is_due=True) for route in due])
        if self._due_at is not None or time.monotonic() <= self._settled_at:
            tasks = await self._moved({route.id for route in due})
            # What is due must not wait for all that moved: the rest is left to the next round.
            ends_at = time.monotonic() + _ROUND_S
            while tasks and time.monotonic() < ends_at:
                count += await self._revise(tasks[:_AT_ONCE])
                tasks = tasks[_AT_ONCE:]
        async with self._database.connection() as connection:
            wait_s = await revisions.next_due_s(connection)
        self._due_at = None if wait_s is None else time.monotonic() + wait_s
        return count

    def _snapshot(self, route: LiveRoute) -> Snapshot:
        return self._state.snapshot(Instrument.parse(route.instrument), route.max_hops)

    async def _moved(self, besides: set[UUID]) -> list[_Task]:
        async with self._database.connection() as connection:
            live = await revisions.live(connection, idle_s=self._pipeline.revise_s, limit=self._pipeline.revised_routes)
            unknown = {route.snapshot_id for route in live} - self._digests.keys()
            if unknown:
                self._digests.update(await revisions.market_digests(connection, list(unknown)))
        in_use = {route.snapshot_id for route in live}
        self._digests = {name: digest for name, digest in self._digests.items() if name in in_use}
        living = {route.id for route in live}
        self._looked_at = {name: seen for name, seen in self._looked_at.items() if name in living}
        tasks = []
        for route in live:
            if route.id in besides:
                continue
            snapshot = self._snapshot(route)
            look = self._looked_at.get(route.id)
            if look is None:
                outlook = None if route.outlook is None else read_outlook(orjson.loads(route.outlook))
                look = self._looked_at[route.id] = _Look(0.0, route.snapshot_id, outlook)
            has_moved = self._digests.get(route.snapshot_id) != snapshot.digest
            if (has_moved and look.snapshot_id != snapshot.id) or await self._has_turned(route, snapshot, look.outlook):
                tasks.append(_Task(route, snapshot, is_due=False))
        tasks.sort(key=lambda task: self._looked_at[task.route.id].at)
        return tasks

    async def _has_turned(self, route: LiveRoute, snapshot: Snapshot, planned_with: Outlook | None) -> bool:
        if route.outlook is None or planned_with is None:
            return False
        expected = await self._outlooks.expect(Instrument.parse(route.instrument), snapshot)
        return has_turned(planned_with, outlook_of(expected.market, ()))

    async def _revise(self, tasks: Sequence[_Task]) -> int:
        if not tasks:
            return 0
        async with self._database.connection() as connection:
            known = await revisions.solved(connection, [task.route for task in tasks])
        posed = [await self._pose(task, known[task.route.id]) for task in tasks if task.route.id in known]
        for each in posed:
            task = each.task
            self._looked_at[task.route.id] = _Look(time.monotonic(), task.snapshot.id, each.problem.outlook)
        answers = await asyncio.to_thread(lambda: [self._solve(each) for each in posed])
        made = [(answer.revision, answer.task) for answer in answers if answer.revision is not None]
        unchanged = [
            Postponed(answer.task.route, answer.next_due_at, answer.reason)
            for answer in answers
            if answer.revision is None and answer.task.is_due
        ]
        if unchanged:
            async with self._database.connection() as connection:
                await revisions.postpone(connection, unchanged)
        if not made:
            return 0
        async with self._database.transaction() as connection:
            for snapshot in {task.snapshot.id: task.snapshot for _, task in made}.values():
                if not snapshot.is_stored:
                    await routes.store_snapshot(connection, snapshot.to_store())
            count = await revisions.revise(connection, [revision for revision, _ in made], relay=self._relay)
        for _, task in made:
            task.snapshot.mark_stored()
        return count

    async def _pose(self, task: _Task, known: Solved) -> _Posed:
        trade = TradeIn.model_validate_json(known.trade).to_domain()
        now = self._clock.now()
        if task.is_due and task.route.due_at is not None:
            # The clock of the database may be ahead of this one.
            now = max(now, task.route.due_at)
        inputs = read_inputs(orjson.loads(known.inputs)) if known.inputs is not None else {}
        began_at = inputs.get("began_at") or now
        outlook, market = inputs.get("outlook", Outlook()), None
        if trade.schedule.kind is not ScheduleKind.IMMEDIATE:
            expected = await self._outlooks.expect(trade.instrument, task.snapshot)
            market = expected.market
            outlook = outlook_of(market, await self._outlooks.profile(trade, began_at))
        problem = Problem(
            trade=trade,
            markets=task.snapshot.prepared,
            decimals=task.snapshot.decimals,
            as_of=now,
            outlook=outlook,
            began_at=began_at,
            executed=known.received if trade.is_exact_out else known.sent,
            spent={trade.gives: known.sent} if known.sent else {},
        )
        return _Posed(task, problem, known, market)

    def _solve(self, posed: _Posed) -> _Answer:
        task, problem, known, market = posed.task, posed.problem, posed.known, posed.market
        following = next_due_at(problem)
        nothing = _Answer(task, None, following)
        should_stop = Deadline(self._pipeline.solve_timeout_ms)
        began = time.perf_counter()
        try:
            solution = solve(problem, should_stop)
        except NothingLeft:
            return nothing
        except SolverError as error:
            # The market may satisfy the trade again before it expires; until then the last revision stands, with the
            # reason beside it where a schedule cannot go on.
            return _Answer(task, None, following, orjson.dumps(refusal_document(error)).decode())
        except Exception as error:
            # One route that cannot be solved must not keep all others from being.
            telemetry.unexpected_error(f"revision of route {task.route.id}", error)
            return nothing
        spent_s = time.perf_counter() - began
        telemetry.solved("revision", spent_s)
        fresh = solution_document(solution, now=problem.as_of or self._clock.now())
        if not is_new(problem.trade.schedule, orjson.loads(known.document), fresh, is_due=task.is_due):
            return nothing
        revision = Revision(
            route_id=task.route.id,
            replaces=task.route.revision,
            snapshot_id=task.snapshot.id,
            document=orjson.dumps(fresh).decode(),
            timings=orjson.dumps({**orjson.loads(known.timings), "solve": round(spent_s * 1e3, 3)}).decode(),
            inputs=orjson.dumps(inputs_document(problem, should_stop.polls)).decode(),
            gap_bps=solution.certificate.gap_bps,
            due_at=task.route.due_at,
            next_due_at=following,
            forecast=None if market is None else _forecast_text(market, problem.trade),
        )
        return _Answer(task, revision, following)


def _forecast_text(market: MarketForecast, trade: Trade) -> str:
    return orjson.dumps(document(for_trade(market, trade))).decode()
