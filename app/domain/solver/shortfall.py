"""Refusals that help: which bound stands in the way, and the nearest value that would not."""

from collections.abc import Callable
from decimal import Decimal
from typing import NoReturn

from app.domain.errors import Infeasible
from app.domain.solver.exact import ZERO, ceil_to, floor_to
from app.domain.solver.kernels import OFF, POOL_REACH
from app.domain.solver.optimise import Bounds
from app.domain.solver.pair import Pair
from app.domain.solver.sides import BookSide, Side, Units
from app.domain.trade import Trade
from app.domain.values import plain

BISECTIONS = 60


def refuse_empty(pair: Pair, trade: Trade) -> NoReturn:
    """Refuse a trade that no market may fill at all."""
    constraints = trade.constraints
    for side in (*pair.sides, *pair.blocked):
        if not constraints.venues.allows(side.market.venue):
            raise Infeasible(
                f"no allowed venue trades {trade.instrument}; allow {side.market.venue}",
                constraint="venues",
                nearest=str(side.market.venue),
            )
    for side in (*pair.sides, *pair.blocked):
        if not constraints.markets.allows(side.market.market_id):
            raise Infeasible(
                f"no allowed market trades {trade.instrument}; allow {side.market.market_id}",
                constraint="markets",
                nearest=str(side.market.market_id),
            )
    blocked = pair.blocked_by(constraints)
    if blocked:
        raise Infeasible(
            f"every book of {trade.instrument} is thinner than its own minimum",
            constraint=blocked[0].blocked or "liquidity",
            nearest="0",
        )
    raise Infeasible(
        f"no trading market offers {trade.takes} for {trade.gives}; send its liquidity first",
        constraint="liquidity",
        nearest="0",
    )


def capacity(side: Side, exact_out: bool, units: Units) -> Decimal | None:
    """Return the most a side can receive (exact-in) or pay (exact-out), None when that is unlimited."""
    if isinstance(side, BookSide):
        base = side.cum_base[-1]
        grid = units.taken if side.buys else units.given
        base = floor_to(base, side.lot if side.lot is not None and side.lot > grid else grid)
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


def smallest(pair: Pair, bounds: Bounds, exact_out: bool) -> tuple[Decimal, str]:
    """Return the smallest quantity that any allowed side fills, and what sets it."""
    best: tuple[Decimal, str] | None = None
    for i, side in enumerate(pair.sides):
        if bounds.modes[i] == OFF:
            continue
        if isinstance(side, BookSide):
            base = side.step_amount(bounds.units)
            grid = bounds.units.taken if side.buys else bounds.units.given
            base = ceil_to(base, side.lot if side.lot is not None and side.lot > grid else grid)
            if base > side.cum_base[-1]:
                continue
            fill = side.fill(base, bounds.units)
            amount = fill.receives if exact_out else fill.sends
            name = "lot_size"
            if side.min_base and base > (side.lot or ZERO):
                by_quantity = side.market.min_quantity or ZERO
                name = "min_quantity" if side.min_base <= ceil_to(by_quantity, side.lot or grid) else "min_notional"
            if side.lot is None and not side.min_base:
                name = "quantity"
        else:
            wanted = bounds.units.taken
            dust = side.obtain(wanted, bounds.units)
            if dust is None:
                continue
            amount, name = (wanted if exact_out else dust.sends), "quantity"
        if best is None or amount < best[0]:
            best = (amount, name)
    return best if best is not None else (ZERO, "liquidity")


def largest(feasible: Callable[[Decimal], bool], most: Decimal, grid: Decimal) -> Decimal:
    """Bisect for the largest feasible amount up to `most`, zero when none was found."""
    low, high = ZERO, most
    probe = most
    for _ in range(BISECTIONS):
        # Halving from above finds a first feasible amount across many magnitudes before it refines.
        probe = floor_to((low + high) / 2, grid) if low else floor_to(probe / 2, grid)
        if probe <= low:
            break
        if feasible(probe):
            low = probe
        else:
            high = probe
    return low


def refuse(
    pair: Pair,
    trade: Trade,
    bounds: Bounds,
    target: Decimal,
    feasible: Callable[[Decimal], bool],
) -> NoReturn:
    """Refuse a quantity that the markets' own rules or the cap on legs rule out."""
    exact_out = trade.is_exact_out
    held = capacities(pair, bounds, exact_out)
    grid = bounds.units.taken if exact_out else bounds.units.given
    asset = trade.quantity_asset
    if held is not None and sum(held, ZERO) < target:
        most = sum(held, ZERO)
        if not feasible(most):
            most = largest(feasible, most, grid)
        raise Infeasible(
            f"the allowed markets hold {plain(most)} {asset}; lower the quantity or allow a partial fill",
            constraint="liquidity",
            nearest=plain(most),
        )
    least, name = smallest(pair, bounds, exact_out)
    if target < least:
        raise Infeasible(
            f"{plain(target)} {asset} is below the smallest order that a market takes; trade {plain(least)}",
            constraint=name,
            nearest=plain(least),
        )
    if held is not None and sum(held[: bounds.max_legs], ZERO) < target:
        legs, reached = 0, ZERO
        while reached < target:
            reached += held[legs]
            legs += 1
        raise Infeasible(
            f"{bounds.max_legs} legs cannot fill {plain(target)} {asset}; allow {legs}",
            constraint="max_legs",
            nearest=str(legs),
        )
    most = largest(feasible, target, grid)
    raise Infeasible(
        f"the markets' minimums and lots leave no way to fill exactly {plain(target)} {asset}; trade {plain(most)}",
        constraint=_rule(pair),
        nearest=plain(most),
    )


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


def refuse_balance(needed: Decimal, asset: str) -> NoReturn:
    """Refuse a trade that needs more than the program holds."""
    raise Infeasible(
        f"the trade needs {plain(needed)} {asset}; add to the balance, lower the quantity or allow a partial fill",
        constraint="balances",
        nearest=plain(needed),
    )


def _rule(pair: Pair) -> str:
    for side in pair.sides:
        if isinstance(side, BookSide) and side.min_base:
            wanted = side.market.min_quantity or ZERO
            return "min_quantity" if wanted and wanted >= side.min_base else "min_notional"
    return "lot_size" if pair.has_lots else "liquidity"
