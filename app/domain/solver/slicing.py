"""Slices of a scheduled trade, each routed in space as a trade of its own."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from app.domain.errors import Infeasible
from app.domain.solution import Costs, Solution
from app.domain.solver import single
from app.domain.solver.bounds import lost
from app.domain.solver.exact import STATED, ZERO, ceil_to, floor_to, unit
from app.domain.solver.problem import Problem
from app.domain.trade import Schedule, Side
from app.domain.values import DEFAULT_DECIMALS

MOST_ROUTES = 256
"""Different quantities routed in space for one schedule; slices beyond are counted by their like."""

CARRIED = Decimal("1e-9")
"""The share of a slice from which more received than asked for is taken off the next."""

SIZES = frozenset(("liquidity", "quantity", "min_quantity", "min_notional", "lot_size"))
"""Refusals over a quantity; their nearest value is one."""


@dataclass(frozen=True, slots=True)
class Part:
    """One slice: the k-th of its schedule, how much it does, and its route where it has one."""

    k: int
    quantity: Decimal
    solution: Solution | None


@dataclass(frozen=True, slots=True)
class Tally:
    """What slices add up to; `base` is what each of them exchanges, `lost` what it costs but for fixed costs."""

    sends: Decimal
    receives: Decimal
    costs: Costs
    base: tuple[Decimal, ...]
    lost: tuple[Decimal, ...]


class Unroutable(Exception):
    """A slice that the markets refuse, and the refusal."""

    def __init__(self, position: int, quantity: Decimal, refusal: Infeasible) -> None:
        super().__init__(refusal.detail)
        self.position = position
        self.quantity = quantity
        self.refusal = refusal


class SliceRouter:
    """Routes quantities of one trade in space, equal ones once.

    `limits` are the most that slices may do by their number, `is_tolerant` lets slices that are too small keep their
    place without a route.
    """

    def __init__(self, problem: Problem, slices: int, should_stop: Callable[[], bool]) -> None:
        """Take the trade. Of several slices each has its share of the balances that only pay fixed costs, and no
        balance of what the trade sends: only their sum can be held against that.
        """
        trade = problem.trade
        self.trade = trade
        self.should_stop = should_stop
        self.is_tolerant = False
        self.limits: dict[int, Decimal] = {}
        balances = dict(trade.constraints.balances)
        if slices > 1:
            balances.pop(trade.gives, None)
            for asset in balances.keys() - {trade.takes}:
                balances[asset] = STATED.divide(balances[asset], Decimal(slices))
        self._alone = replace(trade, schedule=Schedule(), constraints=replace(trade.constraints, balances=balances))
        self._problem = replace(problem, began_at=None, executed=ZERO, spent={})
        self._known: dict[Decimal, Solution | Infeasible] = {}
        self._fixed = {
            market.market_id: market.market.fixed_cost
            for market in problem.markets
            if market.market.fixed_cost is not None
        }
        decimals = problem.decimals
        self._given = unit(decimals.get(trade.gives, DEFAULT_DECIMALS))
        self._taken = unit(decimals.get(trade.takes, DEFAULT_DECIMALS))

    def route(self, quantity: Decimal) -> Solution | Infeasible:
        """Route a quantity, or return why it cannot be."""
        known = self._known.get(quantity)
        if known is None:
            try:
                known = single.solve(
                    replace(self._problem, trade=replace(self._alone, quantity=quantity)), self.should_stop
                )
            except Infeasible as refusal:
                known = refusal
            self._known[quantity] = known
        return known

    def afford(self, part: Part, held: Decimal) -> Part:
        """Do as much of one slice as an amount of what the trade sends pays for. Raises Infeasible."""
        balances = {**self._alone.constraints.balances, self.trade.gives: held}
        constraints = replace(self._alone.constraints, balances=balances, allow_partial=True)
        trade = replace(self._alone, quantity=part.quantity, constraints=constraints)
        solved = single.solve(replace(self._problem, trade=trade), self.should_stop)
        return Part(part.k, solved.slices[0].quantity, solved)

    def can_route(self, quantity: Decimal) -> bool:
        """Say whether a quantity is routed already or there is time to."""
        return quantity in self._known or (len(self._known) < MOST_ROUTES and not self.should_stop())

    def walk(self, slices: Sequence[tuple[int, Decimal]]) -> tuple[list[Part], Decimal]:
        """Route slices in order and return what lots leave of the last.

        What lots leave of a slice goes to the next, and so does what a partial fill leaves, within the next one's
        limit. A later slice that is refused for anything but its smallness keeps its quantity without a route, as do
        slices there was no time for. Raises Unroutable for the first slice, and for one that is too small unless
        that is tolerated.
        """
        parts: list[Part] = []
        carried = unsent = ZERO
        short: tuple[Decimal, Solution] | None = None
        wanted = sum((planned for _, planned in slices), ZERO)
        for position, (k, planned) in enumerate(slices):
            quantity = planned + carried
            if quantity <= 0:
                carried = quantity
                continue
            is_last = position == len(slices) - 1
            put_off = ZERO
            if short is not None:
                most = max(self.limits.get(k, quantity), planned)
                quantity, put_off = min(quantity, most), max(quantity - most, ZERO)
            solved: Solution | Infeasible | None
            if short is not None and quantity >= short[0]:
                # Who could not fill less can fill no more of this.
                tried, solved = quantity, short[1]
            else:
                tried, solved = self._solved(quantity, is_first=not parts, is_last=is_last)
            if isinstance(solved, Infeasible):
                if not parts or (is_too_small(quantity, solved) and not self.is_tolerant):
                    raise Unroutable(position, quantity, solved)
                solved = None
            done, carried = (quantity, ZERO) if solved is None else self._done(tried, solved, is_last=is_last)
            if solved is not None and self.is_short(tried, solved):
                short = (tried, solved)
                carried = ZERO if is_last else tried - done
            elif not is_last and 0 < carried <= quantity * CARRIED:
                # Too little to make the next slice different from its like.
                done, unsent, carried = tried, unsent + carried, ZERO
            carried += quantity - tried
            if not is_last:
                carried += put_off
            # Lots may bring more than all that is wanted.
            done = min(done, wanted)
            wanted -= done
            parts.append(Part(k, done, solved))
        return parts, carried + unsent

    def attempt(self, slices: Sequence[tuple[int, Decimal]]) -> tuple[list[Part], Decimal] | None:
        """Walk slices if there is time and the markets take them."""
        if not slices or self.should_stop():
            return None
        try:
            return self.walk(slices)
        except Unroutable:
            return None

    def _solved(
        self, quantity: Decimal, *, is_first: bool, is_last: bool
    ) -> tuple[Decimal, Solution | Infeasible | None]:
        if not is_first and not self.can_route(quantity):
            return quantity, None
        solved = self.route(quantity)
        if is_last or not isinstance(solved, Infeasible) or solved.constraint == "liquidity":
            return quantity, solved
        nearest = stated_nearest(solved)
        if nearest is None or not 0 < nearest < quantity:
            return quantity, solved
        # Lots leave no way to do exactly this much, but to do a little less.
        less = self.route(nearest)
        return (quantity, solved) if isinstance(less, Infeasible) else (nearest, less)

    def is_short(self, tried: Decimal, solved: Solution) -> bool:
        """Say whether a route does less than it was asked for, but for what lots leave."""
        trade = self.trade
        if trade.is_exact_out:
            return solved.receives.amount < tried
        return tried - solved.sends.amount - solved.residuals.get(trade.gives, ZERO) >= self._given

    def base(self, solved: Solution) -> Decimal:
        """Return how much base a route exchanges."""
        return solved.receives.amount if self.trade.side is Side.BUY else solved.sends.amount

    def _done(self, quantity: Decimal, solved: Solution, *, is_last: bool) -> tuple[Decimal, Decimal]:
        trade = self.trade
        if not trade.is_exact_out:
            left = solved.residuals.get(trade.gives, ZERO)
            return solved.sends.amount, left
        received = solved.receives.amount
        over = received - quantity
        if is_last or over <= quantity * CARRIED:
            return min(received, quantity), ZERO
        return received, -over

    def tally(self, parts: Sequence[Part]) -> Tally:
        """Sum slices; one without a route is counted at the rates of the routed one nearest in size."""
        like = _Likes(parts)
        buys, exact_out = self.trade.side is Side.BUY, self.trade.is_exact_out
        sends = receives = fees = fixed = impact = ZERO
        base: list[Decimal] = []
        losses: list[Decimal] = []
        for part in parts:
            if part.solution is not None:
                solved = part.solution
                sent, received = solved.sends.amount, solved.receives.amount
                fee, aside = solved.costs.fees, solved.costs.fixed
            else:
                size, solved = like.nearest(part.quantity)
                share = STATED.divide(part.quantity, size)
                sent = part.quantity if not exact_out else ceil_to(solved.sends.amount * share, self._given)
                received = part.quantity if exact_out else floor_to(solved.receives.amount * share, self._taken)
                fee, aside = STATED.multiply(solved.costs.fees, share), solved.costs.fixed
            loss = lost(sent, received, solved.arrival_price, buys=buys)
            sends, receives = sends + sent, receives + received
            fees, fixed, impact = fees + fee, fixed + aside, impact + loss - fee
            base.append(received if buys else sent)
            losses.append(loss)
        costs = Costs(fees, impact, fixed, self.trade.instrument.quote)
        return Tally(sends, receives, costs, tuple(base), tuple(losses))

    def needed(self, parts: Sequence[Part]) -> Decimal:
        """Sum what slices take of the asset that the trade sends, fixed costs included."""
        needed = self.tally(parts).sends
        for part in parts:
            legs = part.solution.slices[0].legs if part.solution is not None else ()
            for market_id in {leg.market_id for leg in legs}:
                cost = self._fixed.get(market_id)
                if cost is not None and cost.asset == self.trade.gives:
                    needed += cost.amount
        return needed


class _Likes:
    def __init__(self, parts: Sequence[Part]) -> None:
        routed = {part.quantity: part.solution for part in parts if part.solution is not None}
        self._sizes = sorted(routed)
        self._routed = routed

    def nearest(self, quantity: Decimal) -> tuple[Decimal, Solution]:
        above = bisect_left(self._sizes, quantity)
        size = min(self._sizes[max(above - 1, 0) : above + 1], key=lambda each: abs(each - quantity))
        return size, self._routed[size]


def stated_nearest(refusal: Infeasible) -> Decimal | None:
    """Return the quantity that a refusal over quantities offers in its place."""
    if refusal.constraint not in SIZES or refusal.nearest is None:
        return None
    return Decimal(refusal.nearest)


def is_too_small(quantity: Decimal, refusal: Infeasible) -> bool:
    """Say whether a refusal may be cured by asking for more."""
    nearest = stated_nearest(refusal)
    if nearest is not None:
        return nearest > quantity
    return refusal.constraint in SIZES
