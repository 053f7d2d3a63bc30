"""What a planned and routed schedule amounts to: totals, expected cost and risk, the frontier, simpler ways."""

import math
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import numpy as np

from app.domain.bars import FloatArray
from app.domain.errors import Infeasible
from app.domain.schedule.pacing import Market, divide, even
from app.domain.schedule.planning import Planning
from app.domain.solution import Alternative, FrontierPoint, ScheduleCost, Slice, Solution
from app.domain.solver.exact import BASIS_POINTS, ONE, ZERO, ratio
from app.domain.solver.problem import Problem
from app.domain.solver.slicing import Part, SliceRouter, Tally, Unroutable
from app.domain.trade import ScheduleKind, Side
from app.domain.values import Amount, Asset

FRONTIER = (0.0, 0.1, 1.0, 10.0, 100.0)
"""Risk aversions of the frontier, relative to the trade's own or, where it has none, to one that fits the order."""

STATED_DIGITS = 12


def stated(
    problem: Problem,
    planning: Planning,
    router: SliceRouter,
    parts: Sequence[Part],
    left: Decimal,
    binding: tuple[str, ...],
) -> Solution:
    """State the whole schedule; the first part has a route, `left` is what lots left of the last."""
    return _Outcome(problem, planning, router, parts).state(left, binding)


class _Outcome:
    def __init__(self, problem: Problem, planning: Planning, router: SliceRouter, parts: Sequence[Part]) -> None:
        self.trade, self.decimals = problem.trade, problem.decimals
        self.planning, self.router, self.parts = planning, router, parts
        self.time = planning.time
        self.tally = router.tally(parts)
        self.market = planning.market(self.time)
        self.amounts = self._per_slice(parts, self.tally)
        costs = self.tally.costs
        drift = self.market.drift * float((self.market.wait_s * self.amounts).sum())
        self.expected_cost = costs.fees + costs.impact + costs.fixed + _short(drift)
        self.variance = self.market.variance_of(self.amounts)

    def state(self, left: Decimal, binding: tuple[str, ...]) -> Solution:
        trade, tally, time = self.trade, self.tally, self.time
        first = self.parts[0].solution
        assert first is not None
        buys = trade.side is Side.BUY
        arrival, sends, receives = first.arrival_price, tally.sends, tally.receives
        slippage = ZERO
        if arrival:
            slippage = sends / (arrival * receives) - ONE if buys else ONE - receives / (arrival * sends)
        slices = tuple(
            Slice(
                time.at(part.k),
                part.quantity,
                part.k != time.due,
                () if part.solution is None else part.solution.slices[0].legs,
            )
            for part in self.parts
        )
        why = first.explanation
        return replace(
            first,
            sends=Amount(trade.gives, sends),
            receives=Amount(trade.takes, receives),
            effective_price=ratio(sends, receives) if buys else ratio(receives, sends),
            slippage_bps=float(slippage * BASIS_POINTS),
            residuals=self._residuals(left),
            costs=tally.costs,
            slices=slices,
            schedule=ScheduleCost(self.expected_cost, _short(math.sqrt(self.variance)), self._frontier()),
            explanation=replace(
                why,
                alternatives=(*why.alternatives, *self._alternatives()),
                binding=tuple(dict.fromkeys((*binding, *why.binding))),
            ),
        )

    def _per_slice(self, parts: Sequence[Part], tally: Tally) -> FloatArray:
        amounts = np.zeros(len(self.time.left))
        for part, base in zip(parts, tally.base, strict=True):
            amounts[part.k - self.time.due] = float(base)
        return amounts

    def _residuals(self, left: Decimal) -> dict[Asset, Decimal]:
        residuals: dict[Asset, Decimal] = {}
        for part in self.parts:
            for asset, amount in part.solution.residuals.items() if part.solution is not None else ():
                if asset != self.trade.gives:
                    residuals[asset] = residuals.get(asset, ZERO) + amount
        if left > 0 and not self.trade.is_exact_out:
            residuals[self.trade.gives] = left
        return residuals

    def _frontier(self) -> tuple[FrontierPoint, ...]:
        total = float(self.amounts.sum())
        scale = self.trade.schedule.risk_aversion or self.market.natural_risk_aversion(total)
        most = self.planning.most(self.time.due)
        # What routes cost beyond the fitted impact is the same wherever on the frontier.
        beyond = float(self.expected_cost) - self.market.cost(self.amounts)
        points: list[FrontierPoint] = []
        cost, deviation = -math.inf, math.inf
        for multiple in FRONTIER:
            amounts = self.market.best(total, scale * multiple, most) * total
            # Schedules of neighbouring aversions may be the same but for rounding.
            cost = max(cost, self.market.cost(amounts) + beyond)
            deviation = min(deviation, math.sqrt(self.market.variance_of(amounts)))
            points.append(FrontierPoint(scale * multiple, _short(cost), _short(deviation)))
        return tuple(points)

    def _alternatives(self) -> list[Alternative]:
        if len(self.time.left) == 1:
            return []
        quantity = sum((part.quantity for part in self.parts), ZERO)
        found: list[Alternative] = []
        if self.trade.schedule.kind is not ScheduleKind.TWAP:
            self._add_twap(quantity, found)
        if self.router.can_route(quantity):
            solved = self.router.route(quantity)
            if not isinstance(solved, Infeasible):
                costs = solved.costs
                dearer = float(costs.fees + costs.impact + costs.fixed - self.expected_cost)
                risked = self.trade.schedule.risk_aversion * self.variance
                found.append(
                    self._alternative("immediate", self.router.tally([Part(0, quantity, solved)]), dearer - risked)
                )
        return found

    def _add_twap(self, quantity: Decimal, found: list[Alternative]) -> None:
        planning, due = self.planning, self.time.due
        limits = planning.limits(due)
        most = planning.most(due) / (float(quantity) * planning.base_per_unit)
        amounts = divide(quantity, even(np.ones(len(most)), most), planning.grid, limits)
        slices = [(k, amount) for k, amount in zip(self.time.left, amounts, strict=True) if amount]
        if not slices or not self.router.can_route(slices[0][1]):
            return
        try:
            parts, _ = self.router.walk(slices)
        except Unroutable:
            return
        tally = self.router.tally(parts)
        spread = self._per_slice(parts, tally)
        # Both ways on the same model of impact: routes of this moment know nothing of volume to come.
        dearer = self._objective(self.market, spread) - self._objective(self.market, self.amounts)
        found.append(self._alternative("twap", tally, dearer))

    def _objective(self, market: Market, amounts: FloatArray) -> float:
        return market.cost(amounts) + self.trade.schedule.risk_aversion * market.variance_of(amounts)

    def _alternative(self, name: str, tally: Tally, dearer: float) -> Alternative:
        trade = self.trade
        amount = Amount(trade.gives, tally.sends) if trade.is_exact_out else Amount(trade.takes, tally.receives)
        worth = float(self.amounts.sum()) * self.market.price
        return Alternative(name, amount, not trade.is_exact_out, max(dearer / worth * 1e4, 0.0) if worth else 0.0)


def _short(value: float) -> Decimal:
    return Decimal(f"{value:.{STATED_DIGITS}g}")
