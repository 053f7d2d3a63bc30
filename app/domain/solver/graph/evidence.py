"""What a route over the graph is measured by: the arrival price and the proof."""

from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

import numpy as np

from app.domain.solution import Certificate
from app.domain.solver.certificate import NO_GAP_BPS
from app.domain.solver.exact import BASIS_POINTS, ONE, short_down, short_up
from app.domain.solver.graph.bounding import Bounded
from app.domain.solver.graph.kinks import on_kinks
from app.domain.solver.graph.network import Flags, Network
from app.domain.solver.graph.planning import GraphPlan, GraphPlanner
from app.domain.solver.graph.worth import middle
from app.domain.solver.kernels import EPSILON, Floats
from app.domain.trade import Constraints, Trade

USED = 1e-9
CLOSE = 3e-7
"""The share of its value that a route's gap may be before prices beside kinks are looked for."""
SHARE, ROUNDS = 0.1, 3
"""The share of the gap that is to be lost beside kinks, or to have been won, for more to be tried, and how often."""


def arrival_price(network: Network, allowed: Flags, trade: Trade) -> Decimal:
    """Return the middle of the best zero-size buy and sell rates over the allowed ways, fees excluded."""
    instrument = trade.instrument
    return middle(network, allowed, instrument.base, instrument.quote, trade.constraints.max_hops)


def certify(planner: GraphPlanner, planned: GraphPlan, least_rate: float) -> Certificate:
    """State the tightest bound found, in the direction and against the value of the plan.

    Where a bound on the price stopped the fill at an amount of its own (`least_rate` > 0), no route of any amount
    receives more than `surplus * least_rate / (least_rate - rate)`.
    """
    value = planned.value
    exact_out = planner.trade.is_exact_out
    proof = _prove(planner, planned, of_any_amount=least_rate > 0.0)
    bound = short_down(Decimal(max(proof.bound, 0.0))) if exact_out else short_up(Decimal(proof.bound))
    if least_rate and not exact_out and proof.rate < least_rate:
        leverage = least_rate / (least_rate - proof.rate)
        reach = proof.surplus * leverage * (1.0 + 16.0 * EPSILON * (leverage + 1.0)) * (1.0 + 1e-12)
        bound = min(bound, short_up(Decimal(reach)))
    gap_bps = float(abs(bound / value - ONE) * BASIS_POINTS) if value else (NO_GAP_BPS if bound else 0.0)
    arbitrage = short_up(Decimal(max(proof.arbitrage, 0.0)))
    return Certificate(bound, gap_bps, arbitrage, tuple(_relaxed_names(planner, planned)))


class _Proof(NamedTuple):
    bound: float
    surplus: float
    rate: float
    arbitrage: float
    price: Floats


def _prove(planner: GraphPlanner, planned: GraphPlan, *, of_any_amount: bool) -> _Proof:
    proof = _proven(planner, planned, of_any_amount=of_any_amount)
    value, exact_out = float(planned.value), planner.trade.is_exact_out
    stated = planner.start if exact_out else planner.end
    shares = _shares(planner)
    # Around cycles that pay, the flows behind the prices are not the route's; and what leaving legs out has cost no
    # price can show.
    if planner.relaxation.has_cycles or (planned.shortened and not shares):
        return proof
    for _ in range(ROUNDS):
        gap = abs(proof.bound - value)
        if gap <= CLOSE * value:
            break
        again = _again(planner, planned, proof, SHARE * gap * float(proof.price[stated]), of_any_amount=of_any_amount)
        gained = 0.0 if again is None else (again.bound - proof.bound) * (1.0 if exact_out else -1.0)
        if again is None or not gained > 0.0:
            break
        proof = again
        if gained < SHARE * gap:
            break
    if of_any_amount or not shares or abs(proof.bound - value) <= CLOSE * value:
        return proof
    return _from_idle(planner, planned, proof)


def _from_idle(planner: GraphPlanner, planned: GraphPlan, proof: _Proof) -> _Proof:
    # From the prices of no order a descent meets other kinks.
    bounding, exact_out, best = planner.relaxation.bounding, planner.trade.is_exact_out, proof
    if bounding.idle is None:
        return best
    price, value = bounding.idle.price, float(planned.value)
    gap = np.inf
    for _ in range(ROUNDS + 1):
        tight = bounding.tighten(price, float(planned.target), exact_out=exact_out)
        found = _stated(planner, planned, tight, proof.arbitrage)
        gained, gap, price = gap - abs(found.bound - value), abs(found.bound - value), found.price
        if gap < abs(best.bound - value):
            best = found
        if gap <= CLOSE * value or not gained > SHARE * gap:
            break
    return best


def _again(
    planner: GraphPlanner, planned: GraphPlan, proof: _Proof, least: float, *, of_any_amount: bool
) -> _Proof | None:
    if _shares(planner):
        # Begun afresh, a descent sees more markets at work than where it came to rest.
        least = 0.0
    with np.errstate(all="ignore"):
        price = on_kinks(planner.network, planned.relaxed, proof.price, least)
        if price is None or not planner.relaxation.bounding.is_priced(price):
            return None
        tight = planner.relaxation.bounding.tighten(
            price, float(planned.target), exact_out=planner.trade.is_exact_out, of_any_amount=of_any_amount
        )
    return _stated(planner, planned, tight, proof.arbitrage)


def _stated(planner: GraphPlanner, planned: GraphPlan, tight: Bounded, arbitrage: float) -> _Proof:
    start, end, exact_out = planner.start, planner.end, planner.trade.is_exact_out
    bound = tight.bound(start, end, float(planned.target), exact_out=exact_out)
    surplus = tight.idle_bound(start if exact_out else end)
    return _Proof(bound, surplus, tight.rate(start, end), arbitrage, tight.price)


def _shares(planner: GraphPlanner) -> bool:
    network = planner.network
    return bool(network.shares[network.market[planner.kept]].any())


def _proven(planner: GraphPlanner, planned: GraphPlan, *, of_any_amount: bool) -> _Proof:
    relaxed = planned.relaxed
    start, end, exact_out = planner.start, planner.end, planner.trade.is_exact_out
    has_cycles = planner.relaxation.has_cycles
    with np.errstate(all="ignore"):
        rate = float(relaxed.price[start] / relaxed.price[end])
    known = _Proof(relaxed.bound, relaxed.idle_bound, rate, relaxed.idle_bound if has_cycles else 0.0, relaxed.price)
    if not has_cycles and not _shares(planner):
        return known
    bounding, amount = planner.relaxation.bounding, float(planned.target)
    begun, arbitrage = relaxed.price, 0.0
    if has_cycles:
        idle = bounding.idle
        if idle is None:
            return known
        begun, arbitrage = idle.price, idle.idle_bound(end)
        if exact_out and arbitrage >= amount:
            return _Proof(0.0, idle.idle_bound(start), idle.rate(start, end), arbitrage, idle.price)
    elif not bounding.is_priced(begun):
        return known
    tight = bounding.tighten(begun, amount, exact_out=exact_out, of_any_amount=of_any_amount)
    proof = _stated(planner, planned, tight, arbitrage)
    return proof if np.isfinite(proof.bound) else known


def _relaxed_names(planner: GraphPlanner, planned: GraphPlan) -> list[str]:
    network = planner.network
    names = ["funding_order"] if planner.relaxation.has_cycles else []
    names += [*planned.shortened, *planner.relaxation.rules]
    if not network.shares.any():
        return names
    if planner.relaxation.bounding.allows_more:
        # What is kept of a pool is what ways of so many hops may use.
        names.append("max_hops")
    sent = planned.relaxed.sent
    used = np.flatnonzero(sent > 0.0)
    worth = sent[used] * planned.relaxed.price[network.source[used]]
    busy = used[worth > USED * worth.max(initial=0.0)]
    counts = np.bincount(network.market[busy], minlength=len(network.exchanges))
    if bool((counts[network.shares] > 1).any()):
        names.append("shared_pools")
    return list(dict.fromkeys(names))


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
