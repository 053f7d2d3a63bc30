"""Walks over the graph: how far, at which best rate, and what one path brings."""

import numpy as np

from app.domain.compiled import compiled
from app.domain.solver.graph.curves import amount_in, amount_out
from app.domain.solver.kernels import Flags, Floats, Ints
from app.domain.solver.kinds.base import DEPTH_OUT, POWER, POWERED, RATE, SHAPE


@compiled("int64[::1](int64[::1], int64[::1], boolean[::1], int64, int64, int64)")
def hops(source: Ints, sink: Ints, kept: Flags, start: int, assets: int, most: int) -> Ints:
    """Count the fewest edges from one asset to each; above `most` where there is no shorter way."""
    far = np.full(assets, most + 1, np.int64)
    far[start] = 0
    for hop in range(most):
        changed = False
        for e in range(source.shape[0]):
            if kept[e] and far[source[e]] == hop and far[sink[e]] > hop + 1:
                far[sink[e]] = hop + 1
                changed = True
        if not changed:
            break
    return far


@compiled("Tuple((int64[::1], int64[::1]))(int64[::1], int64[::1], int64, int64)")
def longest_ways(source: Ints, sink: Ints, start: int, assets: int) -> tuple[Ints, Ints]:
    """Count the most edges from one asset to each; -1 where none or endless ways lead.

    Also returns the assets reached in an order in which each follows all that lead to it: by that count, then index.
    """
    depth = np.full(assets, -1, np.int64)
    entering = np.zeros(assets, np.int64)
    begins = np.zeros(assets + 1, np.int64)
    for e in range(source.shape[0]):
        entering[sink[e]] += 1
        begins[source[e] + 1] += 1
    for k in range(assets):
        begins[k + 1] += begins[k]
    places = begins[:-1].copy()
    leaving = np.empty(source.shape[0], np.int64)
    for e in range(source.shape[0]):
        leaving[places[source[e]]] = sink[e]
        places[source[e]] += 1
    ready = np.empty(assets, np.int64)
    ready[0] = start
    known, done = 1, 0
    longest = np.zeros(assets, np.int64)
    while done < known:
        here = ready[done]
        done += 1
        depth[here] = longest[here]
        for p in range(begins[here], begins[here + 1]):
            there = leaving[p]
            longest[there] = max(longest[there], longest[here] + 1)
            entering[there] -= 1
            if entering[there] == 0:
                ready[known] = there
                known += 1
    order = np.sort(ready[:known])
    return order[np.argsort(depth[order], kind="mergesort")], depth


@compiled("boolean[::1](int64[::1], int64[::1], int64, int64, int64)")
def leading(source: Ints, sink: Ints, start: int, end: int, assets: int) -> Flags:
    """Mark the edges that lie on some way from start to end."""
    ahead, behind = np.zeros(assets, np.bool_), np.zeros(assets, np.bool_)
    ahead[start] = behind[end] = True
    changed = True
    while changed:
        changed = False
        for e in range(source.shape[0]):
            if ahead[source[e]] and not ahead[sink[e]]:
                ahead[sink[e]] = changed = True
        for e in range(source.shape[0] - 1, -1, -1):
            if behind[sink[e]] and not behind[source[e]]:
                behind[source[e]] = changed = True
    found = np.empty(source.shape[0], np.bool_)
    for e in range(source.shape[0]):
        found[e] = ahead[source[e]] and behind[sink[e]]
    return found


@compiled("boolean(int64[::1], int64[::1], boolean[::1], float64[::1], int64, float64[::1])")
def relax(source: Ints, sink: Ints, kept: Flags, log_rate: Floats, rounds: int, best: Floats) -> bool:
    """Raise `best` along edges until nothing gains, or for so many rounds; say whether it settled.

    `best` is the log of what one unit is worth, or becomes, at each asset; edges carry it from source to sink.
    """
    for _ in range(rounds):
        changed = False
        for e in range(source.shape[0]):
            if kept[e]:
                through = best[source[e]] + log_rate[e]
                if through > best[sink[e]] + 1e-14 + 1e-14 * abs(through):
                    best[sink[e]] = through
                    changed = True
        if not changed:
            return True
    return False


@compiled("boolean(int64[::1], int64[::1], int64, int64, int64[:, ::1], int64, int64[::1], int64)")
def revisits(source: Ints, sink: Ints, here: int, there: int, came: Ints, hop: int, market: Ints, e: int) -> bool:
    """Say whether the way that led `here` already visited `there` or used the market of an edge."""
    at = here
    backwards = source[e] == there
    for back in range(hop, 0, -1):
        used = came[back, at]
        if at == there or market[used] == market[e]:
            return True
        at = sink[used] if backwards else source[used]
    return bool(at == there)


@compiled("boolean(int64[::1], int64, int64, int64[:, ::1], int64)")
def visited(source: Ints, here: int, there: int, came: Ints, hop: int) -> bool:
    """Say whether the way that led `here` in so many hops already visited `there`."""
    at = here
    for back in range(hop, 0, -1):
        if at == there:
            return True
        at = source[came[back, at]]
    return bool(at == there)


@compiled("float64[::1](int64[::1], int64[::1], int64[::1], float64[::1], int64, int64, int64)")
def best_rates(source: Ints, sink: Ints, ways: Ints, log_rate: Floats, start: int, assets: int, most: int) -> Floats:
    """Find the log of what one unit becomes at each asset over paths of at most so many of the edges in `ways`.

    No path visits an asset twice: the rates of any two markets differ, and walks in circles would make a gain of that.
    """
    best = np.full(assets, -np.inf)
    best[start] = 0.0
    before = best.copy()
    came = np.full((most + 1, assets), -1, np.int64)
    for hop in range(most):
        # One edge a round: rounds in place could walk further than they may.
        after = np.full(assets, -np.inf)
        changed = False
        for e in ways:
            reach = before[source[e]] + log_rate[e]
            better = reach > max(best[sink[e]], after[sink[e]])
            if better and not visited(source, source[e], sink[e], came, hop):
                after[sink[e]] = reach
                came[hop + 1, sink[e]] = e
                changed = True
        if not changed:
            break
        best = np.maximum(best, after)
        before = after
    return best


@compiled(
    "Tuple((int64[::1], float64[::1]))(float64[:, ::1], int64[::1], int64[::1], int64[::1], boolean[::1], int64[::1], "
    "int64, int64, int64, float64, int64, boolean)"
)
def best_path(
    segments: Floats,
    first: Ints,
    source: Ints,
    sink: Ints,
    kept: Flags,
    market: Ints,
    start: int,
    end: int,
    assets: int,
    amount: float,
    most: int,
    exact_out: bool,
) -> tuple[Ints, Floats]:
    """Find the path of at most `most` edges that turns an amount into the most, or needs the least for it.

    Returns the directions from start to end, or none, and what the amount becomes (or takes) at each asset. No path
    visits an asset or uses a market twice: where the best walk to an asset would, the next best way in is taken. With
    `exact_out` the search runs from the end backwards.
    """
    begin = end if exact_out else start
    goal = start if exact_out else end
    nothing = np.inf if exact_out else 0.0
    reached = np.full((most + 1, assets), nothing)
    came = np.full((most + 1, assets), -1, np.int64)
    best = np.full(assets, nothing)
    fresh = np.zeros(assets, np.bool_)
    # By Bernoulli's inequality a curve of a power up to one gives at most `z / (1 + z * spread)`, `z` at its best rate.
    spreads = np.zeros(source.shape[0])
    for e in range(source.shape[0]):
        i = first[e]
        if first[e + 1] == i + 1 and segments[i, SHAPE] == POWERED and segments[i, POWER] <= 1.0:
            spreads[e] = (1.0 - 1e-12) / segments[i, DEPTH_OUT]
    reached[0, begin] = amount
    best[begin] = amount
    fresh[begin] = True
    best_hops = -1
    for hop in range(most):
        for e in range(source.shape[0]):
            here = sink[e] if exact_out else source[e]
            # A way that is no better than a shorter one leads nowhere better.
            if not fresh[here] or not kept[e]:
                continue
            there = source[e] if exact_out else sink[e]
            held = reached[hop, here]
            # At its best rate the edge gets so far, and less from a pool that is small; most need no closer look.
            rate, spread = segments[first[e], RATE], spreads[e]
            if exact_out:
                if held >= rate * min(reached[hop + 1, there], best[there]) * (1.0 - held * spread):
                    continue
                value = amount_in(segments, first[e], first[e + 1], held)
                better = value < min(reached[hop + 1, there], best[there])
            else:
                if held * rate <= max(reached[hop + 1, there], best[there]) * (1.0 + held * rate * spread):
                    continue
                value = amount_out(segments, first[e], first[e + 1], held)
                better = value > max(reached[hop + 1, there], best[there])
            if better and not revisits(source, sink, here, there, came, hop, market, e):
                reached[hop + 1, there] = value
                came[hop + 1, there] = e
        changed = False
        for k in range(assets):
            value = reached[hop + 1, k]
            fresh[k] = value < best[k] if exact_out else value > best[k]
            if fresh[k]:
                best[k] = value
                changed = True
                if k == goal:
                    best_hops = hop + 1
        if not changed:
            break
    if best_hops < 0:
        return np.empty(0, np.int64), best
    path = np.empty(best_hops, np.int64)
    at = goal
    for hop in range(best_hops, 0, -1):
        e = came[hop, at]
        path[best_hops - hop if exact_out else hop - 1] = e
        at = sink[e] if exact_out else source[e]
    return path, best
