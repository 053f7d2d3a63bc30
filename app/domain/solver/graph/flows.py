"""From flows to a route's shape: no cycles, no dust, few enough legs, short enough ways."""

from collections.abc import Iterable

import numpy as np

from app.domain.solver.graph.network import Flags, Network
from app.domain.solver.graph.selected import Relaxed
from app.domain.solver.graph.survey import Survey
from app.domain.solver.graph.walks import leading, longest_ways
from app.domain.solver.graph.widest import cancel_cycles, widest_ways
from app.domain.solver.kernels import Floats

DUST = 1e-9
"""Flows below this share of the trade's value are rounding of the interior point."""

IMPACT = 3e-3
"""About how much the price moves where a flow doubles."""
FORGONE = 5e-8
"""The share of the trade's value that flows not worth a leg may be worth together."""

SPARED = 1e-2
"""The share of the trade's value up to which flows are left out one by one where there are too many."""

COARSE = 1e-9
"""An asset that divides no finer than this share of what flows through it."""

LEFTOVER = 1e-12
"""The share of all flows that goes where only what steps leave over is to go."""

Flow = dict[int, float]
"""Value that flows through each direction used."""


def without_cycles(
    network: Network, amounts: Floats, price: Floats, start: int, end: int, *, exact_out: bool, dust: float = DUST
) -> Flow:
    """Value the flows, take out cycles along their narrowest edge, and keep what leads from start to end."""
    used = np.flatnonzero(amounts > 0.0)
    values = amounts[used] * price[(network.sink if exact_out else network.source)[used]]
    ends = network.sink[used] == end if exact_out else network.source[used] == start
    total = float(values[ends].sum())
    wide = values > dust * total
    used, values = used[wide], values[wide]
    source, sink = network.source[used], network.sink[used]
    cancel_cycles(source, sink, values, len(network.assets), dust * total)
    found: Flow = {e: value for e, value in zip(used.tolist(), values.tolist(), strict=True) if value > 0.0}
    return connected(network, found, start, end)


def worthwhile(network: Network, relaxed: Relaxed, start: int, end: int) -> Floats:
    """Return the flows of a relaxation without those that all together are worth next to nothing.

    What a flow is worth: what it earns, and for what must go another way instead how much worse that is about.
    """
    price = relaxed.price
    used = np.flatnonzero(relaxed.sent > 0.0)
    source, sink = network.source[used], network.sink[used]
    paid = relaxed.sent[used] * price[source]
    earned = relaxed.received[used] * price[sink]
    passing = np.bincount(source, paid, len(price))
    passing[end] = total = passing[start]
    beside = np.minimum(passing[source], np.maximum(passing[sink], paid))
    worth = np.maximum(earned - paid, 0.0) + IMPACT * paid * (paid / beside)
    order = np.argsort(worth, kind="stable")
    idle = used[order[np.cumsum(worth[order]) <= FORGONE * total]]
    flow = relaxed.flow.copy()
    flow[idle] = 0.0
    return flow


def connected(network: Network, flow: Flow, start: int, end: int) -> Flow:
    """Keep the directions that lie on some way from start to end."""
    edges = np.array(list(flow), np.int64)
    kept = leading(network.source[edges], network.sink[edges], start, end, len(network.assets))
    return flow if kept.all() else {e: flow[e] for e in edges[kept].tolist()}


def uses_a_market_twice(network: Network, flow: Flow) -> bool:
    """Say whether two directions of one market are used."""
    market = network.listed.market
    return len({market[e] for e in flow}) < len(flow)


def each_market_once(network: Network, flow: Flow, start: int, end: int) -> Flow:
    """Keep the widest direction of each market, as far as those lead from start to end."""
    if not uses_a_market_twice(network, flow):
        return flow
    widest: dict[int, int] = {}
    for e in sorted(flow, key=lambda e: (-flow[e], e)):
        widest.setdefault(network.listed.market[e], e)
    kept = set(widest.values())
    return connected(network, {e: v for e, v in flow.items() if e in kept}, start, end)


def with_absorbers(network: Network, kept: Flags, flow: Flow, *, exact_out: bool) -> Flow:
    """Put beside every book that trades in steps a market that takes any amount, for what the steps leave over."""
    used = {network.listed.market[e] for e in flow}
    extended = dict(flow)
    free = kept & ~network.in_steps & ~np.isin(network.market, list(used))
    near, far = (network.sink, network.source) if exact_out else (network.source, network.sink)
    for asset in {int(near[e]) for e in flow if network.in_steps[e]}:
        if any(near[e] == asset and not network.in_steps[e] for e in flow):
            continue
        reached = {int(far[e]) for e in flow if near[e] == asset}
        beside = [e for e in np.flatnonzero(free & (near == asset)) if int(far[e]) in reached]
        if beside:
            extended[int(max(beside, key=lambda e: (network.log_best[e], -e)))] = LEFTOVER * sum(flow.values())
    return extended


def is_coarse(network: Network, survey: Survey) -> bool:
    """Say whether rounded to few digits on every leg a path may be worth less than another that is shorter."""
    amounts = survey.needed if survey.exact_out else survey.reached
    return bool(((network.finest > COARSE * amounts) & (amounts > 0.0)).any())


def asset_order(network: Network, used: Iterable[int], start: int) -> tuple[list[int], dict[int, int]]:
    """Order the assets of an acyclic flow so that each follows all that lead to it; also the longest way to each."""
    edges = np.array(list(used), np.int64)
    order, depth = longest_ways(network.source[edges], network.sink[edges], start, len(network.assets))
    reached: list[int] = order.tolist()
    return reached, dict(zip(reached, depth[order].tolist(), strict=True))


def longest_way(network: Network, used: Iterable[int], start: int, end: int) -> int:
    """Count the legs of the longest way from start to end."""
    edges = np.array(list(used), np.int64)
    _, depth = longest_ways(network.source[edges], network.sink[edges], start, len(network.assets))
    return max(int(depth[end]), 0)


def fewest(network: Network, flow: Flow, start: int, end: int, max_legs: int, max_hops: int) -> Flow:
    """Leave out the least, or take the widest ways of at most `max_hops` legs, for `max_legs` to do."""
    edges, values = np.array(list(flow), np.int64), np.array(list(flow.values()))
    source, sink = network.source[edges], network.sink[edges]
    surplus = len(flow) - max_legs
    if surplus > 0:
        least = np.argsort(values, kind="stable")[:surplus]
        if float(values[least].sum()) <= SPARED * float(values[source == start].sum()):
            kept = np.ones(len(edges), np.bool_)
            kept[least] = False
            rest = connected(network, dict(zip(edges[kept].tolist(), values[kept].tolist(), strict=True)), start, end)
            if rest and longest_way(network, rest, start, end) <= max_hops:
                return rest
    chosen = widest_ways(source, sink, values, start, end, len(network.assets), max_legs, max_hops, DUST)
    return {e: flow[e] for e in edges[chosen].tolist()}
