"""Simpler ways to trade a pair: on one market alone, or split over two."""

from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal

from app.domain.solution import Alternative
from app.domain.solver.exact import down, up
from app.domain.solver.explain import alternative
from app.domain.solver.plan import Plan, Planner
from app.domain.solver.twofold import split_in_two

Keeps = Callable[[Decimal, Decimal, Iterable[int]], bool]
"""Says whether what is sent and received on some markets keeps the trade's bounds on price and funds."""


def simpler_ways(planner: Planner, planned: Plan, keeps: Keeps) -> Iterator[Alternative]:
    """State what a plan saves against the best market alone and the best two, each within the trade's bounds."""
    trade, execution = planner.trade, planned.execution
    exact_out, worth = trade.is_exact_out, float(planned.value)
    if planned.alone is not None:
        market, fill, alone = planned.alone
        if keeps(fill.sends, fill.receives, (market,)):
            amount = fill.sends if exact_out else fill.receives
            yield alternative("best_single_market", trade, amount, float(alone), worth)
    if len(execution.fills) == 2:
        amount = execution.sends if exact_out else execution.receives
        yield alternative("best_two_way_split", trade, amount, worth, worth)
    if len(execution.fills) <= 2 or planner.price_first:
        return
    split = split_in_two(planner.pair, planned.relaxed, planner.bounds, float(planned.target), exact_out)
    if split is None:
        return
    sends, receives = up(Decimal(split.sends), planner.units.given), down(Decimal(split.receives), planner.units.taken)
    if keeps(sends, receives, split.used):
        amount, value = (sends, -split.value) if exact_out else (receives, split.value)
        yield alternative("best_two_way_split", trade, amount, value, worth)
