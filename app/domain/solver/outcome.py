"""What a planned and routed schedule amounts to: totals, expected cost and risk, the frontier, simpler ways."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np

from app.domain.bars import FloatArray
from app.domain.schedule.pacing import divide, even
from app.domain.schedule.planning import Planning
from app.domain.solution import Alternative, FrontierPoint, ScheduleCost, Slice, Solution
from app.domain.solver.bounds import slippage_bps
from app.domain.solver.exact import ZERO, ratio
from app.domain.solver.slicing import Part, SliceRouter, Tally
from app.domain.trade import ScheduleKind, Side, Trade
from app.domain.values import Amount, Asset

FRONTIER = (0.0, 0.1, 1.0, 10.0, 100.0)
"""Risk aversions of the frontier, relative to the trade's own or, where it has none, to one that fits the order."""

MOST_AVERSION = 1e50
"""Beyond this nothing but risk counts, and products with it overflow."""

STATED_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Worth:
    """What slices are expected to cost in quote, its variance, and the base each slice exchanges."""

    expected_cost: Decimal
    variance: float
    amounts: FloatArray

    def objective(self, risk_aversion: float) -> float:
        """Return expected cost plus risk aversion times variance."""
        return float(self.expected_cost) + risk_aversion * self.variance


def valued(planning: Planning, parts: Sequence[Part], tally: Tally) -> Worth:
    """Value routed slices: what they cost on markets as they are, at the volume of their times, with the drift."""
    expected, due = planning.expectation(planning.time), planning.time.due
    amounts, losses = np.zeros(len(planning.time.left)), np.zeros(len(planning.time.left))
    for part, base, lost in zip(parts, tally.base, tally.lost, strict=True):
        amounts[part.k - due], losses[part.k - due] = float(base), float(lost)
    later = expected.drift * float((expected.wait_s * amounts).sum()) + expected.volume_effect(
        amounts, losses, planning.spread
    )
    costs = tally.costs
    return Worth(costs.fees + costs.impact + costs.fixed + _short(later), expected.variance_of(amounts), amounts)


def evenly(planning: Planning, quantity: Decimal) -> list[tuple[int, Decimal]]:
    """Spread a quantity evenly over the slices left, within their limits."""
    due = planning.time.due
    most = planning.most(due) / (float(quantity) * planning.base_per_unit)
    amounts = divide(quantity, even(np.ones(len(most)), most), planning.grid, planning.limits(due))
    return [(k, amount) for k, amount in zip(planning.time.left, amounts, strict=True) if amount]


def state(
    trade: Trade,
    planning: Planning,
    router: SliceRouter,
    parts: Sequence[Part],
    left: Decimal,
    binding: Sequence[str],
) -> Solution:
    """State the whole schedule; the first part has a route, `left` is what lots left of the last."""
    first = parts[0].solution
    if first is None:
        raise ValueError("the first slice has no route")
    buys, time = trade.side is Side.BUY, planning.time
    tally = router.tally(parts)
    worth = valued(planning, parts, tally)
    arrival, sends, receives = first.arrival_price, tally.sends, tally.receives
    slippage = slippage_bps(sends, receives, arrival, buys=buys) if arrival else ZERO
    slices = tuple(
        Slice(
            time.at(part.k),
            part.quantity,
            part.k != time.due,
            () if part.solution is None else part.solution.slices[0].legs,
        )
        for part in parts
    )
    why = first.explanation
    return replace(
        first,
        sends=Amount(trade.gives, sends),
        receives=Amount(trade.takes, receives),
        effective_price=ratio(sends, receives) if buys else ratio(receives, sends),
        slippage_bps=float(slippage),
        residuals=_residuals(trade, parts, left),
        costs=tally.costs,
        slices=slices,
        schedule=ScheduleCost(
            worth.expected_cost, _short(math.sqrt(worth.variance)), _frontier(trade, planning, worth)
        ),
        explanation=replace(
            why,
            alternatives=(*why.alternatives, *_alternatives(trade, planning, router, parts, worth)),
            binding=tuple(dict.fromkeys((*binding, *why.binding))),
        ),
    )


def _residuals(trade: Trade, parts: Sequence[Part], left: Decimal) -> dict[Asset, Decimal]:
    residuals: dict[Asset, Decimal] = {}
    for part in parts:
        for asset, amount in part.solution.residuals.items() if part.solution is not None else ():
            if asset != trade.gives:
                residuals[asset] = residuals.get(asset, ZERO) + amount
    if left > 0 and not trade.is_exact_out:
        residuals[trade.gives] = left
    return residuals


def _frontier(trade: Trade, planning: Planning, worth: Worth) -> tuple[FrontierPoint, ...]:
    expected, total = planning.expectation(planning.time), float(worth.amounts.sum())
    scale = min(trade.schedule.risk_aversion, MOST_AVERSION) or expected.natural_risk_aversion(total)
    most = planning.most(planning.time.due)
    # What routes cost beyond the fitted impact is the same wherever on the frontier.
    beyond = float(worth.expected_cost) - expected.cost(worth.amounts)
    points: list[FrontierPoint] = []
    cost, deviation = -math.inf, math.inf
    for multiple in FRONTIER:
        amounts = expected.best(total, scale * multiple, most) * total
        # Schedules of neighbouring aversions may be the same but for rounding.
        cost = max(cost, expected.cost(amounts) + beyond)
        deviation = min(deviation, math.sqrt(expected.variance_of(amounts)))
        points.append(FrontierPoint(scale * multiple, _short(cost), _short(deviation)))
    return tuple(points)


def _alternatives(
    trade: Trade, planning: Planning, router: SliceRouter, parts: Sequence[Part], worth: Worth
) -> list[Alternative]:
    if len(planning.time.left) == 1:
        return []
    quantity = sum((part.quantity for part in parts), ZERO)
    ways = {"immediate": [(planning.time.due, quantity)]}
    if trade.schedule.kind is not ScheduleKind.TWAP:
        ways = {"twap": evenly(planning, quantity), **ways}
    price = planning.price * float(worth.amounts.sum())
    aversion = min(trade.schedule.risk_aversion, MOST_AVERSION)
    found: list[Alternative] = []
    for name, slices in ways.items():
        walked = router.attempt(slices)
        if walked is None or sum((part.quantity for part in walked[0]), ZERO) + walked[1] < quantity:
            continue
        tally = router.tally(walked[0])
        other = valued(planning, walked[0], tally)
        dearer = float(other.expected_cost - worth.expected_cost) + aversion * (other.variance - worth.variance)
        amount = Amount(trade.gives, tally.sends) if trade.is_exact_out else Amount(trade.takes, tally.receives)
        saving_bps = max(dearer / price * 1e4, 0.0) if price else 0.0
        found.append(Alternative(name, amount, not trade.is_exact_out, saving_bps))
    return found


def _short(value: float) -> Decimal:
    return Decimal(f"{value:.{STATED_DIGITS}g}")
