"""Slow and simple answers to compare with: exhaustive search over tiny instances, in plain Python floats."""

from collections.abc import Iterator, Sequence
from itertools import product
from math import inf

from app.domain.market import ConstantProduct, OrderBook
from app.domain.trade import Side, Trade
from app.domain.values import Asset


def send_for(market: OrderBook | ConstantProduct, side: Side, base: float) -> float | None:
    """Return the quote paid for (buy) or received for (sell) a base quantity, or None when there is not enough."""
    fee = float(market.fee_bps) / 1e4
    if isinstance(market, OrderBook):
        money, left = 0.0, base
        for price, size in market.asks if side is Side.BUY else market.bids:
            taken = min(left, float(size))
            money += taken * float(price)
            left -= taken
        if left > 1e-9:
            return None
        return money * (1 + fee if side is Side.BUY else 1 - fee)
    held_base, held_quote = (float(held) for held in market.reserves.values())
    if side is Side.BUY:
        return held_quote * base / (held_base - base) / (1 - fee) if base < held_base else None
    counted = base * (1 - fee)
    return held_quote * counted / (held_base + counted)


def notional(market: OrderBook, side: Side, base: float) -> float:
    """Return the money of a fill before its fee."""
    money = send_for(market, side, base) or 0.0
    fee = float(market.fee_bps) / 1e4
    return money / (1 + fee if side is Side.BUY else 1 - fee)


def _quantities(market: OrderBook | ConstantProduct, side: Side, step: float, most: float) -> Iterator[float]:
    yield 0.0
    lot = float(market.lot_size) if isinstance(market, OrderBook) and market.lot_size else step
    count = 1
    while count * lot <= most + 1e-9:
        base = count * lot
        count += 1
        if isinstance(market, OrderBook):
            if base < float(market.min_quantity or 0) - 1e-9:
                continue
            if notional(market, side, base) < float(market.min_notional or 0) - 1e-9:
                continue
        if send_for(market, side, base) is None:
            return
        yield base


def best_on_grid(
    markets: Sequence[OrderBook | ConstantProduct],
    trade: Trade,
    step: float,
    prices: dict[Asset, float],
) -> float | None:
    """Search every split on a grid of base quantities; return the best objective, or None when none is feasible."""
    quantity, side = float(trade.quantity), trade.side
    in_base = trade.quantity_asset == trade.instrument.base
    most = quantity + 1.0 if in_base else inf
    best: float | None = None
    held = [list(_quantities(market, side, step, min(most, 60.0))) for market in markets]
    objective_price = prices[trade.gives if trade.is_exact_out else trade.takes]
    for split in product(*held):
        used = [(market, base) for market, base in zip(markets, split, strict=True) if base > 0]
        if not 0 < len(used) <= trade.constraints.max_legs:
            continue
        base = sum(split)
        money = sum(send_for(market, side, amount) or 0.0 for market, amount in used)
        amount = base if in_base else money
        over = amount - quantity if trade.is_exact_out else quantity - amount
        # A slice may miss the quantity by less than a lot of a market that it uses, and only to its disfavour.
        lot = max((float(m.lot_size) for m, _ in used if isinstance(m, OrderBook) and m.lot_size), default=0.0)
        if over < -1e-9 or over >= max(lot * (1.0 if in_base else money / base), 1e-8) - 1e-9:
            continue
        aside = sum(
            float(market.fixed_cost.amount) * prices[market.fixed_cost.asset]
            for market, _ in used
            if market.fixed_cost is not None
        )
        buys = side is Side.BUY
        sent, received = (money, base) if buys else (base, money)
        value = sent + aside / objective_price if trade.is_exact_out else received - aside / objective_price
        if best is None or (value < best if trade.is_exact_out else value > best):
            best = value
    return best
