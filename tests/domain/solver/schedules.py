"""Scheduled trades that begin at noon, and their plans."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from app.domain.market import Market
from app.domain.schedule.outlook import Outlook
from app.domain.solution import Solution
from app.domain.solver import Problem, prepare, solve
from app.domain.trade import Schedule, ScheduleKind, Trade
from app.domain.values import Asset
from tests.domain.solver.markets import pool

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
DEEP = pool("deep", "1000", "100000")
CALM = Outlook(sigma=1e-5)


def scheduled(wanted: Trade, kind: str, slices: int = 4, *, horizon_s: float = 400.0, **more: Any) -> Trade:
    """Spread a trade over time."""
    return replace(wanted, schedule=Schedule(ScheduleKind(kind), horizon_s, slices, **more))


def plan(
    wanted: Trade,
    markets: Sequence[Market] = (DEEP,),
    outlook: Outlook = CALM,
    *,
    after_s: float = 0.0,
    executed: str | Decimal = "0",
    spent: Mapping[Asset, Decimal] | None = None,
    decimals: Mapping[Asset, int] | None = None,
) -> Solution:
    """Plan a trade on these markets, `after_s` seconds past noon."""
    ready = tuple(prepared for market in markets if (prepared := prepare(market)) is not None)
    return solve(
        Problem(
            wanted,
            ready,
            decimals or {},
            as_of=NOON + timedelta(seconds=after_s),
            outlook=outlook,
            began_at=NOON,
            executed=Decimal(executed),
            spent=spent or {},
        )
    )


def quantities(solution: Solution) -> list[Decimal]:
    """Take how much each slice does."""
    return [part.quantity for part in solution.slices]


def offsets_s(solution: Solution) -> list[float]:
    """Take when each slice is due, in seconds past noon."""
    return [(part.at - NOON).total_seconds() for part in solution.slices if part.at is not None]
