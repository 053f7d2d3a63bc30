"""Ask the solver, and say of its refusals whether they help."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from itertools import count

from app.domain.errors import Infeasible
from app.domain.solution import Solution
from app.domain.solver import Problem, prepare, solve
from app.domain.trade import Selection, Trade
from app.domain.values import MarketId, Venue
from tests.domain.solver.wild import NOW, Wild

CONSTRAINTS = frozenset(
    [
        "quantity",
        "liquidity",
        "lot_size",
        "min_quantity",
        "min_notional",
        "fixed_costs",
        "max_legs",
        "max_hops",
        "venues",
        "markets",
        "balances",
        "limit_price",
        "max_slippage_bps",
    ]
)
QUANTITY_RULES = frozenset(["quantity", "liquidity", "lot_size", "min_quantity", "min_notional"])


def stopper(patience: int | None) -> Callable[[], bool]:
    """Say that it is time to stop from the `patience`-th question on."""
    asked = count()
    return lambda: patience is not None and next(asked) >= patience


def answer(wild: Wild, trade: Trade | None = None) -> Solution | Infeasible:
    """Solve, and return a refusal instead of raising it."""
    prepared = tuple(ready for market in wild.markets if (ready := prepare(market)) is not None)
    try:
        return solve(Problem(trade or wild.trade, prepared, wild.decimals, NOW), stopper(wild.patience))
    except Infeasible as refusal:
        return refusal


def turned(wild: Wild, refusal: Infeasible) -> list[Trade]:
    """List the trades that a program may mean which turns the refused knob to the nearest value."""
    trade, nearest = wild.trade, refusal.nearest
    rules = trade.constraints
    assert nearest is not None
    match refusal.constraint:
        case "limit_price":
            return [replace(trade, limit_price=Decimal(nearest))]
        case "max_slippage_bps":
            return [replace(trade, max_slippage_bps=float(nearest))]
        case "max_legs":
            return [replace(trade, constraints=replace(rules, max_legs=int(nearest)))]
        case "max_hops":
            return [replace(trade, constraints=replace(rules, max_hops=int(nearest)))]
        case "balances":
            return [
                replace(trade, constraints=replace(rules, balances={**rules.balances, asset: Decimal(nearest)}))
                for asset in rules.balances
            ]
        case "venues":
            venues = Selection(
                rules.venues.include and rules.venues.include | {Venue(nearest)}, rules.venues.exclude - {nearest}
            )
            return [replace(trade, constraints=replace(rules, venues=venues))]
        case "markets":
            markets = Selection(
                rules.markets.include and rules.markets.include | {MarketId(nearest)}, rules.markets.exclude - {nearest}
            )
            return [replace(trade, constraints=replace(rules, markets=markets))]
    return [replace(trade, quantity=Decimal(nearest))]


def misleading(wild: Wild, refusal: Infeasible) -> list[str]:
    """Say so when turning the refused knob to its nearest value leads to a refusal over the same knob."""
    if refusal.nearest is None or wild.patience is not None:
        return []
    left = [answer(wild, trade) for trade in turned(wild, refusal)]
    if any(not isinstance(given, Infeasible) or _other(given, refusal) for given in left):
        return []
    return [f"nearest {refusal.constraint} {refusal.nearest} leaves {[str(given) for given in left]}"]


def _other(left: Infeasible, refused: Infeasible) -> bool:
    if refused.constraint in QUANTITY_RULES:
        return left.constraint not in {*QUANTITY_RULES, "max_legs", "max_hops", "fixed_costs"}
    if refused.constraint == left.constraint == "balances":
        # It may be another asset that is short.
        return left.detail.partition(" than")[0] != refused.detail.partition(" than")[0]
    return left.constraint != refused.constraint


def unhelpful(refusal: Infeasible) -> list[str]:
    """Say what is wrong with what a refusal names."""
    found = [] if refusal.constraint in CONSTRAINTS else [f"unknown constraint {refusal.constraint}"]
    if refusal.nearest is not None and refusal.constraint not in ("venues", "markets"):
        value = Decimal(refusal.nearest)
        if not value.is_finite() or value < 0:
            found.append(f"nearest is {refusal.nearest}")
    return found
