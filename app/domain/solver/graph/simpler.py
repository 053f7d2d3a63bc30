"""Simpler ways to trade over the graph: one market alone, one path alone, a split over two paths."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal

import numpy as np

from app.domain.solution import Alternative
from app.domain.solver.exact import down, up
from app.domain.solver.explain import alternative
from app.domain.solver.graph.flows import Flow
from app.domain.solver.graph.planning import GraphPlan, GraphPlanner
from app.domain.solver.graph.rules import rules_of
from app.domain.solver.graph.splits import along

Keeps = Callable[[Decimal, Decimal, Sequence[int]], bool]
"""Says whether what is sent and received over some directions keeps the trade's bounds on price and funds."""


def simpler_ways(planner: GraphPlanner, planned: GraphPlan, keeps: Keeps) -> Iterator[Alternative]:
    """State what the route saves against one market, one path, and two paths, each within the trade's bounds."""
    exact_out = planner.trade.is_exact_out
    if planned.alone is not None:
        journey, worth = planned.alone
        used = [step.direction for step in journey.steps]
        if keeps(journey.sends, journey.receives, used):
            name = "best_single_market" if len(used) == 1 else "best_single_path"
            amount = journey.sends if exact_out else journey.receives
            if len(used) > 1:
                alone = _best_market(planner, planned)
                if alone is not None:
                    yield from _stated(planner, planned, "best_single_market", *alone, keeps)
            yield alternative(name, planner.trade, amount, worth, planned.value)
    split = planner.split_in_two(float(planned.target), exact_out)
    if split is not None:
        yield from _stated(planner, planned, "best_two_way_split", *split, keeps)


def _stated(
    planner: GraphPlanner, planned: GraphPlan, name: str, about: float, flow: Flow, keeps: Keeps
) -> Iterator[Alternative]:
    trade, exact_out = planner.trade, planner.trade.is_exact_out
    used = list(flow)
    if exact_out:
        amount = up(Decimal(about), planner.network.unit(trade.gives))
        sends, receives = amount, planned.target
    else:
        amount = down(Decimal(about), planner.network.unit(trade.takes))
        sends, receives = planned.target, amount
    aside = Decimal(_cost(planner, planned, used))
    worth = amount + aside if exact_out else amount - aside
    seems_better = worth < planned.value if exact_out else worth > planned.value
    if seems_better or any(planner.network.in_steps[e] for e in used):
        # Floats leave out what is rounded on the way: what could not be done must not be held against the route.
        journey = planner.simulate(flow, planned.target, exact_out)
        if journey is None:
            return
        sends, receives = journey.sends, journey.receives
        amount, worth = sends if exact_out else receives, planner.value(journey, planned.prices, exact_out)
    if amount > 0 and keeps(sends, receives, used):
        yield alternative(name, trade, amount, worth, planned.value)


def _cost(planner: GraphPlanner, planned: GraphPlan, used: Iterable[int]) -> float:
    costs, market = planner.costs(planned.prices, planner.trade.is_exact_out), planner.network.market
    return sum({int(market[e]): float(costs[e]) for e in used}.values())


def _best_market(planner: GraphPlanner, planned: GraphPlan) -> tuple[float, Flow] | None:
    network, exact_out = planner.network, planner.trade.is_exact_out
    direct = np.flatnonzero(planner.kept & (network.source == planner.start) & (network.sink == planner.end))
    costs = planner.costs(planned.prices, exact_out)
    rules, amount = rules_of(network), float(planned.target)
    best: tuple[float, float, int] | None = None
    for e in direct.tolist():
        brought = along(
            network.segments, network.first, rules.lot, rules.least, rules.base_is_taken, np.array([e]), amount,
            exact_out,
        )  # fmt: skip
        if not 0.0 < brought < np.inf:
            continue
        value = -brought - costs[e] if exact_out else brought - costs[e]
        if best is None or value > best[0]:
            best = value, brought, e
    return None if best is None else (best[1], {best[2]: 1.0})
