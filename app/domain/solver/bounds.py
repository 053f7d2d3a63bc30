"""What a fill loses against the arrival price, and the price a trade may cost at worst."""

from decimal import Decimal

from app.domain.solver.exact import BASIS_POINTS, ONE
from app.domain.trade import Side, Trade


def lost(sends: Decimal, receives: Decimal, arrival: Decimal, *, buys: bool) -> Decimal:
    """Return what a fill loses against the arrival price, in the quote asset."""
    return sends - arrival * receives if buys else arrival * sends - receives


def slippage_bps(sends: Decimal, receives: Decimal, arrival: Decimal, *, buys: bool) -> Decimal:
    """Return how far a fill's price is beyond the arrival price."""
    if buys:
        return (sends / (arrival * receives) - ONE) * BASIS_POINTS
    return (ONE - receives / (arrival * sends)) * BASIS_POINTS


def price_bound(trade: Trade, arrival: Decimal) -> tuple[Decimal, str] | None:
    """Find the tighter of a trade's price bounds and its name; None when it states none."""
    buys = trade.side is Side.BUY
    bounds: list[tuple[Decimal, str]] = []
    if trade.limit_price is not None:
        bounds.append((trade.limit_price, "limit_price"))
    if trade.max_slippage_bps is not None and arrival > 0:
        share = Decimal(str(trade.max_slippage_bps)) / BASIS_POINTS
        bounds.append((arrival * (ONE + share if buys else ONE - share), "max_slippage_bps"))
    if not bounds:
        return None
    return min(bounds) if buys else max(bounds)
