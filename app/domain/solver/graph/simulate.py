"""A route's legs simulated exactly, one after the other, on the markets as the earlier legs left them."""

from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from operator import attrgetter
from typing import NamedTuple

import numpy as np

from app.domain.market import OrderBook
from app.domain.solution import Solution
from app.domain.solver.exact import ONE, ZERO, down, short_up, up
from app.domain.solver.graph.flows import Flow, asset_order, uses_a_market_twice
from app.domain.solver.graph.network import Flags, Network
from app.domain.solver.kinds.base import State
from app.domain.solver.sides import Fill, Units

ABSORBERS_TRIED = 3
FULL = 1.0 - 1e-13
NEARLY_ALL = Decimal(1) - Decimal("1e-7")
TENDERS = 16
ENOUGH = ONE - Decimal("1e-10")
FAR_FROM = 1000
STEEPEST = Decimal(16)
LARGEST_TENDER = 1e40


class Step(NamedTuple):
    """One leg: the direction it takes, when, and what it exchanges."""

    direction: int
    step: int
    fill: Fill


@dataclass(slots=True)
class Journey:
    """Legs in the order they are due, and what they add up to. `residuals` is what no leg could use."""

    steps: tuple[Step, ...]
    sends: Decimal
    receives: Decimal
    residuals: dict[int, Decimal]


def forward(network: Network, flow: Flow, start: int, end: int, tender: Decimal) -> Journey | None:
    """Send what is held of each asset on in the proportions of the flow.

    None when nothing arrives, or when two ways of the flow run in a circle together.
    """
    order, depth = asset_order(network, flow, start)
    leaving = _by_asset(network, flow, of_source=True)
    repeats = uses_a_market_twice(network, flow)
    listed, parts, directions = network.listed, network.parts, network.directions
    market_of, sink_of = listed.market, listed.sink
    held = dict.fromkeys(order, 0)
    held[start] = tendered = int(tender * parts[start])
    states: dict[int, State] = {}
    steps: list[Step] = []
    number = 0
    if any(sink_of[e] not in held for e in flow):
        return None
    for asset in order:
        if asset == end or asset not in leaving:
            continue
        available = left = held[asset]
        ways = _by_room(network, flow, leaving[asset], available / parts[asset], listed.room)
        total = sum([flow[e] for e in ways])
        touched: set[int] = set()
        last = ways[-1]
        for e in ways:
            share = left
            if e != last:
                above, below = (flow[e] / total).as_integer_ratio()
                share = min(left, available * above // below)
            whole = None if repeats else network.whole(e)
            filled = whole.send(share) if whole is not None else None
            if whole is not None and filled is not None:
                sent, received, known = filled
                fill = whole.fill(sent, received, known)
            else:
                units = network.units(e)
                exact = _state(network, states, e).send(*directions[e], share * units.given, units)
                if exact is None:
                    continue
                fill = exact
                sent, received = int(fill.sends * parts[asset]), int(fill.receives * parts[sink_of[e]])
            market = market_of[e]
            if market in touched:
                number += 1
                touched.clear()
            touched.add(market)
            left -= sent
            held[sink_of[e]] += received
            steps.append(Step(e, number if repeats else depth[asset], fill))
        held[asset] = left
        number += 1
    steps.sort(key=attrgetter("step"))
    sends, receives = tendered - held.pop(start), held.pop(end, 0)
    if sends <= 0 or receives <= 0:
        return None
    residuals = {asset: amount * network.unit(network.assets[asset]) for asset, amount in held.items() if amount}
    return Journey(
        tuple(steps),
        sends * network.unit(network.assets[start]),
        receives * network.unit(network.assets[end]),
        residuals,
    )


def backward(network: Network, flow: Flow, start: int, end: int, target: Decimal) -> Journey | None:
    """Obtain what is needed of each asset in the proportions of the flow; None when it is not to be had.

    Every market is used once: what a later leg needs is known before the earlier one is simulated.
    """
    order, depth = asset_order(network, flow, start)
    entering = _by_asset(network, flow, of_source=False)
    needed: dict[int, Decimal] = defaultdict(lambda: ZERO)
    needed[end] = target
    steps: list[Step] = []
    for asset in reversed(order):
        if asset == start or not needed[asset]:
            continue
        ways = _by_room(network, flow, entering[asset], float(needed[asset]), network.listed.room_out)
        fills = None
        for absorber in ways[: -1 - ABSORBERS_TRIED : -1]:
            fills = _obtain(network, flow, [*(e for e in ways if e != absorber), absorber], needed[asset])
            if fills is not None:
                break
        if fills is None:
            return None
        for e, fill in fills:
            source = network.listed.source[e]
            needed[source] += fill.sends
            steps.append(Step(e, depth[source], fill))
    steps.sort(key=lambda step: (step.step, step.direction))
    return _journey(network, steps, start, end)


def by_tender(network: Network, flow: Flow, start: int, end: int, about: float, target: Decimal) -> Journey | None:
    """Search, from about what it may be, for the least tender that becomes a target when sent on by the flow.

    What a market gives to a later leg depends on the earlier ones: only a walk forward knows.
    """
    grid = network.unit(network.assets[start])
    tender = up(short_up(Decimal(about)), grid) if 0.0 < about < LARGEST_TENDER else ZERO
    best: Journey | None = None
    for _ in range(TENDERS):
        journey = forward(network, flow, start, end, tender) if tender > 0 else None
        if journey is None or journey.receives * FAR_FROM < target:
            break
        share = target / journey.receives
        if share > 1:
            tender = up(tender * min(share**2, STEEPEST), grid)
            continue
        # Less pays better: in proportion to what is too much, the tender still suffices.
        if best is None or journey.sends < best.sends:
            best = journey
        if share > ENOUGH:
            break
        tender = up(tender * share, grid)
    return best


def of_pair(network: Network, kept: Flags, solution: Solution, start: int, end: int) -> list[Journey]:
    """Return a route over markets of two assets alone as a journey, unless it uses what is not kept."""
    direct = np.flatnonzero(kept & (network.source == start) & (network.sink == end))
    places = {str(network.exchanges[int(network.market[e])].market.market_id): int(e) for e in direct}
    legs = solution.slices[0].legs
    if any(leg.market_id not in places for leg in legs):
        return []
    steps = tuple(
        Step(places[leg.market_id], 0, Fill(leg.sends.amount, leg.receives.amount, leg.fee.amount, leg.limit_price))
        for leg in legs
    )
    return [Journey(steps, solution.sends.amount, solution.receives.amount, {})]


def _obtain(network: Network, flow: Flow, ways: list[int], target: Decimal) -> list[tuple[int, Fill]] | None:
    total = sum(flow[e] for e in ways)
    left = target
    fills: list[tuple[int, Fill]] = []
    absorbing = not network.in_steps[ways[-1]]
    for e in ways:
        units = network.units(e)
        share = left
        if e != ways[-1]:
            held = Decimal(float(network.room_out[e]) * FULL)
            share = min(left, down(min(target * Decimal(flow[e] / total), held), units.taken))
        if share <= 0:
            continue
        fill = _state(network, {}, e).obtain(*network.directions[e], share, units)
        if fill is None and e != ways[-1]:
            # A market used up to the end may hold a rounding less than its share.
            fill = _state(network, {}, e).obtain(*network.directions[e], down(share * NEARLY_ALL, units.taken), units)
        if fill is not None and absorbing and fill.receives > share and network.in_steps[e]:
            less = _step_less(network, e, fill, units)
            # Of the steps on either side the nearer one: a share that lies on a step may come out a rounding below it.
            lacking = share if less is None else share - less.receives
            if fill.receives > left or lacking < fill.receives - share:
                fill = less
        if fill is not None:
            left -= fill.receives
            fills.append((e, fill))
    return fills if left <= 0 else None


def _step_less(network: Network, e: int, fill: Fill, units: Units) -> Fill | None:
    market = network.exchanges[int(network.market[e])].market
    if not isinstance(market, OrderBook) or market.lot_size is None:
        return fill
    gives, takes = network.directions[e]
    state = _state(network, {}, e)
    if takes == market.base:
        return state.obtain(gives, takes, fill.receives - market.lot_size, units)
    return state.send(gives, takes, fill.sends - market.lot_size, units)


def _by_asset(network: Network, flow: Flow, *, of_source: bool) -> dict[int, list[int]]:
    grouped: dict[int, list[int]] = defaultdict(list)
    assets = network.listed.source if of_source else network.listed.sink
    for e in flow:
        grouped[assets[e]].append(e)
    return grouped


def _by_room(network: Network, flow: Flow, ways: list[int], amount: float, room: list[float]) -> list[int]:
    if len(ways) == 1:
        return ways
    in_steps = network.listed.in_steps
    per_flow = amount / sum([flow[e] for e in ways])

    def spare(e: int) -> tuple[bool, float, float, int]:
        return not in_steps[e], room[e] - per_flow * flow[e], flow[e], -e

    return sorted(ways, key=spare)


def _state(network: Network, states: dict[int, State], e: int) -> State:
    market = network.listed.market[e]
    state = states.get(market)
    if state is None:
        state = states[market] = network.exchanges[market].state()
    return state


def _journey(network: Network, steps: list[Step], start: int, end: int) -> Journey | None:
    held: dict[int, Decimal] = defaultdict(lambda: ZERO)
    source, sink = network.listed.source, network.listed.sink
    for e, _, fill in steps:
        held[source[e]] -= fill.sends
        held[sink[e]] += fill.receives
    sends, receives = -held.pop(start, ZERO), held.pop(end, ZERO)
    if sends <= 0 or receives <= 0 or any(amount < 0 for amount in held.values()):
        return None
    return Journey(tuple(steps), sends, receives, {asset: amount for asset, amount in held.items() if amount})
