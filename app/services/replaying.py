"""Solve a stored route again, from what it was made from, and compare."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from app.domain.errors import Conflict, NotFound, SolverError
from app.domain.solver import Problem, solve
from app.infra.db import Database
from app.infra.repositories import solutions
from app.infra.repositories.solutions import StoredSolution
from app.services.documents import solution_document
from app.services.market_state import SnapshotReader
from app.services.schemas.trade import TradeIn
from app.services.solver_inputs import read_inputs, solver_version, stop_after


@dataclass(frozen=True, slots=True)
class Difference:
    """A place where the stored solution and the new one say different things; None where one says nothing."""

    pointer: str
    stored: Any
    now: Any


@dataclass(frozen=True, slots=True)
class Replay:
    """A stored solution and what the same problem gives now; `solution` is None where it is refused now."""

    route_id: UUID
    revision: int
    snapshot_id: UUID
    trade: dict[str, Any]
    solution: dict[str, Any] | None
    differences: tuple[Difference, ...]
    solver_then: str
    solver_now: str

    @property
    def identical(self) -> bool:
        """Say whether nothing differs."""
        return not self.differences


class Replaying:
    """Solves stored routes again. Nothing is written."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._snapshots = SnapshotReader(database)

    async def replay(self, route_id: UUID, revision: int | None = None) -> Replay:
        """Solve a revision of a route again, the newest unless said.

        Raises NotFound, Conflict where a version that kept too little stored it, Unavailable.
        """
        async with self._database.connection() as connection:
            stored = await solutions.revision(connection, route_id, revision)
        if stored is None:
            which = "has no solution" if revision is None else f"has no revision {revision}"
            raise NotFound(
                f"route {route_id} {which}, or there is no such route; `solver data read solution` lists them"
            )
        if stored.inputs is None:
            raise Conflict(
                f"revision {stored.revision} of route {route_id} was stored by a version that did not keep what it was "
                "made from; newer revisions can be replayed"
            )
        inputs = orjson.loads(stored.inputs)
        problem = await self._problem(stored, inputs)
        before = orjson.loads(stored.document)
        now, refusal = await asyncio.to_thread(_solve, problem, inputs["polls"])
        differences = tuple(_differences(before, now)) if now is not None else (Difference("", before, refusal),)
        return Replay(
            route_id,
            stored.revision,
            stored.snapshot_id,
            orjson.loads(stored.trade),
            now,
            differences,
            inputs["solver"],
            solver_version(),
        )

    async def _problem(self, stored: StoredSolution, inputs: dict[str, Any]) -> Problem:
        _, prepared, decimals = await self._snapshots.read(stored.snapshot_id)
        trade = TradeIn.model_validate_json(stored.trade).to_domain()
        return Problem(trade=trade, markets=prepared, decimals=decimals, **read_inputs(inputs))


def _solve(problem: Problem, polls: int | None) -> tuple[dict[str, Any] | None, str]:
    try:
        solution = solve(problem, stop_after(polls))
    except SolverError as error:
        return None, error.detail
    assert problem.as_of is not None
    # Through JSON, so that only what is stored is compared.
    return orjson.loads(orjson.dumps(solution_document(solution, now=problem.as_of))), ""


def _differences(stored: Any, now: Any, pointer: str = "") -> Iterator[Difference]:
    if isinstance(stored, dict) and isinstance(now, dict):
        for name in sorted(stored.keys() | now.keys()):
            yield from _differences(stored.get(name), now.get(name), f"{pointer}/{name}")
    elif isinstance(stored, list) and isinstance(now, list):
        for number in range(max(len(stored), len(now))):
            left, right = (each[number] if number < len(each) else None for each in (stored, now))
            yield from _differences(left, right, f"{pointer}/{number}")
    elif stored != now:
        yield Difference(pointer, stored, now)
