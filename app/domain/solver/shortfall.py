"""What the markets of a pair can and cannot do: their least, their most, and the refusals that say so."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import chain
from typing import NoReturn, Protocol

from app.domain.solver import refusal
from app.domain.solver.exact import MOST, ZERO, ceil_to, floor_to
from app.domain.solver.kernels import OFF, POOL_REACH
from app.domain.solver.optimise import Bounds
from app.domain.solver.pair import Pair, allows
from app.domain.solver.refusal import Refusal
from app.domain.solver.sides import BookSide, Side, Units
from app.domain.trade import Trade
from app.domain.values import Asset, plain

BISECTIONS = 60
GIVING_WAY = 16
WIDENINGS = 24
NEAREST_SHARE = 2**-20
MOST_LEGS = 1000


class Attempts(Protocol):
    """Whoever can tell whether an amount, or a cap on legs, works out."""

    bounds: Bounds

    def feasible(self, amount: Decimal) -> bool:
        """Say whether an amount of the trade's quantity asset can be planned."""

    def legs_needed(self, target: Decimal, most: int) -> int | None:
        """Return the lowest cap on legs above the trade's own that allows an amount."""


def refuse_empty(pair: Pair, trade: Trade) -> NoReturn:
    """Refuse a trade that no market may fill at all."""
    constraints = trade.constraints
    markets = [side.market for side in pair.sides]
    venues = [market.venue for market in markets if not constraints.venues.allows(market.venue)]
    if venues:
        raise Refusal(
            f"no allowed venue trades {trade.instrument}",
            constraint="venues",
            turns="venues",
            offers=refusal.venues(trade, venues),
            advice="allow {}",
        )
    if markets:
        raise Refusal(
            f"no allowed market trades {trade.instrument}",
            constraint="markets",
            turns="markets",
            offers=refusal.markets(trade, [market.market_id for market in markets]),
            advice="allow {}",
        )
    blocked = next((side.blocked for side in pair.blocked if side.blocked and allows(constraints, side)), None)
    if blocked is not None:
        raise Refusal(
            f"every book of {trade.instrument} is thinner than its own minimum", constraint=blocked, turns="quantity"
        )
    raise Refusal(
        f"no trading market offers {trade.takes} for {trade.gives}; send its liquidity first",
        constraint="liquidity",
        turns="quantity",
    )


def refuse_unvalued(trade: Trade, asset: Asset) -> NoReturn:
    """Refuse a trade whose every market charges an asset that no market prices."""
    raise Refusal(
        f"every market of {trade.instrument} charges {asset}, which no market prices in {trade.instrument.quote} or "
        f"{trade.instrument.base}; send a market that does",
        constraint="fixed_costs",
        turns="fixed_costs",
    )


def capacity(side: Side, exact_out: bool, units: Units) -> Decimal | None:
    """Return the most a side can receive (exact-in) or pay (exact-out), None when that is unlimited."""
    if isinstance(side, BookSide):
        base = floor_to(side.cum_base[-1], side.step)
        if base <= 0:
            return ZERO
        fill = side.fill(base, units)
        return fill.receives if exact_out else fill.sends
    return floor_to(side.depth_out * Decimal(repr(POOL_REACH)), units.taken) if exact_out else None


def capacities(pair: Pair, bounds: Bounds, exact_out: bool) -> list[Decimal] | None:
    """List what the allowed sides hold, largest first; None when one of them is unlimited."""
    held: list[Decimal] = []
    for i, side in enumerate(pair.sides):
        if bounds.modes[i] != OFF:
            most = capacity(side, exact_out, bounds.units)
            if most is None:
                return None
            held.append(most)
    return sorted(held, reverse=True)


def smallest(pair: Pair, bounds: Bounds, exact_out: bool) -> tuple[Decimal, str] | None:
    """Return the smallest quantity that any allowed side fills, and what sets it."""
    best: tuple[Decimal, str] | None = None
    units = bounds.units
    for i, side in enumerate(pair.sides):
        if bounds.modes[i] == OFF:
            continue
        name = "quantity"
        if isinstance(side, BookSide):
            fill = side.fill(side.least_base, units)
            if fill.receives > 0:
                name = _ruled_by(side)
            else:
                worthwhile = side.obtain(units.taken, units)
                if worthwhile is None:
                    continue
                fill = worthwhile
            amount = fill.receives if exact_out else fill.sends
        else:
            dust = side.obtain(units.taken, units)
            if dust is None:
                continue
            amount = units.taken if exact_out else dust.sends
        if best is None or amount < best[0]:
            best = (amount, name)
    return best


def _ruled_by(side: BookSide) -> str:
    if side.min_base and side.min_base > (side.lot or ZERO):
        by_quantity = ceil_to(side.market.min_quantity or ZERO, side.step)
        return "min_quantity" if side.min_base <= by_quantity else "min_notional"
    return "lot_size" if side.lot is not None else "min_quantity" if side.min_base else "quantity"


def largest(feasible: Callable[[Decimal], bool], most: Decimal, grid: Decimal) -> Decimal:
    """Bisect for the largest feasible amount up to `most`, zero when none was found."""
    low, high = ZERO, most
    gap = grid
    for _ in range(BISECTIONS):
        # Ever further below, and then halving, finds a first feasible amount near the most as well as magnitudes away.
        probe = floor_to((low + high) / 2 if low else most - gap if gap < most / 2 else high / 2, grid)
        gap *= GIVING_WAY
        if probe <= low:
            break
        if feasible(probe):
            low = probe
        else:
            high = probe
    return low


def next_above(feasible: Callable[[Decimal], bool], least: Decimal, most: Decimal, grid: Decimal) -> Decimal:
    """Search ever further for a feasible amount above one that is not, zero when none was found."""
    low, gap = least, max(grid, floor_to(least * Decimal(NEAREST_SHARE), grid))
    for _ in range(WIDENINGS):
        high = low + gap
        if high > most:
            return ZERO
        if feasible(high):
            break
        low, gap = high, gap * 2
    else:
        return ZERO
    for _ in range(WIDENINGS):
        middle = floor_to((low + high) / 2, grid)
        if middle <= low:
            break
        if feasible(middle):
            high = middle
        else:
            low = middle
    return high


def refuse(pair: Pair, trade: Trade, attempts: Attempts, target: Decimal) -> NoReturn:
    """Refuse a quantity that the markets' own rules or the cap on legs rule out."""
    exact_out, bounds, asset = trade.is_exact_out, attempts.bounds, trade.quantity_asset
    grid = bounds.units.taken if exact_out else bounds.units.given
    held = capacities(pair, bounds, exact_out)
    least = smallest(pair, bounds, exact_out)

    most = min(sum(held, ZERO), MOST) if held is not None else MOST

    def below(amount: Decimal) -> Iterator[Decimal]:
        yield amount
        yield largest(attempts.feasible, amount, grid)

    def above(amount: Decimal) -> Iterator[Decimal]:
        yield amount
        yield next_above(attempts.feasible, amount, most, grid)

    if least is None or target >= MOST or most < target:
        raise Refusal(
            f"the allowed markets hold {plain(most)} {asset}" if most < MOST else "the quantity is beyond any market",
            constraint="liquidity",
            turns="quantity",
            offers=refusal.quantities(trade, below(min(most, target))),
            advice="trade {} or allow a partial fill",
        )
    if target < least[0]:
        raise Refusal(
            f"{plain(target)} {asset} is below the smallest order that a market takes",
            constraint=least[1],
            turns="quantity",
            offers=refusal.quantities(trade, above(least[0])),
            advice="trade {}",
        )
    needed = attempts.legs_needed(target, min(len(pair.sides), MOST_LEGS))
    if needed is not None:
        raise Refusal(
            f"{bounds.max_legs} legs cannot fill {plain(target)} {asset}",
            constraint="max_legs",
            turns="max_legs",
            offers=refusal.legs(trade, [needed]),
            advice="allow {}",
        )
    raise Refusal(
        f"the markets' minimums and lots leave no way to fill exactly {plain(target)} {asset}",
        constraint=_rule(pair),
        turns="quantity",
        offers=refusal.quantities(trade, chain(below(target), above(target))),
        advice="trade {}",
    )


def _rule(pair: Pair) -> str:
    for side in pair.sides:
        if isinstance(side, BookSide) and side.min_base:
            wanted = side.market.min_quantity or ZERO
            return "min_quantity" if wanted and wanted >= side.min_base else "min_notional"
    return "lot_size" if pair.has_lots else "liquidity"
