"""What a route over the graph is measured by: the arrival price and the proof."""

from datetime import datetime
from decimal import Decimal

import numpy as np

from app.domain.market import OrderBook
from app.domain.solution import Certificate
from app.domain.solver.certificate import NO_GAP_BPS
from app.domain.solver.exact import BASIS_POINTS, ONE, ZERO, short_down, short_up
from app.domain.solver.graph.network import Flags, Network
from app.domain.solver.graph.planning import GraphPlan, GraphPlanner
from app.domain.solver.graph.worth import middle
from app.domain.solver.kernels import EPSILON
from app.domain.trade import Constraints, Trade

USED = 1e-9


def arrival_price(network: Network, allowed: Flags, trade: Trade) -> Decimal:
    """Return the middle of the best zero-size buy and sell rates over the allowed ways, fees excluded."""
    instrument = trade.instrument
    return middle(network, allowed, instrument.base, instrument.quote, trade.constraints.max_hops)


def certify(planner: GraphPlanner, planned: GraphPlan, least_rate: float) -> Certificate:
    """State the bound of the relaxation, in the direction and against the value of the plan.

    Where a bound on the price stopped the fill at an amount of its own (`least_rate` > 0), no route of any amount
    receives more than `surplus * least_rate / (least_rate - rate)`.
    """
    relaxed, value = planned.relaxed, planned.value
    exact_out = planner.trade.is_exact_out
    bound = short_down(Decimal(max(relaxed.bound, 0.0))) if exact_out else short_up(Decimal(relaxed.bound))
    if least_rate and not exact_out:
        rate = float(relaxed.price[planner.start] / relaxed.price[planner.end])
        if rate < least_rate:
            leverage = least_rate / (least_rate - rate)
            reach = relaxed.idle_bound * leverage * (1.0 + 16.0 * EPSILON * (leverage + 1.0)) * (1.0 + 1e-12)
            bound = min(bound, short_up(Decimal(reach)))
    gap_bps = float(abs(bound / value - ONE) * BASIS_POINTS) if value else (NO_GAP_BPS if bound else 0.0)
    return Certificate(bound, gap_bps, _arbitrage(planner, planned), tuple(_relaxed_names(planner, planned)))


def _arbitrage(planner: GraphPlanner, planned: GraphPlan) -> Decimal:
    if not planner.relaxation.has_cycles:
        return ZERO
    least = min(planner.relaxation.idle_bound(planner.trade.is_exact_out), planned.relaxed.idle_bound)
    return short_up(Decimal(max(least, 0.0)))


def _relaxed_names(planner: GraphPlanner, planned: GraphPlan) -> list[str]:
    network = planner.network
    markets = [network.exchanges[i].market for i in np.unique(network.market[planner.kept])]
    books = [market for market in markets if isinstance(market, OrderBook)]
    names = ["funding_order"] if planner.relaxation.has_cycles else []
    names += planned.shortened
    if any(book.lot_size for book in books):
        names.append("lots")
    if any(book.min_quantity or book.min_notional for book in books):
        names.append("minimums")
    if any(market.fixed_cost is not None for market in markets):
        names.append("fixed_costs")
    sent = planned.relaxed.sent
    used = np.flatnonzero(sent > 0.0)
    worth = sent[used] * planned.relaxed.price[network.source[used]]
    busy = used[worth > USED * worth.max(initial=0.0)]
    counts = np.bincount(network.market[busy], minlength=len(network.exchanges))
    if bool((counts[network.shares] > 1).any()):
        names.append("shared_pools")
    return names


def excluded_names(
    network: Network, trade: Trade, as_of: datetime | None, allowed: Flags, planned: GraphPlan
) -> list[str]:
    """Name the selections that keep out a direction which pays better than the route's last unit."""
    if allowed.all():
        return []
    price = planned.relaxed.price
    free = network.allowed(Constraints(), as_of) & ~allowed
    with np.errstate(divide="ignore", invalid="ignore"):
        better = free & (np.log(price[network.sink]) + network.log_best > np.log(price[network.source]))
    better &= (network.sink != network.index[trade.gives]) & (network.source != network.index[trade.takes])
    names = set()
    for i in np.unique(network.market[better]):
        named = trade.constraints.venues.allows(network.exchanges[i].market.venue)
        names.add("markets" if named else "venues")
    return sorted(names)
