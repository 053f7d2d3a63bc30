"""What assets are worth at the margin of a relaxation."""

from collections.abc import Callable
from decimal import Decimal

import numpy as np

from app.domain.solver.exact import LEAST, MOST, ONE, short_down
from app.domain.solver.graph.network import Network
from app.domain.solver.graph.selected import Relaxed
from app.domain.solver.graph.survey import Survey
from app.domain.trade import Trade
from app.domain.values import Asset

LOWEST_PRICE, HIGHEST_PRICE = float(LEAST), float(MOST)
"""Beyond these a price is of an optimisation that found no end, and sums with it would no longer be exact."""


def marginal_prices(
    network: Network, trade: Trade, relaxed: Relaxed, survey: Survey, third_price: Callable[[Asset], Decimal | None]
) -> dict[Asset, Decimal]:
    """Price what flows, both assets of the trade, and what fixed costs are in, in the quote."""
    instrument = trade.instrument
    base, quote = network.index[instrument.base], network.index[instrument.quote]
    start, end = network.index[trade.gives], network.index[trade.takes]
    with np.errstate(all="ignore"):
        ratios = relaxed.price / relaxed.price[quote]
    prices = {instrument.quote: ONE}
    used = np.zeros(len(network.assets), np.bool_)
    used[network.sink[relaxed.flow > 0.0]] = used[base] = True
    used[quote] = False
    for k in np.flatnonzero(used & (ratios > LOWEST_PRICE) & (ratios < HIGHEST_PRICE)).tolist():
        prices[network.assets[k]] = short_down(Decimal(float(ratios[k])))
    if instrument.base not in prices:
        given, taken = float(survey.needed[start]), float(survey.reached[end])
        prices[instrument.base] = Decimal(given / taken if start == quote else taken / given)
    for exchange in network.exchanges if network.is_costly else ():
        cost = exchange.market.fixed_cost
        if cost is not None and cost.asset not in prices:
            k = network.index.get(cost.asset, -1)
            known = k >= 0 and LOWEST_PRICE < ratios[k] < HIGHEST_PRICE
            price = Decimal(float(ratios[k])) if known else third_price(cost.asset)
            if price is not None:
                prices[cost.asset] = short_down(price)
    return prices
