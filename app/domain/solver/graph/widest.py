"""What a flow over the graph is made of: cycles, which are taken out, and ways, of which the widest are kept."""

import numpy as np

from app.domain.compiled import compiled
from app.domain.solver.graph.walks import longest_ways
from app.domain.solver.kernels import Flags, Floats, Ints

MOST_WAYS = 512
"""Ways tried: what is left to narrower ones is next to nothing."""


@compiled("void(int64[::1], int64[::1], float64[::1], int64, float64)")
def cancel_cycles(source: Ints, sink: Ints, flow: Floats, assets: int, dust: float) -> None:
    """Take every cycle out of a flow along its narrowest edge; what is left of an edge counts above `dust`."""
    edges = source.shape[0]
    begins = np.zeros(assets + 1, np.int64)
    for e in range(edges):
        begins[source[e] + 1] += 1
    for k in range(assets):
        begins[k + 1] += begins[k]
    places = begins[:-1].copy()
    leaving = np.empty(edges, np.int64)
    for e in range(edges):
        leaving[places[source[e]]] = e
        places[source[e]] += 1
    trail = np.empty(assets + 1, np.int64)
    following = begins[:-1].copy()
    place = np.full(assets, -1, np.int64)
    done = np.zeros(assets, np.bool_)
    for root in range(assets):
        if done[root]:
            continue
        place[root] = 0
        length = 0
        here = root
        while True:
            if following[here] == begins[here + 1]:
                done[here] = True
                place[here] = -1
                if length == 0:
                    break
                length -= 1
                here = source[trail[length]]
                following[here] += 1
                continue
            e = leaving[following[here]]
            there = sink[e]
            if flow[e] <= dust or done[there]:
                following[here] += 1
            elif place[there] < 0:
                trail[length] = e
                length += 1
                place[there] = length
                here = there
            else:
                trail[length] = e
                least = np.inf
                for p in range(place[there], length + 1):
                    least = min(least, flow[trail[p]])
                # Go on from the first edge of the cycle that is used up.
                first = length
                for p in range(length, place[there] - 1, -1):
                    flow[trail[p]] -= least
                    if flow[trail[p]] <= dust:
                        flow[trail[p]] = 0.0
                        first = p
                for p in range(first, length):
                    place[sink[trail[p]]] = -1
                    following[sink[trail[p]]] = begins[sink[trail[p]]]
                length = first
                here = source[trail[first]]


@compiled("int64[::1](int64[::1], int64[::1], float64[::1], boolean[::1], int64[::1], int64, int64, int64, int64)")
def widest_way(
    source: Ints, sink: Ints, left: Floats, open_to: Flags, by_depth: Ints, start: int, end: int, assets: int, most: int
) -> Ints:
    """Find the way of at most `most` edges whose narrowest is widest; empty where none leads.

    `by_depth` lists the edges so that those into an asset come before those out of it; with `most` below zero the
    number of edges does not matter.
    """
    rounds = 1 if most < 0 else most
    width = np.zeros((rounds + 1, assets))
    came = np.full((rounds + 1, assets), -1, np.int64)
    width[0, start] = np.inf
    if most < 0:
        width[1, start] = np.inf
    best, last = 0.0, 0
    for hop in range(rounds):
        reached = False
        for e in by_depth:
            through = min(width[1 if most < 0 else hop, source[e]], left[e])
            if open_to[e] and through > width[hop + 1, sink[e]]:
                width[hop + 1, sink[e]] = through
                came[hop + 1, sink[e]] = e
                reached = True
        if width[hop + 1, end] > best:
            best, last = width[hop + 1, end], hop + 1
        if not reached:
            break
    way = np.empty(assets, np.int64)
    count = 0
    at, hop = end, last
    while best > 0.0 and at != start:
        way[count] = came[hop, at]
        at = source[way[count]]
        count += 1
        if most >= 0:
            hop -= 1
    return way[:count].copy()


@compiled("boolean[::1](int64[::1], int64[::1], float64[::1], int64, int64, int64, int64, int64, float64)")
def widest_ways(
    source: Ints, sink: Ints, flow: Floats, start: int, end: int, assets: int, max_legs: int, max_hops: int, dust: float
) -> Flags:
    """Choose the edges of the widest ways of at most `max_hops` edges, as long as `max_legs` allows."""
    edges = source.shape[0]
    _, depth = longest_ways(source, sink, start, assets)
    by_depth = np.argsort(depth[source], kind="mergesort")
    most = -1 if depth[end] <= max_hops else max_hops
    left = flow.copy()
    open_to = np.ones(edges, np.bool_)
    chosen = np.zeros(edges, np.bool_)
    legs = 0
    for _ in range(MOST_WAYS):
        way = widest_way(source, sink, left, open_to, by_depth, start, end, assets, most)
        if way.shape[0] == 0:
            return chosen
        narrowest = -1
        new = 0
        for e in way:
            if not chosen[e]:
                new += 1
                if narrowest < 0 or left[e] < left[narrowest] or (left[e] == left[narrowest] and e < narrowest):
                    narrowest = e
        too_long = False
        if most >= 0 and new > 0:
            wanted = chosen.copy()
            wanted[way] = True
            too_long = longest_ways(source[wanted], sink[wanted], start, assets)[1][end] > max_hops
        if legs + new > max_legs or too_long:
            open_to[narrowest] = False
            continue
        legs += new
        width = np.inf
        for e in way:
            width = min(width, left[e])
        for e in way:
            chosen[e] = True
            left[e] -= width
            if left[e] <= dust * flow[e]:
                left[e] = 0.0
                open_to[e] = False
    return chosen
