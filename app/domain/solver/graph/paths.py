"""The best single paths when markets trade in lots, from a minimum on, or charge for being used."""

import numpy as np

from app.domain.compiled import compiled
from app.domain.solver.graph.curves import amount_in, amount_out
from app.domain.solver.graph.network import Flags, Network
from app.domain.solver.graph.rules import rules_of
from app.domain.solver.graph.walks import relax
from app.domain.solver.kernels import Floats, Ints
from app.domain.solver.kinds.base import RATE

VISITED = 20_000
VISITED_IN_CYCLES = 4_000
"""How many partial paths are looked at: all of them in a small graph. Where cycles pay, little is ruled out."""
FEW_PATHS, MORE_PATHS = 4, 64
FAR = 6
"""Where cycles pay, most of all longer paths could be worth more: too many to look at."""
NOTHING = -1
WORSE = 0.5
"""How much worse than the best path known those are that are not looked for."""
ROUNDED = 1e-9


@compiled("float64(float64[:, ::1], int64, int64, float64, float64, boolean, float64)")
def stepped_out(
    segments: Floats, begin: int, end: int, lot: float, least: float, base_is_taken: bool, x: float
) -> float:
    """Exchange an amount in whole lots; zero when it reaches no lot or no minimum, or is too much."""
    if lot == 0.0 and least == 0.0:
        return amount_out(segments, begin, end, x)
    if base_is_taken:
        y = amount_out(segments, begin, end, x)
        if lot > 0.0:
            y = np.floor(y / lot * (1.0 + 1e-13) + 1e-12) * lot
        return float(y) if y >= least * (1.0 - 1e-12) else 0.0
    if lot > 0.0:
        x = np.floor(x / lot * (1.0 + 1e-13) + 1e-12) * lot
    return amount_out(segments, begin, end, x) if x > 0.0 and x >= least * (1.0 - 1e-12) else 0.0


@compiled("float64(float64[:, ::1], int64, int64, float64, float64, boolean, float64)")
def stepped_in(
    segments: Floats, begin: int, end: int, lot: float, least: float, base_is_taken: bool, y: float
) -> float:
    """Find what whole lots take for at least an amount; infinite when there are not enough."""
    if lot == 0.0 and least == 0.0:
        return amount_in(segments, begin, end, y)
    base = y if base_is_taken else amount_in(segments, begin, end, y)
    if not base < np.inf:
        return np.inf
    if lot > 0.0:
        base = np.ceil(base / lot * (1.0 - 1e-13) - 1e-12) * lot
    base = max(base, least)
    if base_is_taken:
        return amount_in(segments, begin, end, base)
    return float(base) if amount_out(segments, begin, end, base) > 0.0 else np.inf


@compiled(
    "int64(float64[:, ::1], int64[::1], int64[::1], int64[::1], boolean[::1], int64[::1], int64[::1], int64[::1], "
    "float64[::1], float64[::1], boolean[::1], float64[::1], float64[::1], float64[:, ::1], int64, int64, float64, "
    "boolean, int64, int64[:, ::1], float64[::1])"
)
def best_paths(
    segments: Floats,
    first: Ints,
    source: Ints,
    sink: Ints,
    kept: Flags,
    market: Ints,
    ways: Ints,
    ways_from: Ints,
    lot: Floats,
    least: Floats,
    base_is_taken: Flags,
    cost: Floats,
    potential: Floats,
    limit: Floats,
    begin: int,
    goal: int,
    amount: float,
    exact_out: bool,
    budget: int,
    paths: Ints,
    values: Floats,
) -> int:
    """Find the paths that bring the most net of costs, or send the least with them; return how many partial ones.

    A row of `paths` is as long as a path may be; `values` are to be minimised. `potential` is the log of the best rate
    from an asset to the goal (from the goal to the asset with `exact_out`, which searches from the end backwards):
    whatever cannot be worth more than the worst path kept even at that rate is not followed. Nor is what is on the
    wrong side of `limit`, by legs left and asset: the amount there from which what is wanted can still be had.
    """
    most = paths.shape[1]
    kept_paths = paths.shape[0]
    for row in range(kept_paths):
        values[row] = np.inf
        for hop in range(most):
            paths[row, hop] = -1
    at = np.empty(most + 1, np.int64)
    held = np.empty(most + 1)
    charged = np.zeros(most + 1)
    place = np.empty(most + 1, np.int64)
    walked = np.empty(most, np.int64)
    at[0] = begin
    held[0] = amount
    place[0] = ways_from[begin]
    depth = 0
    visited = 0
    while depth >= 0 and visited < budget:
        here = at[depth]
        if place[depth] >= ways_from[here + 1]:
            depth -= 1
            continue
        e = ways[place[depth]]
        place[depth] += 1
        if not kept[e]:
            continue
        there = source[e] if exact_out else sink[e]
        if there != goal and depth + 1 >= most:
            continue
        again = False
        for hop in range(depth):
            if at[hop] == there or market[walked[hop]] == market[e]:
                again = True
                break
        if again or potential[there] == -np.inf:
            continue
        visited += 1
        if exact_out:
            value = stepped_in(segments, first[e], first[e + 1], lot[e], least[e], base_is_taken[e], held[depth])
            if not value < np.inf or value > limit[most - depth - 1, there]:
                continue
            reach = value * np.exp(-potential[there]) + charged[depth] + cost[e]
        else:
            value = stepped_out(segments, first[e], first[e + 1], lot[e], least[e], base_is_taken[e], held[depth])
            if not value > 0.0 or value < limit[most - depth - 1, there]:
                continue
            reach = charged[depth] + cost[e] - value * np.exp(potential[there])
        if reach >= values[kept_paths - 1]:
            continue
        walked[depth] = e
        if there != goal:
            depth += 1
            at[depth] = there
            held[depth] = value
            charged[depth] = charged[depth - 1] + cost[e]
            place[depth] = ways_from[there]
            continue
        row = kept_paths - 1
        while row > 0 and values[row - 1] > reach:
            values[row] = values[row - 1]
            paths[row] = paths[row - 1]
            row -= 1
        values[row] = reach
        for hop in range(most):
            paths[row, hop] = -1
        for hop in range(depth + 1):
            paths[row, depth - hop if exact_out else hop] = walked[hop]
    return visited


@compiled(
    "float64[:, ::1](float64[:, ::1], int64[::1], int64[::1], int64[::1], boolean[::1], int64, int64, float64, int64, "
    "boolean)"
)
def limits(
    segments: Floats, first: Ints, source: Ints, sink: Ints, kept: Flags, goal: int, assets: int, wanted: float,
    most: int, exact_out: bool,
) -> Floats:  # fmt: skip
    """Find the least amount of each asset that so many legs (row by row) can turn into what is wanted at the goal.

    With `exact_out` the most that so many legs can make of what may be sent at the goal. Walks count as paths, and
    rules of lots and minimums as none.
    """
    limit = np.full((most + 1, assets), 0.0 if exact_out else np.inf)
    limit[:, goal] = wanted
    fresh = np.zeros(assets, np.bool_)
    fresh[goal] = True
    for hop in range(most):
        changed = np.zeros(assets, np.bool_)
        for k in range(assets):
            limit[hop + 1, k] = limit[hop, k]
        for e in range(source.shape[0]):
            here, there = (source[e], sink[e]) if exact_out else (sink[e], source[e])
            if not fresh[here] or not kept[e]:
                continue
            held, rate, best = limit[hop, here], segments[first[e], RATE], limit[hop + 1, there]
            if exact_out:
                if held * rate > best:
                    value = amount_out(segments, first[e], first[e + 1], held) * (1.0 + ROUNDED)
                    if value > best:
                        limit[hop + 1, there], changed[there] = value, True
            elif held < best * rate:
                value = amount_in(segments, first[e], first[e + 1], held) * (1.0 - ROUNDED)
                if value < best:
                    limit[hop + 1, there], changed[there] = value, True
        fresh = changed
    return limit


def _worth(network: Network, path: list[int], amount: float, costs: Floats, *, exact_out: bool) -> float:
    rules = rules_of(network)
    stepped = stepped_in if exact_out else stepped_out
    for e in reversed(path) if exact_out else path:
        first = int(network.first[e]), int(network.first[e + 1])
        amount = stepped(network.segments, *first, rules.lot[e], rules.least[e], rules.base_is_taken[e], amount)
    charged = float(costs[path].sum())
    return amount + charged if exact_out else amount - charged


def ruled_paths(
    network: Network, kept: Flags, ends: tuple[int, int], amount: float, most: int, costs: Floats, count: int,
    known: list[int], *, exact_out: bool, has_cycles: bool,
) -> list[list[int]]:  # fmt: skip
    """List the `count` best paths of at most `most` legs, best first; `costs` are in the objective's asset.

    Where one is `known`, none that is much worse.
    """
    start, end = ends
    rules = rules_of(network)
    potential = np.full(len(network.assets), -np.inf)
    begin, goal = (end, start) if exact_out else (start, end)
    near, far = (network.source, network.sink) if exact_out else (network.sink, network.source)
    potential[goal] = 0.0
    length = max(min(most, len(network.assets), FAR if has_cycles else most), 1)
    relax(near, far, kept, network.log_best, length, potential)
    paths = np.empty((count, length), np.int64)
    values = np.empty(count)
    ways, ways_from = (rules.entering, rules.entering_from) if exact_out else (rules.leaving, rules.leaving_from)
    budget = VISITED_IN_CYCLES if has_cycles else VISITED
    with np.errstate(all="ignore"):
        limit = np.full((length + 1, len(network.assets)), np.inf if exact_out else 0.0)
        worth = _worth(network, known, amount, costs, exact_out=exact_out) if known else 0.0
        if 0.0 < worth < np.inf:
            wanted = worth * (1.0 + WORSE if exact_out else 1.0 - WORSE)
            limit = limits(
                network.segments, network.first, network.source, network.sink, kept, goal, len(network.assets), wanted,
                length, exact_out,
            )  # fmt: skip
        best_paths(
            network.segments, network.first, network.source, network.sink, kept, network.market, ways, ways_from,
            rules.lot, rules.least, rules.base_is_taken, costs, potential, limit, begin, goal, amount, exact_out,
            budget, paths, values,
        )  # fmt: skip
    return [[int(e) for e in path if e != NOTHING] for path, value in zip(paths, values, strict=True) if value < np.inf]
