"""What markets ask of each fill, in arrays beside the network's: lots, minimums, and who charges a fixed cost."""

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from app.domain.market import OrderBook
from app.domain.solver.graph.network import Flags, Network
from app.domain.solver.kernels import Floats, Ints
from app.domain.solver.kinds.order_book import OrderBookExchange


@dataclass(frozen=True, slots=True)
class Rules:
    """By direction: the lot and the least base of a fill, and whether the base is what is taken.

    `leaving` lists the directions by the asset they take in, from `leaving_from[k]` to `leaving_from[k + 1]`;
    `entering` by the asset they bring.
    """

    lot: Floats
    least: Floats
    base_is_taken: Flags
    leaving: Ints
    leaving_from: Ints
    entering: Ints
    entering_from: Ints


_known: WeakKeyDictionary[Network, Rules] = WeakKeyDictionary()


def rules_of(network: Network) -> Rules:
    """Return the rules of a network's directions, listed when first asked for."""
    known = _known.get(network)
    if known is None:
        known = _known[network] = _listed(network)
    return known


def _listed(network: Network) -> Rules:
    count = len(network.directions)
    lot, least, base_is_taken = np.zeros(count), np.zeros(count), np.zeros(count, np.bool_)
    for e in np.flatnonzero(network.in_steps):
        exchange = network.exchanges[int(network.market[e])]
        if isinstance(exchange, OrderBookExchange) and isinstance(exchange.market, OrderBook):
            side = exchange.side(network.directions[e][0])
            lot[e] = float(side.lot or 0)
            least[e] = float(side.min_base)
            base_is_taken[e] = side.buys
    by_source = np.argsort(network.source, kind="stable").astype(np.int64)
    by_sink = np.argsort(network.sink, kind="stable").astype(np.int64)
    places = np.arange(len(network.assets) + 1)
    return Rules(
        lot, least, base_is_taken,
        by_source, np.searchsorted(network.source[by_source], places).astype(np.int64),
        by_sink, np.searchsorted(network.sink[by_sink], places).astype(np.int64),
    )  # fmt: skip
