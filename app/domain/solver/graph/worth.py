"""What one asset is worth in another: the middle of the best zero-size rates over several markets."""

from datetime import datetime
from decimal import Decimal

import numpy as np

from app.domain.solver.exact import LEAST, MOST, STATED, ZERO
from app.domain.solver.graph.network import Flags, Network
from app.domain.solver.graph.walks import best_rates
from app.domain.trade import Constraints
from app.domain.values import Asset

FARTHEST = 6
"""Legs of the longest way over which an asset is priced."""


def log_rate(network: Network, allowed: Flags, gives: Asset, takes: Asset, max_hops: int) -> float:
    """Return the log of the best rate of an infinitesimal trade, fees excluded; minus infinity where no way leads."""
    if gives not in network.index or takes not in network.index:
        return -np.inf
    kept = np.flatnonzero(network.useful(allowed, gives, takes, max_hops))
    best = best_rates(
        network.source, network.sink, kept, network.log_fee_free, network.index[gives], len(network.assets), max_hops
    )
    return float(best[network.index[takes]])


def middle(network: Network, allowed: Flags, base: Asset, quote: Asset, max_hops: int) -> Decimal:
    """Return the middle of the best rates both ways, in the quote; zero where no way leads."""
    selling = log_rate(network, allowed, base, quote, max_hops)
    buying = log_rate(network, allowed, quote, base, max_hops)
    prices = [np.exp(rate) for rate in (selling, -buying) if np.isfinite(rate)]
    return STATED.plus(sum((Decimal(float(price)) for price in prices), ZERO) / len(prices)) if prices else ZERO


def worth(network: Network, asset: Asset, quote: Asset, as_of: datetime | None) -> Decimal | None:
    """Price an asset over all trading markets, or return None when no way leads to the quote or from it."""
    with np.errstate(all="ignore"):
        price = middle(network, network.allowed(Constraints(), as_of), asset, quote, FARTHEST)
    return price if LEAST < price < MOST else None
