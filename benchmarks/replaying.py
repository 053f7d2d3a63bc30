"""Routes that a referee thinks of, executed leg by leg with exact arithmetic: whatever comes out is feasible."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal, localcontext
from random import Random

import numpy as np

from app.domain.solution import Solution
from app.domain.solver.exact import EXACT, ZERO, unit
from app.domain.solver.graph.network import Network
from app.domain.solver.kernels import Floats
from app.domain.solver.kinds.base import State
from app.domain.solver.sides import Units
from app.domain.trade import Trade
from app.domain.values import DEFAULT_DECIMALS

Move = tuple[int, float]
"""A direction, and the share of what is then held that goes through it."""

DUST = 1e-10


def executed(network: Network, trade: Trade, moves: Iterable[Move], tender: Decimal) -> Decimal:
    """Make the moves one after the other with what is held; return what of the taken asset is held in the end."""
    held: dict[int, Decimal] = defaultdict(lambda: ZERO)
    start, end = network.index[trade.gives], network.index[trade.takes]
    held[start] = tender
    states: dict[int, State] = {}
    grain = unit(DEFAULT_DECIMALS)
    with localcontext(EXACT):
        for e, share in moves:
            source, sink, market = int(network.source[e]), int(network.sink[e]), int(network.market[e])
            # A route never receives what it gives nor sends what it takes.
            if sink == start or source == end or not held[source]:
                continue
            if market not in states:
                states[market] = network.exchanges[market].state()
            amount = held[source] if share >= 1.0 else held[source] * Decimal(max(share, 0.0))
            fill = states[market].send(*network.directions[e], amount, Units(grain, grain))
            if fill is not None:
                held[source] -= fill.sends
                held[sink] += fill.receives
    return held[end]


def moves_of(network: Network, trade: Trade, solution: Solution) -> list[Move]:
    """State a solution's legs as shares of what is held when they are due; the last leg of each asset takes all."""
    place = {(network.exchanges[int(i)].market.market_id, *pair): e for e, (i, pair) in enumerate(
        zip(network.market, network.directions, strict=True))}  # fmt: skip
    held: dict[int, float] = defaultdict(float)
    held[network.index[trade.gives]] = float(solution.sends.amount)
    moves: list[Move] = []
    last: dict[int, int] = {}
    for leg in sorted(solution.slices[0].legs, key=lambda leg: leg.step):
        e = place[leg.market_id, leg.sends.asset, leg.receives.asset]
        source, sent = int(network.source[e]), float(leg.sends.amount)
        last[source] = len(moves)
        moves.append((e, min(sent / held[source], 1.0) if held[source] > 0.0 else 1.0))
        held[source] -= sent
        held[int(network.sink[e])] += float(leg.receives.amount)
    return [(e, 1.0 if last[int(network.source[e])] == k else share) for k, (e, share) in enumerate(moves)]


def moves_of_flow(network: Network, value: Floats, start: int, end: int) -> list[Move]:
    """Order a flow (value by direction) so that all is received before it is sent; circles are taken out of it."""
    flow = {int(e): float(value[e]) for e in np.flatnonzero(value > DUST * value.max(initial=0.0))}
    flow = {e: v for e, v in flow.items() if int(network.sink[e]) != start and int(network.source[e]) != end}
    while circle := _circle(network, flow):
        least = min(flow[e] for e in circle)
        flow = {e: v - least if e in circle else v for e, v in flow.items() if e not in circle or v > least}
    waiting: dict[int, int] = defaultdict(int)
    for e in flow:
        waiting[int(network.sink[e])] += 1
    reached = [asset for asset in {int(network.source[e]) for e in flow} if not waiting[asset]]
    moves: list[Move] = []
    while reached:
        asset = reached.pop()
        leaving = sorted((e for e in flow if int(network.source[e]) == asset), key=lambda e: flow[e])
        left = sum(flow[e] for e in leaving)
        for e in leaving:
            moves.append((e, 1.0 if e == leaving[-1] else flow[e] / left))
            left -= flow[e]
            sink = int(network.sink[e])
            waiting[sink] -= 1
            if not waiting[sink]:
                reached.append(sink)
        # Books and quotes that are used up leave something for the others.
        moves += [(e, 1.0) for e in leaving[-2::-1]]
    return moves


def _circle(network: Network, flow: dict[int, float]) -> list[int]:
    entering: dict[int, list[int]] = defaultdict(list)
    count: dict[int, int] = defaultdict(int)
    for e in flow:
        entering[int(network.sink[e])].append(e)
        count[int(network.source[e])] += 1
    # Peel off what leads nowhere; what stays lies on a circle or before one.
    ends = [asset for asset in entering if not count[asset]]
    kept = dict(flow)
    while ends:
        for e in entering[ends.pop()]:
            kept.pop(e, None)
            source = int(network.source[e])
            count[source] -= 1
            if not count[source]:
                ends.append(source)
    if not kept:
        return []
    onward = {int(network.source[e]): e for e in kept}
    trail: list[int] = []
    at = next(iter(onward))
    place: dict[int, int] = {}
    while at not in place:
        place[at] = len(trail)
        trail.append(onward[at])
        at = int(network.sink[onward[at]])
    return trail[place[at] :]


def searched(
    network: Network, trade: Trade, first: Sequence[Move], tender: Decimal, draw: Random, tries: int
) -> Decimal:
    """Climb from a route by random changes of its shares, order and legs; return the most that any of them received."""
    best = executed(network, trade, first, tender)
    moves = list(first)
    width = 0.1
    leaving: dict[int, list[int]] = defaultdict(list)
    # Only what a way within the trade's hops may use: the bound says nothing of the rest.
    every = np.ones(len(network.directions), np.bool_)
    for e in np.flatnonzero(network.useful(every, trade.gives, trade.takes, trade.constraints.max_hops)).tolist():
        leaving[int(network.source[e])].append(e)
    for _ in range(tries):
        changed = _changed(network, trade, moves, leaving, draw, width)
        found = executed(network, trade, changed, tender)
        if found > best:
            best, moves, width = found, changed, min(width * 1.5, 0.5)
        else:
            width = max(width * 0.93, 1e-7)
    return best


def _changed(
    network: Network, trade: Trade, moves: list[Move], leaving: dict[int, list[int]], draw: Random, width: float
) -> list[Move]:
    changed = [(e, share * (1.0 + draw.gauss(0, width))) if share < 1.0 else (e, share) for e, share in moves]
    way = draw.random()
    if way < 0.15 and len(changed) > 1:
        i, j = draw.sample(range(len(changed)), 2)
        changed[i], changed[j] = changed[j], changed[i]
    elif way < 0.4:
        # A detour: some of an asset leaves by another market, and what it becomes goes on until the end.
        at = draw.randrange(len(changed))
        asset = int(network.source[changed[at][0]])
        detour: list[Move] = []
        for hop in range(4):
            if not leaving[asset] or asset == network.index[trade.takes]:
                break
            e = draw.choice(leaving[asset])
            detour.append((e, draw.random() * width if hop == 0 else 1.0))
            asset = int(network.sink[e])
        changed[at:at] = detour
    return changed


def beyond(bound: Decimal, found: Decimal, *, exact_out: bool) -> float:
    """Return by what share a route that a referee found passes a bound; negative while the bound holds."""
    if not bound:
        # Nobody sends less than nothing, and nothing is what nobody can pass.
        return -1.0 if exact_out else float("inf")
    return 1.0 - float(found / bound) if exact_out else float(found / bound) - 1.0
