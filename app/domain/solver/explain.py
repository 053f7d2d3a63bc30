"""Why the route is what it is: what a single market would have given, what holds it back, what things are worth."""

from decimal import Decimal
from math import inf

from app.domain.solution import Alternative
from app.domain.solver.kernels import ALONE, DEPTH_IN, DEPTH_OUT, KEPT, KIND, OFF, POOL, Modes
from app.domain.solver.optimise import Bounds, Relaxed
from app.domain.solver.pair import Pair
from app.domain.solver.sides import BookSide, Fill, Side, Units
from app.domain.trade import Constraints, Trade
from app.domain.values import Amount

SINGLES_TRIED = 16
"""How many markets alone are filled exactly, best first: whole lots seldom change an order by more than a place."""
COARSE = Decimal("1e-9")
"""An asset that divides no finer than this share of what is sent."""
BASIS_POINTS = 1e4
UNSPENT = Decimal("1e-12")
"""The share of a tender that a market may leave over and still have done the trade alone."""


def fill_alone(side: Side, target: Decimal, exact_out: bool, units: Units) -> Fill | None:
    """Trade a target on one market within its own lots and minimums, or return None when it cannot."""
    fill = side.obtain(target, units) if exact_out else side.spend(target, units)
    if fill is None or not isinstance(side, BookSide):
        return fill
    base = fill.receives if side.buys else fill.sends
    if base < side.min_base:
        return None
    if not exact_out and base + side.least_base <= side.cum_base[-1]:
        return fill
    unspent = target - fill.sends
    # Short of the target with the book used up: this market alone cannot do the trade.
    return fill if exact_out or unspent <= target * UNSPENT else None


def rounds_up(target: Decimal, exact_out: bool, units: Units) -> bool:
    """Say whether rounding up what is sent may pay for a market that holds noticeably less than a target."""
    return not exact_out and units.given > COARSE * target


def best_single(
    pair: Pair, relaxed: Relaxed, bounds: Bounds, target: Decimal, exact_out: bool
) -> tuple[int, Fill] | None:
    """Find the market that does the whole trade best on its own, fixed costs counted."""
    coarse = rounds_up(target, exact_out, bounds.units)
    if relaxed.best_alone < 0 and not coarse:
        return None
    if pair.plain and not coarse:
        fill = fill_alone(pair.sides[relaxed.best_alone], target, exact_out, bounds.units)
        return None if fill is None else (relaxed.best_alone, fill)
    sign = 1.0 if exact_out else -1.0
    costs = bounds.fixed.tolist()
    able = [
        (sign * row[ALONE] + costs[i] if row[ALONE] == row[ALONE] else -inf, i)
        for i, row in enumerate(relaxed.rows)
        if bounds.modes[i] != OFF and (coarse or row[ALONE] == row[ALONE])
    ]
    able.sort()
    best: tuple[int, Fill] | None = None
    best_value = inf
    for least, i in able if coarse else able[:SINGLES_TRIED]:
        # Whole lots and minimums only add to what it costs in any amounts.
        if least >= best_value:
            break
        fill = fill_alone(pair.sides[i], target, exact_out, bounds.units)
        if fill is not None:
            value = sign * float(fill.sends if exact_out else fill.receives) + costs[i]
            if value < best_value:
                best, best_value = (i, fill), value
    return best


def alternative(
    name: str, trade: Trade, amount: Decimal, other: Decimal | float, value: Decimal | float
) -> Alternative:
    """State a simpler way, worth `other`, and what the route saves against it."""
    exact_out = trade.is_exact_out
    saving = 0.0
    if other > 0 and value > 0:
        share = float(value) / float(other)
        saving = (1.0 - share if exact_out else share - 1.0) * BASIS_POINTS
    return Alternative(name, Amount(trade.gives if exact_out else trade.takes, amount), not exact_out, max(saving, 0.0))


def excluded_names(pair: Pair, constraints: Constraints, modes: Modes, rate: float) -> list[str]:
    """Name what keeps out a market that pays better than the route's last unit."""
    names: list[str] = []
    if modes is pair.free:
        return names
    for i, side in enumerate(pair.sides):
        if modes[i] != OFF:
            continue
        row = pair.params[i]
        first = row[KEPT] * row[DEPTH_OUT] / row[DEPTH_IN] if row[KIND] == POOL else pair.levels[pair.offsets[i], 0]
        if first <= rate:
            continue
        if not constraints.venues.allows(side.market.venue):
            names.append("venues")
        elif not constraints.markets.allows(side.market.market_id):
            names.append("markets")
        elif side.fixed_cost is not None and side.fixed_cost.asset not in constraints.balances:
            names.append("fixed_costs")
    return sorted(set(names))
