"""Pools of three and more assets as what they are: one market each, drawn on by all their pairs at once.

On reserves `R` with weights `w` that sum to one, amounts in `x` and out `y` are possible together exactly where
`sum(w log(1 + kept x / R)) + sum(w log(1 - y / R)) >= 0`. That is a star: paying in earns credit at a node of the
pool's own, taking out costs it, and credit is conserved like an asset. StableSwap's credit for a balance `b` that
grows by `u` is `Ann u + K exp(-t) log(1 + u / b)` once the exponent `t = sum(log(1 + u / b))` is known: it is found by
repetition. Each branch is a power curve, or one that agrees with it in its first three derivatives.
"""

import math
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from app.domain.compiled import compiled
from app.domain.market import Stable, Weighted
from app.domain.solver.graph.network import Flags, Network
from app.domain.solver.kernels import Floats, Ints
from app.domain.solver.kinds.base import (
    BEND,
    CAP,
    CAP_OUT,
    DEPTH_IN,
    DEPTH_OUT,
    KEPT,
    NEAR_IN,
    POWER,
    POWERED,
    RATE,
    SEGMENT_FIELDS,
    SHAPE,
)
from app.domain.solver.kinds.segments import stable_drop, stable_growth

VANISHING, ENDLESS = 1e-7, 1e7
"""Powers whose curves are a logarithm and an exponential to the precision of flows."""
LEAST = 1e-9
"""Flows below this share of the trade are rounding."""
WITHIN = 0.8
"""The share of a branch's domain that a trade may use."""


class Stars(NamedTuple):
    """Pool `i` is market `market[i]` and owns the members from `first[i]` on.

    A member is an asset of which the pool holds `held`; a balance in units of the invariant is `held * unit`. `linear`
    (Ann, zero for a weighted pool) and `curved` (the weights, or `K`) make up the credit, `kept` is what a fee leaves.
    The direction from a pool's member `a` to its member `b` is `way[ways[i] + a * members + b]`, -1 for none.
    """

    market: Ints
    first: Ints
    asset: Ints
    held: Floats
    unit: Floats
    curved: Floats
    linear: Floats
    kept: Floats
    ways: Ints
    way: Ints


_known: WeakKeyDictionary[Network, Stars] = WeakKeyDictionary()


def stars_of(network: Network) -> Stars:
    """Arrange the shared pools of a network; once for each network."""
    known = _known.get(network)
    if known is None:
        known = _known[network] = _arrange(network)
    return known


def _arrange(network: Network) -> Stars:
    markets = np.flatnonzero(network.shares)
    first, ways = [0], [0]
    asset, held, unit, curved, linear, kept, way = [], [], [], [], [], [], []
    for i in markets:
        market = network.exchanges[i].market
        edges = np.arange(*np.searchsorted(network.market, [i, i + 1]))
        members, place = np.unique(network.source[edges], return_inverse=True)
        rows = np.zeros((len(members), SEGMENT_FIELDS))
        rows[place] = network.segments[network.first[edges]]
        if isinstance(market, Stable):
            # A segment's BEND is `K / Ann`.
            amplified = float(market.amplification * len(market.reserves))
            linear.append(amplified)
            unit.append(1.0 / rows[:, DEPTH_IN])
            held.append(rows[:, NEAR_IN] * rows[:, DEPTH_IN])
            curved.append(rows[:, BEND] * amplified)
        else:
            assert isinstance(market, Weighted)
            weights = np.array([float(market.weights[network.assets[k]]) for k in members])
            linear.append(0.0)
            unit.append(np.ones(len(members)))
            held.append(rows[:, DEPTH_IN])
            curved.append(weights / weights.sum())
        table = np.full((len(members), len(members)), -1, np.int64)
        table[place, np.searchsorted(members, network.sink[edges])] = edges
        asset.append(members)
        kept.append(float(rows[0, KEPT]))
        way.append(table.ravel())
        first.append(first[-1] + len(members))
        ways.append(ways[-1] + table.size)
    none = np.empty(0)
    return Stars(
        markets, np.array(first, np.int64), np.concatenate([none, *asset]).astype(np.int64),
        np.concatenate([none, *held]), np.concatenate([none, *unit]), np.concatenate([none, *curved]),
        np.array(linear, np.float64), np.array(kept, np.float64), np.array(ways, np.int64),
        np.concatenate([none, *way]).astype(np.int64),
    )  # fmt: skip


@compiled("void(float64[::1], float64, float64, float64, float64)")
def enter(row: Floats, curved: float, linear: float, worth: float, kept: float) -> None:
    """Write the branch `linear u + curved log(1 + u)` with `u = kept x / worth`."""
    whole = linear + curved
    row[SHAPE], row[CAP], row[KEPT] = POWERED, np.inf, kept
    row[RATE] = kept * whole / worth
    if linear == 0.0:
        row[POWER], row[DEPTH_IN], row[DEPTH_OUT] = VANISHING, worth, curved / VANISHING
    else:
        bend = curved / whole
        row[POWER] = 1.0 / (2.0 / bend - 1.0) - 1.0
        stretch = (row[POWER] + 1.0) / bend
        row[DEPTH_IN], row[DEPTH_OUT] = worth * stretch, whole * stretch / row[POWER]
    row[CAP_OUT] = row[DEPTH_OUT]


@compiled("void(float64[::1], float64, float64, float64)")
def leave(row: Floats, curved: float, linear: float, worth: float) -> None:
    """Write the branch that is the inverse of `linear u - curved log(1 - u)` with `u = y / worth`."""
    whole = linear + curved
    row[SHAPE], row[CAP], row[KEPT] = POWERED, np.inf, 1.0
    row[RATE] = worth / whole
    if linear == 0.0:
        row[POWER], row[DEPTH_IN], row[DEPTH_OUT] = ENDLESS, curved * ENDLESS, worth
    else:
        row[POWER] = -0.5 * curved / linear - 1.0
        row[DEPTH_IN] = (row[POWER] + 1.0) * whole * whole / curved
        row[DEPTH_OUT] = row[RATE] * row[DEPTH_IN] / row[POWER]
        row[CAP] = -WITHIN * row[DEPTH_IN]
    row[CAP_OUT] = row[DEPTH_OUT]


@compiled(
    "int64(int64[::1], int64[::1], int64[::1], float64[::1], float64[::1], float64[::1], float64[::1], float64[::1], "
    "int64[::1], int64[::1], boolean[::1], float64[::1], float64[::1], int64, float64[:, ::1], int64[::1], int64[::1], "
    "int64[::1], float64[::1])"
)
def branch_out(
    pools: Ints, first: Ints, asset: Ints, held: Floats, unit: Floats, curved: Floats, linear: Floats, kept: Floats,
    ways: Ints, way: Ints, usable: Flags, value: Floats, exponent: Floats, hub: int, segments: Floats, source: Ints,
    sink: Ints, member: Ints, left_over: Floats,
) -> int:  # fmt: skip
    """Write the branches of some pools, in values; return how many there are.

    `member` says whose each is, `left_over` the credit of each pool that a tangent at its exponent leaves at zero.
    """
    count = 0
    for n in range(pools.shape[0]):
        i = pools[n]
        begin, members = first[i], first[i + 1] - first[i]
        fallen = math.exp(-exponent[i])
        total = marginal = 0.0
        for m in range(begin, first[i + 1]):
            if value[asset[m]] > 0.0:
                total += held[m] * value[asset[m]]
                marginal += linear[i] * held[m] * unit[m] + curved[m] * fallen
        left_over[n] = 0.0
        if marginal <= 0.0:
            continue
        credit = total / marginal
        if linear[i] > 0.0:
            left_over[n] = credit * curved[begin] * fallen * (math.expm1(exponent[i]) - exponent[i])
        for a in range(members):
            m = begin + a
            worth = held[m] * value[asset[m]]
            enters = leaves = False
            for b in range(members):
                if value[asset[begin + b]] > 0.0 and worth > 0.0:
                    there, back = way[ways[i] + a * members + b], way[ways[i] + b * members + a]
                    enters |= there >= 0 and usable[there]
                    leaves |= back >= 0 and usable[back]
            if enters:
                enter(
                    segments[count], credit * curved[m] * fallen, credit * linear[i] * held[m] * unit[m], worth, kept[i]
                )
                source[count], sink[count], member[count] = asset[m], hub + n, m
                count += 1
            if leaves:
                leave(segments[count], credit * curved[m] * fallen, credit * linear[i] * held[m] * unit[m], worth)
                source[count], sink[count], member[count] = hub + n, asset[m], m
                count += 1
    return count


@compiled(
    "void(int64[::1], int64[::1], int64[::1], float64[::1], float64[::1], float64[::1], float64[::1], float64[::1], "
    "int64[::1], int64[::1], float64[::1], float64[::1], float64[::1], float64[::1], float64[::1])"
)
def pair_up(
    pools: Ints, first: Ints, asset: Ints, held: Floats, unit: Floats, curved: Floats, linear: Floats, kept: Floats,
    ways: Ints, way: Ints, value: Floats, net: Floats, sent: Floats, got: Floats, ended: Floats,
) -> None:  # fmt: skip
    """Make legs of what pools take and give (`net`, in values); each trades on what those before it have left."""
    for n in range(pools.shape[0]):
        i = pools[n]
        begin, members = first[i], first[i + 1] - first[i]
        now = held[begin : first[i + 1]].copy()
        ended[i] = 0.0
        leaving = 0
        for a in range(members):
            m = begin + a
            if abs(net[m]) > LEAST:
                moved = net[m] / value[asset[m]]
                ended[i] += math.log1p((kept[i] * moved if moved > 0.0 else moved) / held[m])
                leaving += net[m] < 0.0
        while True:
            a = b = -1
            for k in range(members):
                if net[begin + k] > LEAST and (a < 0 or net[begin + k] > net[begin + a]):
                    a = k
                if net[begin + k] < -LEAST and (b < 0 or net[begin + k] < net[begin + b]):
                    b = k
            if a < 0 or b < 0:
                break
            into, out_of = begin + a, begin + b
            offered, wanted = net[into] / value[asset[into]], -net[out_of] / value[asset[out_of]]
            near_in, near_out, bend = now[a] * unit[into], now[b] * unit[out_of], 0.0
            needed = math.inf
            if linear[i] > 0.0:
                bend = curved[begin] / linear[i]
                for k in range(members):
                    bend *= held[begin + k] / now[k]
                needed = stable_growth(near_in, near_out, bend, wanted * unit[out_of]) / unit[into] / kept[i]
            elif wanted < now[b]:
                ratio = curved[out_of] / curved[into]
                needed = now[a] * math.expm1(-math.log1p(-wanted / now[b]) * ratio) / kept[i]
            if needed >= offered or leaving == 1:
                needed = offered
                if linear[i] > 0.0:
                    wanted = stable_drop(near_in, near_out, bend, kept[i] * needed * unit[into])[0] / unit[out_of]
                else:
                    ratio = curved[into] / curved[out_of]
                    wanted = -now[b] * math.expm1(-math.log1p(kept[i] * needed / now[a]) * ratio)
                net[into] = 0.0
            else:
                net[into] -= needed * value[asset[into]]
            if leaving > 1:
                net[out_of] += wanted * value[asset[out_of]]
                leaving -= net[out_of] >= -LEAST
            e = way[ways[i] + a * members + b]
            if e < 0:
                break
            sent[e] += needed
            got[e] += wanted
            now[a] += kept[i] * needed
            now[b] -= wanted
