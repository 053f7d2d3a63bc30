"""Refusals over the graph: which bound stands in the way, and the nearest value that would not."""

from datetime import datetime
from decimal import Decimal
from typing import NoReturn

from app.domain.errors import Infeasible
from app.domain.solver.graph.network import Network
from app.domain.solver.graph.walks import hops
from app.domain.trade import Constraints, Selection, Trade
from app.domain.values import plain

MOST_HOPS = 20


def refuse_unreachable(network: Network, trade: Trade, as_of: datetime | None) -> NoReturn:
    """Refuse a trade between assets that no allowed way connects."""
    constraints = trade.constraints
    max_hops = constraints.max_hops
    allowed = network.allowed(constraints, as_of)
    start, end = network.index.get(trade.gives), network.index.get(trade.takes)
    if start is not None and end is not None:
        kept = allowed & (network.sink != start) & (network.source != end)
        needed = int(hops(network.source, network.sink, kept, start, len(network.assets), MOST_HOPS)[end])
        if max_hops < needed <= MOST_HOPS:
            raise Infeasible(
                f"no way of {max_hops} legs leads from {trade.gives} to {trade.takes}; allow {needed}",
                constraint="max_hops",
                nearest=str(needed),
            )
    everywhere = Constraints(venues=Selection(), markets=constraints.markets)
    for free, name in ((everywhere, "venues"), (Constraints(), "markets")):
        useful = network.useful(network.allowed(free, as_of), trade.gives, trade.takes, max_hops) & ~allowed
        if useful.any():
            market = network.exchanges[int(network.market[useful.argmax()])].market
            nearest = str(market.venue if name == "venues" else market.market_id)
            raise Infeasible(
                f"no allowed way leads from {trade.gives} to {trade.takes}; allow {nearest}",
                constraint=name,
                nearest=nearest,
            )
    raise Infeasible(
        f"no trading market leads from {trade.gives} to {trade.takes}; send its liquidity first",
        constraint="liquidity",
    )


def refuse_unpriced(trade: Trade, asset: str) -> NoReturn:
    """Refuse a trade whose every way charges an asset that no market prices."""
    raise Infeasible(
        f"every way from {trade.gives} to {trade.takes} charges {asset}, which no market prices; send one that does",
        constraint="fixed_costs",
    )


def refuse_quantity(trade: Trade, largest: Decimal | None) -> NoReturn:
    """Refuse a quantity that the markets do not hold or their rules leave no way to fill."""
    reason = f"the allowed markets cannot fill {plain(trade.quantity)} {trade.quantity_asset}"
    if largest is None:
        raise Infeasible(reason, constraint="liquidity")
    most = plain(largest)
    raise Infeasible(f"{reason}; trade {most} or allow a partial fill", constraint="liquidity", nearest=most)


def refuse_price(trade: Trade, price: Decimal, slippage_bps: Decimal, *, by_limit: bool) -> NoReturn:
    """Refuse a fill whose price breaks the trade's own bound."""
    if by_limit:
        raise Infeasible(
            f"the quantity costs {plain(price)} per {trade.instrument.base}; move the limit or allow a partial fill",
            constraint="limit_price",
            nearest=plain(price),
        )
    raise Infeasible(
        f"the quantity slips {slippage_bps:.4f} bp; raise max_slippage_bps or allow a partial fill",
        constraint="max_slippage_bps",
        nearest=plain(slippage_bps),
    )


def refuse_balance(constraints: Constraints, needed: Decimal, asset: str) -> NoReturn:
    """Refuse a trade that needs more than the program holds."""
    raise Infeasible(
        f"the trade needs {plain(needed)} {asset}; add to the balance, lower the quantity or allow a partial fill",
        constraint="balances",
        nearest=plain(needed),
    )
