"""Pools of three and more assets as one market each: what their pairs can be worth together, in arrays."""

from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from app.domain.market import Stable, Weighted
from app.domain.solver.exact import EXACT
from app.domain.solver.graph.network import Network
from app.domain.solver.kernels import Flags, Floats, Ints
from app.domain.solver.kinds.base import BEND, DEPTH_IN, KEPT, NEAR_IN

FEE_LEFT, AMPLIFIED, HEIGHT, HELD = range(4)
POOL_FIELDS = 4


class SharedPools(NamedTuple):
    """Pool `i` owns the members from `first[i]` on: its assets, what one unit of each counts as, and its weight.

    A weighted pool counts in whole reserves, StableSwap in balances in units of the invariant, where the weight is the
    balance, AMPLIFIED is Ann (zero for a weighted pool), HEIGHT the `K` of the joint conjugate and HELD the number of
    assets. `entering` and `leaving` are the members of each direction, -1 for directions of other markets.
    """

    pools: Floats
    first: Ints
    asset: Ints
    unit: Floats
    weight: Floats
    entering: Ints
    leaving: Ints


_shared: WeakKeyDictionary[Network, SharedPools] = WeakKeyDictionary()


def shared_pools(network: Network) -> SharedPools:
    """Arrange the shared pools of a network; once for each network."""
    known = _shared.get(network)
    if known is None:
        known = _shared[network] = _arrange(network)
    return known


def _arrange(network: Network) -> SharedPools:
    pools: list[tuple[float, ...]] = []
    first, assets, units, weights = [0], list[int](), list[float](), list[float]()
    entering = np.full(len(network.directions), -1, np.int64)
    leaving = entering.copy()
    for i in np.flatnonzero(network.shares):
        market = network.exchanges[i].market
        assert isinstance(market, Stable | Weighted)
        begin, end = np.searchsorted(network.market, [i, i + 1])
        segments = network.segments[network.first[begin:end]]
        place = {int(k): len(assets) + n for n, k in enumerate(np.unique(network.source[begin:end]))}
        held = {int(k): row for k, row in zip(network.source[begin:end], segments, strict=True)}
        if isinstance(market, Stable):
            amplified = float(market.amplification * len(market.reserves))
            pools.append((float(segments[0, KEPT]), amplified, float(segments[0, BEND]) * amplified, float(len(place))))
            units += [float(held[k][DEPTH_IN]) for k in place]
            weights += [float(held[k][NEAR_IN]) for k in place]
        else:
            pools.append((float(segments[0, KEPT]), 0.0, 0.0, float(len(place))))
            stated = [market.weights[network.assets[k]] for k in place]
            units += [float(held[k][DEPTH_IN]) for k in place]
            weights += [float(EXACT.divide(weight, sum(stated))) for weight in stated]
        assets += place
        first.append(len(assets))
        for e in range(begin, end):
            entering[e], leaving[e] = place[int(network.source[e])], place[int(network.sink[e])]
    return SharedPools(
        np.array(pools, np.float64).reshape(-1, POOL_FIELDS),
        np.array(first, np.int64),
        np.array(assets, np.int64),
        np.array(units),
        np.array(weights),
        entering,
        leaving,
    )


def joined(shared: SharedPools, kept: Flags) -> tuple[Flags, bool]:
    """Mark the directions kept that are weighed as trades of whole pools, and say whether those allow for more.

    A pool that may do more than the directions kept of it is better weighed by each of them. That is no bound for a
    StableSwap pool where one leg can better the price of another, as it takes two directions to do.
    """
    ways = np.flatnonzero(kept & (shared.entering >= 0))
    owner = np.repeat(np.arange(len(shared.pools)), np.diff(shared.first))
    pool = owner[shared.entering[ways]]
    enters, leaves = passable(shared, kept)
    count = len(shared.pools)
    possible = np.bincount(owner, enters, count) * np.bincount(owner, leaves, count)
    possible -= np.bincount(owner, enters & leaves, count)
    there = np.bincount(pool, minlength=count)
    is_stable = shared.pools[:, AMPLIFIED] > 0.0
    together = (there > 1) & (is_stable | (there == possible))
    chosen = np.zeros(len(kept), np.bool_)
    chosen[ways[together[pool]]] = True
    return chosen, bool((together & (there < possible)).any())


def passable(shared: SharedPools, kept: Flags) -> tuple[Flags, Flags]:
    """Mark the members that may enter their pool and those that may leave it by the directions kept."""
    enters = np.zeros(len(shared.asset), np.bool_)
    leaves = np.zeros(len(shared.asset), np.bool_)
    ways = kept & (shared.entering >= 0)
    enters[shared.entering[ways]] = True
    leaves[shared.leaving[ways]] = True
    return enters, leaves
