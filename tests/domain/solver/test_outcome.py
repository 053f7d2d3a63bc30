from dataclasses import replace

import pytest

from app.domain.schedule.outlook import Outlook
from app.domain.solution import Solution
from app.domain.trade import Schedule
from tests.domain.solver.markets import trade
from tests.domain.solver.schedules import plan, scheduled


def test_other_ways_are_told_with_what_the_schedule_saves() -> None:
    outlook = Outlook(sigma=1e-4)
    solution = plan(scheduled(trade("buy", "10"), "is", risk_aversion=0.1), outlook=outlook)
    even = plan(scheduled(trade("buy", "10"), "twap", risk_aversion=0.1), outlook=outlook)
    ways = {way.name: way for way in solution.explanation.alternatives}
    assert ways["twap"].amount == even.sends
    assert not ways["twap"].receives
    worth = float(solution.arrival_price) * 10

    def objective(each: Solution) -> float:
        return float(each.schedule.expected_cost) + 0.1 * float(each.schedule.cost_sd) ** 2

    assert ways["twap"].saving_bps == pytest.approx((objective(even) - objective(solution)) / worth * 1e4, rel=1e-6)
    at_once = plan(replace(trade("buy", "10"), schedule=Schedule()))
    assert ways["immediate"].amount == at_once.sends
    assert ways["immediate"].saving_bps > 0


def test_the_frontier_passes_through_the_schedule() -> None:
    wanted = scheduled(trade("buy", "10"), "is", risk_aversion=0.1)
    solution = plan(wanted, outlook=Outlook(sigma=1e-4))
    own = solution.schedule.frontier[2]
    assert own.risk_aversion == 0.1
    assert float(own.expected_cost) == pytest.approx(float(solution.schedule.expected_cost), rel=1e-6)
    assert float(own.cost_sd) == pytest.approx(float(solution.schedule.cost_sd), rel=1e-6)
