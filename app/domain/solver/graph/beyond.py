"""What a graph offers beyond the books and pools of a pair that are filled in closed form."""

from dataclasses import dataclass
from decimal import Decimal
from math import exp, log
from weakref import WeakKeyDictionary

import numpy as np

from app.domain.market import Rfq
from app.domain.solver.graph.curves import absorbed
from app.domain.solver.graph.evidence import arrival_price
from app.domain.solver.graph.network import Flags, Network
from app.domain.solver.graph.walks import relax
from app.domain.solver.kernels import Floats
from app.domain.solver.pair import PAIR_KINDS
from app.domain.trade import Trade
from app.domain.values import Asset

ALMOST = 1.0 - 1e-9
WORSE = 1e-12
"""How much worse than the pair's last unit every other way must be, in log rate, for rounding not to matter."""


@dataclass(frozen=True, slots=True)
class Beyond:
    """The best rate, as a logarithm, at which anything else leads from one asset to the other; and the middle price.

    The rate is infinite where a cycle pays. `segments` are the pair's own.
    """

    log_rate: float
    segments: Floats
    arrival: Decimal

    def may_be_worse(self, amount: float, *, exact_out: bool) -> bool:
        """Say whether the pair's own segments might exchange an amount before their rate falls to this one."""
        if self.log_rate == np.inf:
            return False
        return absorbed(self.segments, exp(self.log_rate), exact_out) >= amount * ALMOST

    def is_worse_than(self, rate: float) -> bool:
        """Say whether no unit takes another way while the pair itself gives this rate for its last one.

        Then at prices 1 for what is given, `1 / rate` for what is taken and the inverse of the best way there for any
        other asset, no edge beyond the pair gains: the pair's bound is that of the whole graph (weak duality).
        """
        return rate > 0.0 and self.log_rate < log(rate) - WORSE


_known: WeakKeyDictionary[Network, dict[tuple[Asset, Asset, bool, int], Beyond | None]] = WeakKeyDictionary()


def beyond(network: Network, trade: Trade) -> Beyond | None:
    """Look beyond a trade's own pair once per network; None for trades that choose markets, or where quotes expire."""
    venues, markets = trade.constraints.venues, trade.constraints.markets
    if venues.include or venues.exclude or markets.include or markets.exclude:
        return None
    known = _known.setdefault(network, {})
    key = (trade.gives, trade.takes, trade.gives == trade.instrument.quote, trade.constraints.max_hops)
    if key not in known:
        known[key] = _look(network, trade)
    return known[key]


def _look(network: Network, trade: Trade) -> Beyond | None:
    start, end = network.index.get(trade.gives), network.index.get(trade.takes)
    if start is None or end is None or any(isinstance(e.market, Rfq) for e in network.exchanges):
        return None
    both = {trade.gives, trade.takes}
    direct: Flags = np.array(
        [isinstance(e.market, PAIR_KINDS) and both.issuperset(e.market.assets) for e in network.exchanges], np.bool_
    )[network.market]
    kept: Flags = ~direct & (network.sink != start) & (network.source != end)
    best = np.full(len(network.assets), -np.inf)
    best[start] = 0.0
    settled = relax(network.source, network.sink, kept, network.log_best, len(network.assets), best)
    allowed = np.ones(len(network.directions), np.bool_)
    between = direct & (network.source == start) & (network.sink == end)
    own = network.segments[between[network.direction]]
    return Beyond(float(best[end]) if settled else np.inf, own, arrival_price(network, allowed, trade))
