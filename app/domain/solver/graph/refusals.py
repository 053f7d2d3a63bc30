"""Refusals over the graph: which bound stands in the way, and values that would not, nearest first."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import NoReturn

import numpy as np

from app.domain.market import OrderBook
from app.domain.reach import MOST_HOPS
from app.domain.solver import refusal
from app.domain.solver.exact import MOST, ZERO, floor_to
from app.domain.solver.graph.network import Flags, Network
from app.domain.solver.graph.walks import hops
from app.domain.solver.kinds.order_book import OrderBookExchange
from app.domain.solver.refusal import Refusal
from app.domain.solver.sides import BookSide
from app.domain.trade import Constraints, Selection, Trade
from app.domain.values import plain

MOST_LEGS = 1000
WIDENINGS = 40
BISECTIONS = 24

Feasible = Callable[[Trade], bool]
"""Says whether a trade can be planned, its bounds on price and funds aside."""


def refuse_unreachable(network: Network, trade: Trade, as_of: datetime | None) -> NoReturn:
    """Refuse a trade between assets that no allowed way connects."""
    constraints = trade.constraints
    allowed = network.allowed(constraints, as_of)
    needed = _legs_between(network, trade, allowed)
    if constraints.max_hops < needed <= MOST_HOPS:
        raise Refusal(
            f"no way of {constraints.max_hops} legs leads from {trade.gives} to {trade.takes}",
            constraint="max_hops",
            turns="reach",
            offers=refusal.hops(trade, range(needed, MOST_HOPS + 1)),
            advice="allow {}",
        )
    everywhere = replace(constraints, venues=Selection())
    for free, name in ((everywhere, "venues"), (Constraints(), "markets")):
        useful = network.useful(network.allowed(free, as_of), trade.gives, trade.takes, constraints.max_hops) & ~allowed
        markets = [network.exchanges[i].market for i in np.unique(network.market[useful])]
        if markets:
            raise Refusal(
                f"no allowed way leads from {trade.gives} to {trade.takes}",
                constraint=name,
                turns=name,
                offers=refusal.venues(trade, [market.venue for market in markets])
                if name == "venues"
                else refusal.markets(trade, [market.market_id for market in markets]),
                advice="allow {}",
            )
    raise Refusal(
        f"no trading market leads from {trade.gives} to {trade.takes}; send its liquidity first",
        constraint="liquidity",
        turns="quantity",
    )


def _legs_between(network: Network, trade: Trade, allowed: Flags) -> int:
    start, end = network.index.get(trade.gives), network.index.get(trade.takes)
    if start is None or end is None:
        return MOST_HOPS + 1
    kept = allowed & (network.sink != start) & (network.source != end)
    return int(hops(network.source, network.sink, kept, start, len(network.assets), MOST_HOPS)[end])


def refuse_unpriced(trade: Trade, asset: str) -> NoReturn:
    """Refuse a trade whose every way charges an asset that no market prices."""
    raise Refusal(
        f"every way from {trade.gives} to {trade.takes} charges {asset}, which no market prices; send one that does",
        constraint="fixed_costs",
        turns="fixed_costs",
    )


def refuse_quantity(
    network: Network, kept: Flags, trade: Trade, grid: Decimal, held: Decimal, largest: Callable[[], Decimal],
    feasible: Feasible,
) -> NoReturn:  # fmt: skip
    """Refuse a quantity that the caps on legs and hops, the markets' rules or what they hold leave no way to fill."""
    amount, asset = plain(trade.quantity), trade.quantity_asset
    if trade.quantity <= held:
        _refuse_shape(trade, feasible)
    books = _books(network, kept)
    ruled = [side for side in books if side.lot is not None or side.min_base]
    most = largest()
    if most > 0 or not ruled:
        short = trade.quantity > held or not ruled
        raise Refusal(
            f"the allowed markets hold no more than {plain(min(held, most) if short else held)} {asset}"
            if short
            else f"the markets' minimums and lots leave no way to fill {amount} {asset}",
            constraint="liquidity" if short else rule_of(ruled),
            turns="quantity",
            offers=refusal.quantities(trade, [most]),
            advice="trade {} or allow a partial fill",
        )
    raise Refusal(
        f"{amount} {asset} is below the smallest order that the markets take",
        constraint=rule_of(ruled),
        turns="quantity",
        offers=refusal.quantities(trade, _above(trade, ruled, grid, held, feasible)),
        advice="trade {}",
    )


def _refuse_shape(trade: Trade, feasible: Feasible) -> None:
    constraints = trade.constraints

    def legs(cap: int) -> Trade:
        return replace(trade, constraints=replace(constraints, max_legs=cap))

    def hops_of(cap: int) -> Trade:
        return replace(trade, constraints=replace(constraints, max_hops=cap))

    for name, now, most, turned, offers in (
        ("max_legs", constraints.max_legs, MOST_LEGS, legs, refusal.legs),
        ("max_hops", constraints.max_hops, MOST_HOPS, hops_of, refusal.hops),
    ):
        if now < most and feasible(turned(most)):
            least = _least(now, most, lambda cap, turned=turned: feasible(turned(cap)))  # type: ignore[misc]
            raise Refusal(
                f"{now} {name.removeprefix('max_')} cannot fill {plain(trade.quantity)} {trade.quantity_asset}",
                constraint=name,
                turns=name,
                offers=offers(trade, [least]),
                advice="allow {}",
            )


def _least(too_few: int, enough: int, feasible: Callable[[int], bool]) -> int:
    # The next few first: most often one more will do.
    for cap in range(too_few + 1, min(too_few + 4, enough)):
        if feasible(cap):
            return cap
        too_few = cap
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if feasible(middle):
            enough = middle
        else:
            too_few = middle
    return enough


def _books(network: Network, kept: Flags) -> list[BookSide]:
    exchanges = ((network.exchanges[int(network.market[e])], e) for e in np.flatnonzero(kept & network.in_steps))
    return [
        exchange.side(network.directions[int(e)][0])
        for exchange, e in exchanges
        if isinstance(exchange, OrderBookExchange)
    ]


def rule_of(sides: Iterable[BookSide]) -> str:
    """Name the rule that the smallest order of these sides comes from."""
    side = min(sides, key=lambda side: (side.least_base * (side.best_price or ZERO), side.market.market_id))
    if side.min_base and side.min_base > (side.lot or ZERO):
        return "min_quantity" if (side.market.min_quantity or ZERO) * 2 > side.min_base else "min_notional"
    return "lot_size" if side.lot is not None else "min_quantity"


def _above(
    trade: Trade, sides: Iterable[BookSide], grid: Decimal, held: Decimal, feasible: Feasible
) -> Iterator[Decimal]:
    def fills(amount: Decimal) -> bool:
        return feasible(replace(trade, quantity=amount))

    smallest = sorted(
        side.least_base
        for side in sides
        if isinstance(side.market, OrderBook) and side.market.base == trade.quantity_asset
    )
    for amount in smallest[:2]:
        if amount > trade.quantity and fills(amount):
            yield amount
    low = high = max(trade.quantity, grid)
    for _ in range(WIDENINGS):
        low, high = high, high * 2
        if high > min(held, MOST):
            return
        if fills(high):
            break
    else:
        return
    for _ in range(BISECTIONS):
        middle = floor_to((low + high) / 2, grid)
        if middle <= low:
            break
        if fills(middle):
            high = middle
        else:
            low = middle
    yield high
