"""Solve a trade in time and space: how much each slice does, and how each is routed."""

import math
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal, localcontext
from typing import NoReturn

from app.domain.errors import Infeasible, NothingLeft
from app.domain.schedule.impact import Impact
from app.domain.schedule.pacing import joined
from app.domain.schedule.planning import Paced, Planning
from app.domain.schedule.timeline import Timeline
from app.domain.solution import Solution
from app.domain.solver import single
from app.domain.solver.exact import EXACT, ONE, ZERO, floor_to, unit
from app.domain.solver.outcome import evenly, state, valued
from app.domain.solver.problem import Problem, never
from app.domain.solver.slicing import SIZES, Part, SliceRouter, Unroutable, is_too_small, stated_nearest
from app.domain.trade import Schedule, ScheduleKind
from app.domain.values import DEFAULT_DECIMALS, Asset, plain

GRID_DIGITS = 12
"""Digits of a whole trade that its slices are planned in, where the asset divides so finely."""

DUST = Decimal("0.001")
"""The share of an even slice below which a slice joins the next."""

FITTED_SIZES = (1, 3)
"""Even slices whose costs in space the impact is fitted to."""

REFIT = 1.5
"""How far beyond the sizes fitted a slice may reach before its own cost is fitted too."""

REPLANS = 12
HAIRCUTS = (ONE, Decimal("0.999999"), Decimal("0.99"))
MOST_HORIZON_S = 7 * 86_400
CURED_BY_LESS = frozenset(("limit_price", "max_slippage_bps", "max_legs"))


def solve(problem: Problem, should_stop: Callable[[], bool] = never) -> Solution:
    """Find the best route, over time where the trade asks for it.

    Raises Infeasible, naming the bound and its nearest feasible value, and NothingLeft when all of the trade is done.

    Slices are due `horizon_s / slices` apart from the beginning. The latest whose time has come is firm; later ones
    are indicative, and so is the first when the slice due now is done already. What was executed beyond the plan's
    pace counts as done of the slice due now and of those after it; what is behind the pace is spread over all
    that are left. A trade that runs already goes on with what its limits leave instead of being refused.

    Each slice is routed as a trade of its own, on the markets as they are now. An indicative slice that has no route
    (refused, or out of time) keeps its time and quantity without legs and is counted at the rates of the routed slice
    nearest in size. Slices too small for any market are joined, at the time of the first of them. `sends`,
    `receives`, `costs`, price and slippage are sums over all slices; certificate, marginal prices and best single way
    are those of the first. Savings of `twap` and `immediate` are in basis points of the trade's worth at arrival, of
    expected cost plus risk aversion times variance, and zero where that way is no dearer.
    """
    if problem.trade.schedule.kind is not ScheduleKind.IMMEDIATE:
        with localcontext(EXACT):
            return _Scheduling(problem, should_stop).solve()
    if not problem.executed:
        return single.solve(problem, should_stop)
    with localcontext(EXACT):
        rest = _without_spent(problem)
        trade = replace(rest.trade, quantity=_left_of(rest))
    return single.solve(replace(rest, trade=trade), should_stop)


def _left_of(problem: Problem) -> Decimal:
    trade = problem.trade
    left = trade.quantity - problem.executed
    if left <= 0 or (problem.executed and left < _unit_of(problem)):
        raise NothingLeft(f"all of the {plain(trade.quantity)} {trade.quantity_asset} is done")
    return left


def _unit_of(problem: Problem) -> Decimal:
    return unit(problem.decimals.get(problem.trade.quantity_asset, DEFAULT_DECIMALS))


def _spent(problem: Problem) -> dict[Asset, Decimal]:
    spent = dict(problem.spent)
    if not problem.trade.is_exact_out:
        spent.setdefault(problem.trade.gives, problem.executed)
    return spent


def _without_spent(problem: Problem) -> Problem:
    trade, spent = problem.trade, _spent(problem)
    constraints = trade.constraints
    left = {asset: max(held - spent.get(asset, ZERO), ZERO) for asset, held in constraints.balances.items()}
    return replace(problem, trade=replace(trade, constraints=replace(constraints, balances=left)), spent={})


class _Scheduling:
    def __init__(self, problem: Problem, should_stop: Callable[[], bool], *, is_trial: bool = False) -> None:
        self.asked, self.problem, self.should_stop = problem, _without_spent(problem), should_stop
        trade = self.trade = self.problem.trade
        self.is_trial = is_trial
        self.remaining = _left_of(problem)
        self.time = Timeline.of(trade.schedule, problem.began_at, problem.as_of)
        self.even = self.remaining / len(self.time.left)
        self.takes_less = trade.constraints.allow_partial or bool(problem.executed) or self.time.due > 0
        self.router = SliceRouter(problem, len(self.time.left), should_stop)
        self.fitted: list[tuple[float, float]] = []
        self.binding: list[str] = []

    def solve(self) -> Solution:
        arrival = single.arrival_price(self.problem)
        if not arrival:
            # Whoever may not trade at all is told why.
            solved = self.router.route(self.remaining)
            if isinstance(solved, Infeasible):
                raise solved
            arrival = solved.arrival_price
        grid = max(_unit_of(self.problem), ONE.scaleb(self.remaining.adjusted() - GRID_DIGITS + 1))
        self.planning = Planning(self.trade, self.problem.outlook, self.time, arrival, grid)
        for multiple in FITTED_SIZES:
            if not self.fitted or not self.should_stop():
                self._fit(min((floor_to(self.even, grid) or self.remaining) * multiple, self.remaining))
        # What sizes a plan goes on to fit must not change what plans are measured by.
        self.planning.spread = self.planning.impact.linear
        paced = self._plan(self.trade.quantity)
        self.router.limits = dict(zip(self.time.left, self.planning.limits(self.time.due) or (), strict=False))
        parts, left = self._funded(paced, *self._no_worse_than_even(paced, *self._routed(paced)))
        return state(self.trade, self.planning, self.router, parts, left, self.binding)

    def _fit(self, quantity: Decimal) -> None:
        solved = self.router.route(quantity)
        nearest = stated_nearest(solved) if isinstance(solved, Infeasible) else None
        if nearest is not None and 0 < nearest <= self.remaining and not self.should_stop():
            solved = self.router.route(nearest)
        if isinstance(solved, Infeasible):
            return
        base = float(self.router.base(solved))
        self.fitted.append((base, float(solved.costs.fees + solved.costs.impact)))
        self.planning.impact = Impact.fit(self.fitted)
        self.planning.is_measured = len({size for size, _ in self.fitted}) > 1

    def _plan(self, quantity: Decimal) -> Paced:
        paced = self.planning.plan(quantity, self.problem.executed)
        if self.trade.schedule.kind is ScheduleKind.IS:
            paced = self._within_reach(quantity, paced)
        if (paced.undone > 0 and not self.takes_less) or not any(paced.amounts):
            self._refuse_participation(self.remaining - paced.undone)
        if paced.is_limited:
            self.binding.append("max_participation")
        return paced

    def _within_reach(self, quantity: Decimal, paced: Paced) -> Paced:
        for _ in range(REPLANS):
            largest = max(paced.amounts)
            if largest <= 0 or not self.router.can_route(largest):
                break
            solved = self.router.route(largest)
            if isinstance(solved, Infeasible):
                nearest = stated_nearest(solved)
                cured = nearest < largest if nearest is not None else solved.constraint in CURED_BY_LESS
                if not cured or largest <= self.even:
                    break
                less = nearest if nearest is not None else floor_to(largest / 2, self.planning.grid)
                self.planning.ceiling = max(less, self.even)
            elif self.router.is_short(largest, solved) and largest > self.even:
                self.planning.ceiling = max(solved.slices[0].quantity, self.even)
            elif self.fitted and float(self.router.base(solved)) > REFIT * max(size for size, _ in self.fitted):
                self._fit(largest)
            else:
                break
            paced = self.planning.plan(quantity, self.problem.executed)
        return paced

    def _routed(self, paced: Paced) -> tuple[list[Part], Decimal]:
        amounts = joined(paced.amounts, self.even * DUST, self.planning.limits(self.time.due), is_begun=paced.is_begun)
        for _ in range(REPLANS):
            slices = [(k, amount) for k, amount in zip(self.time.left, amounts, strict=True) if amount]
            try:
                return self.router.walk(slices)
            except Unroutable as unroutable:
                least = self._least(unroutable)
                fewer = amounts if least is None else joined(amounts, least, None, is_begun=paced.is_begun)
                if fewer != amounts:
                    amounts = fewer
                    self.binding.append("minimums")
                elif unroutable.position:
                    self.router.is_tolerant = True
                else:
                    self._refuse_slice(unroutable)
        self.router.is_tolerant = True
        return self.router.walk(slices)

    def _no_worse_than_even(self, paced: Paced, parts: list[Part], left: Decimal) -> tuple[list[Part], Decimal]:
        # Books are no parabola: where the fit misleads, equal slices may be the better plan.
        if self.trade.schedule.kind is not ScheduleKind.IS or paced.is_begun or len(paced.amounts) == 1:
            return parts, left
        even = self.router.attempt(evenly(self.planning, sum(paced.amounts, ZERO)))
        if even is None or any(part.solution is None for part in (*even[0], *parts)):
            return parts, left
        more = sum((part.quantity for part in even[0]), ZERO) - sum((part.quantity for part in parts), ZERO)
        if more:
            return even if more > 0 else (parts, left)
        aversion = self.trade.schedule.risk_aversion
        planned, other = (
            valued(self.planning, each, self.router.tally(each)).objective(aversion) for each in (parts, even[0])
        )
        return (parts, left) if planned <= other else even

    def _least(self, unroutable: Unroutable) -> Decimal | None:
        if not is_too_small(unroutable.quantity, unroutable.refusal):
            return None
        nearest = stated_nearest(unroutable.refusal)
        if nearest is not None:
            return nearest
        probe = unroutable.quantity
        while probe < self.remaining and not self.should_stop():
            probe = min(probe * 2, self.remaining)
            if not isinstance(self.router.route(probe), Infeasible):
                return probe
        return None

    def _funded(self, paced: Paced, parts: list[Part], left: Decimal) -> tuple[list[Part], Decimal]:
        gives = self.trade.gives
        held = self.trade.constraints.balances.get(gives)
        if held is None:
            return parts, left
        enough = self.router.needed(parts)
        if enough > held and not self.takes_less:
            self._refuse_balance(enough)
        for _ in range(REPLANS):
            needed = self.router.needed(parts)
            if needed <= held:
                return parts, left
            self.binding.append("balances")
            amounts = tuple(floor_to(amount * held / needed, self.planning.grid) for amount in paced.amounts)
            if not any(amounts):
                break
            paced = replace(paced, amounts=amounts)
            parts, left = self._routed(paced)
        while len(parts) > 1 and self.router.needed(parts) > held:
            parts, left = parts[:-1], ZERO
        if self.router.needed(parts) > held:
            try:
                parts = [self.router.afford(parts[0], held)]
            except Infeasible:
                self._refuse_balance(enough)
        return parts, left

    def _refuse_balance(self, needed: Decimal) -> NoReturn:
        gives = self.trade.gives
        needed += _spent(self.asked).get(gives, ZERO)
        raise Infeasible(
            f"all slices together need {plain(needed)} {gives}; add to the balance, lower the quantity or "
            "allow a partial fill",
            constraint="balances",
            nearest=plain(needed),
        )

    def _refuse_participation(self, most: Decimal) -> NoReturn:
        schedule = self.trade.schedule
        share = self.planning.needed_share(self.remaining)
        reason = f"{schedule.max_participation:g} of the expected volume is less than the trade"
        if share is not None and not self.is_trial:
            wider = math.ceil(share * 1e6 + 1e-9) / 1e6
            if wider <= 1.0 and self._works(replace(schedule, max_participation=wider)):
                raise Infeasible(
                    f"{reason}; allow {wider:g}, a longer horizon or a partial fill",
                    constraint="max_participation",
                    nearest=f"{wider:g}",
                )
            longer = math.ceil(schedule.horizon_s * share / schedule.max_participation * (1.0 + 1e-6))
            if longer <= MOST_HORIZON_S and self._works(replace(schedule, horizon_s=float(longer))):
                raise Infeasible(
                    f"{reason}; take {longer} s or allow a partial fill", constraint="horizon_s", nearest=str(longer)
                )
            if most > 0 and self._works(schedule, self.problem.executed + most):
                quantity = plain(self.problem.executed + most)
                raise Infeasible(
                    f"{reason}; trade {quantity} or allow a partial fill", constraint="quantity", nearest=quantity
                )
        raise Infeasible(f"{reason}; lower the quantity or allow a partial fill", constraint="max_participation")

    def _refuse_slice(self, unroutable: Unroutable) -> NoReturn:
        refusal, asset = unroutable.refusal, self.trade.quantity_asset
        nearest = stated_nearest(refusal)
        if refusal.constraint not in SIZES or unroutable.quantity == self.trade.quantity:
            raise refusal
        # The refusal is about one slice; what the program can change is the trade.
        reason = f"the allowed markets cannot fill slices of {plain(unroutable.quantity)} {asset}"
        share = nearest / unroutable.quantity if nearest is not None and not self.is_trial else ZERO
        for haircut in HAIRCUTS if share else ():
            quantity = floor_to(self.trade.quantity * share * haircut, self.planning.grid)
            if 0 < quantity < self.trade.quantity and self._works(self.trade.schedule, quantity):
                raise Infeasible(
                    f"{reason}; trade {plain(quantity)}, in more slices or allow a partial fill",
                    constraint=refusal.constraint,
                    nearest=plain(quantity),
                )
        raise Infeasible(f"{reason}; cut it into more slices or allow a partial fill", constraint=refusal.constraint)

    def _works(self, schedule: Schedule, quantity: Decimal | None = None) -> bool:
        trade = replace(self.asked.trade, schedule=schedule, quantity=quantity or self.trade.quantity)
        try:
            _Scheduling(replace(self.asked, trade=trade), self.should_stop, is_trial=True).solve()
        except (Infeasible, NothingLeft):
            return False
        return True
