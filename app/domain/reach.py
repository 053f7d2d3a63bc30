"""Which pairs of assets a way between two assets may pass."""

from collections.abc import Collection, Iterator, Mapping
from itertools import combinations

from app.domain.values import Asset

Pair = frozenset[Asset]
Neighbours = Mapping[Asset, Collection[Asset]]

MOST_HOPS = 20


def pairs_of(assets: Collection[Asset]) -> list[Pair]:
    """List the pairs that a market of these assets joins."""
    return [frozenset(pair) for pair in combinations(assets, 2)]


def pairs_between(neighbours: Neighbours, start: Asset, end: Asset, most: int) -> frozenset[Pair]:
    """Find every pair on a way of at most `most` steps that visits no asset twice.

    Where one pair closes a long way and a short one, ways somewhat longer than `most` may be found with it.
    """
    ahead = _distances(neighbours, start, end, most)
    behind = _distances(neighbours, end, start, most)
    found: dict[Asset, set[Asset]] = {start: set(), end: set()}
    for here in ahead:
        for there in neighbours.get(here, ()):
            if there in behind and ahead[here] + 1 + behind[there] <= most:
                found.setdefault(here, set()).add(there)
                found.setdefault(there, set()).add(here)
    block = _block(found, start, end)
    pairs = {frozenset((here, there)) for here in block for there in found[here] if there in block}
    return frozenset(pairs)


def steps_between(neighbours: Neighbours, start: Asset, end: Asset) -> int | None:
    """Count the fewest steps between two assets, or return None where `MOST_HOPS` do not suffice."""
    return _distances(neighbours, start, None, MOST_HOPS + 1).get(end)


def _distances(neighbours: Neighbours, start: Asset, avoided: Asset | None, below: int) -> dict[Asset, int]:
    distances = {start: 0}
    edge = [start]
    for steps in range(1, below):
        reached = []
        for here in edge:
            for there in neighbours.get(here, ()):
                if there not in distances and there != avoided:
                    distances[there] = steps
                    reached.append(there)
        edge = reached
    return distances


def _block(neighbours: Neighbours, start: Asset, end: Asset) -> set[Asset]:
    # Joining the two by one more edge, an asset is on some way between them exactly if it is in that edge's
    # biconnected block (Tarjan): what hangs on by a single asset can only be left the way it was entered.
    order = {start: 0, end: 1}
    low = {end: 1}
    entered = [end]
    trail: list[tuple[Asset, Iterator[Asset]]] = [(end, iter(neighbours[end]))]
    while trail:
        here, rest = trail[-1]
        for there in rest:
            if there not in order:
                order[there] = low[there] = len(order)
                entered.append(there)
                trail.append((there, iter(neighbours[there])))
                break
            low[here] = min(low[here], order[there])
        else:
            trail.pop()
            if not trail:
                break
            before = trail[-1][0]
            if low[here] >= order[before]:
                while entered.pop() != here:
                    pass
            else:
                low[before] = min(low[before], low[here])
    return {start, *entered}
