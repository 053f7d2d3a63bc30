"""Parts of a graph in which no way is too long and none leads in a circle: every leg leads to a higher level."""

from collections.abc import Iterable

import numpy as np

from app.domain.solver.graph.network import Flags, Network
from app.domain.solver.graph.walks import hops, longest_ways
from app.domain.solver.kernels import Ints


def uphill(network: Network, kept: Flags, start: int, end: int, most: int, used: Iterable[int]) -> tuple[Flags, Flags]:
    """Mark directions that form no way of more than `most` legs, those in use among them; in two ways.

    Every asset is as low as the ways from the start allow, or as high as those to the end do. `used` must form no
    circle and no way that is too long.
    """
    assets = len(network.assets)
    edges = np.array(list(used), np.int64)
    source, sink = network.source[edges], network.sink[edges]
    low = hops(network.source, network.sink, kept, start, assets, most)
    high = most - hops(network.sink, network.source, kept, end, assets, most)
    ahead, behind = longest_ways(source, sink, start, assets)[1], longest_ways(sink, source, end, assets)[1]
    low = np.where(ahead >= 0, ahead, low)
    high = np.where(behind >= 0, most - behind, high)
    low[end] = most
    high[start] = 0
    return _rising(network, kept, low, most), _rising(network, kept, high, most)


def _rising(network: Network, kept: Flags, level: Ints, most: int) -> Flags:
    below, above = level[network.source], level[network.sink]
    rising: Flags = kept & (below < above) & (below >= 0) & (above <= most)
    return rising
