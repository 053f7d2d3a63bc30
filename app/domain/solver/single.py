"""Solve one trade: on the markets of its own pair in closed form, over the whole graph where more than those matter."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from decimal import Decimal, localcontext
from typing import NoReturn

from app.domain.solution import Costs, Explanation, Leg, ScheduleCost, Slice, Solution
from app.domain.solver.bounds import lost, price_bound, slippage_bps
from app.domain.solver.certificate import certify
from app.domain.solver.exact import BASIS_POINTS, EXACT, MOST, ONE, ZERO, ceil_to, floor_to, ratio
from app.domain.solver.explain import excluded_names
from app.domain.solver.graph import evidence
from app.domain.solver.graph.beyond import beyond
from app.domain.solver.graph.network import Network, network_of
from app.domain.solver.graph.solving import GraphSolving, third_price
from app.domain.solver.pair import Pair, pair_of
from app.domain.solver.plan import Plan, Planner
from app.domain.solver.problem import Problem, never
from app.domain.solver.refusal import Refusal, refuse_balance, refuse_price, refuse_too_fine
from app.domain.solver.shortfall import capacities, refuse, refuse_empty, refuse_unvalued, smallest
from app.domain.solver.simpler import simpler_ways
from app.domain.trade import Trade
from app.domain.values import DEFAULT_DECIMALS, Amount, Asset

REPLANS = 8
NEGLIGIBLE_BPS = 1e-6
"""A route of the pair alone that is proven this good is not compared with others over the graph."""


def solve(problem: Problem, should_stop: Callable[[], bool] = never) -> Solution:
    """Find the best route now, with its proof. Raises Infeasible, naming the bound and its nearest feasible value.

    `costs` sum exactly to `sends - arrival * receives + fixed` for a buy and to `arrival * sends - receives + fixed`
    for a sell, where `fixed` is valued at the marginal prices and a fee in the base at the arrival price.
    """

    def obstacle(other: Trade) -> str | None:
        try:
            _routed(replace(problem, trade=other), should_stop, briefly=True)
        except Refusal as refusal:
            return refusal.turns
        return None

    def fitting(other: Trade) -> Decimal | None:
        partial = replace(other, constraints=replace(other.constraints, allow_partial=True))
        try:
            solution = _routed(replace(problem, trade=partial), should_stop, briefly=True)
        except Refusal:
            return None
        return (solution.receives if other.is_exact_out else solution.sends).amount

    with localcontext(EXACT):
        try:
            return _routed(problem, should_stop)
        except Refusal as refusal:
            raise refusal.stated(obstacle, fitting) from None


def _routed(problem: Problem, should_stop: Callable[[], bool], *, briefly: bool = False) -> Solution:
    trade, decimals = problem.trade, problem.decimals
    divide = (decimals.get(trade.gives, DEFAULT_DECIMALS), decimals.get(trade.takes, DEFAULT_DECIMALS))
    pair = pair_of(problem.markets, trade.instrument, trade.gives, divide)
    network = None if pair.is_everything else _network(problem, pair)
    if network is None:
        return _Solving(trade, pair, problem, should_stop).solve()

    proven = _proven(problem, pair, network, should_stop)
    if proven is not None:
        return proven

    def direct(other: Trade) -> Solution | None:
        try:
            return _Solving(other, pair, problem, should_stop).solve()
        except Refusal:
            return None

    return GraphSolving(problem, network, direct, should_stop, briefly=briefly).solve()


def arrival_price(problem: Problem) -> Decimal:
    """Return the middle of the best zero-size rates that a trade may use; zero when nothing is quoted."""
    trade, decimals = problem.trade, problem.decimals
    divide = (decimals.get(trade.gives, DEFAULT_DECIMALS), decimals.get(trade.takes, DEFAULT_DECIMALS))
    with localcontext(EXACT):
        pair = pair_of(problem.markets, trade.instrument, trade.gives, divide)
        network = None if pair.is_everything else _network(problem, pair)
        if network is None:
            return pair.arrival_price(trade.constraints)
        if not {trade.gives, trade.takes} <= network.index.keys():
            return ZERO
        others = beyond(network, trade)
        if others is not None:
            return others.arrival
        return evidence.arrival_price(network, network.allowed(trade.constraints, problem.as_of), trade)


def _network(problem: Problem, pair: Pair) -> Network | None:
    trade = problem.trade
    network = network_of(problem.markets, problem.decimals)
    one_pair = network.is_one_pair(trade.gives, trade.takes, trade.constraints.max_hops)
    return None if one_pair and pair.is_quoted else network


def _proven(problem: Problem, pair: Pair, network: Network, should_stop: Callable[[], bool]) -> Solution | None:
    others = beyond(network, problem.trade) if pair.is_quoted else None
    trade = problem.trade
    if others is None or not others.may_be_worse(float(trade.quantity), exact_out=trade.is_exact_out):
        return None
    try:
        solving = _Solving(problem.trade, pair, problem, should_stop)
        solving.arrival = others.arrival
        solution = solving.solve()
    except Refusal:
        return None
    is_best = solution.certificate.gap_bps <= NEGLIGIBLE_BPS and others.is_worse_than(solving.last_rate)
    return solution if is_best else None


class _Solving:
    def __init__(self, trade: Trade, pair: Pair, problem: Problem, should_stop: Callable[[], bool]) -> None:
        self.trade = trade
        self.problem = problem
        self.gives, self.takes = trade.gives, trade.takes
        self.exact_out = trade.is_exact_out
        self.pair = pair
        modes = self.pair.allowed(trade.constraints)
        if not (modes.any() if modes is not self.pair.free else self.pair.sides):
            refuse_empty(self.pair, trade)
        self.units = self.pair.units
        self.planner = Planner(trade, self.pair, modes, self.units, self._price_of, should_stop)
        if self.planner.unvalued and not self.planner.bounds.modes.any():
            refuse_unvalued(trade, self.planner.unvalued[0])
        self.grid = self.units.taken if self.exact_out else self.units.given
        round_to = ceil_to if self.exact_out else floor_to
        self.wanted = round_to(min(trade.quantity, MOST), self.grid)
        self.conceivable = trade.quantity <= MOST
        self.arrival = self.pair.arrival_price(trade.constraints)
        self.binding: list[str] = []
        self.least_rate = 0.0
        self.last_rate = 0.0

    def _price_of(self, asset: Asset, quote: Asset) -> Decimal | None:
        return third_price(self.problem, asset, quote)

    def solve(self) -> Solution:
        trade = self.trade
        if self.wanted <= 0:
            least = smallest(self.pair, self.planner.bounds, self.exact_out)
            refuse_too_fine(trade, [self.grid] if least is None else [self.grid, least[0]])
        planned = self._fund(self._first())
        if trade.limit_price is not None or trade.max_slippage_bps is not None:
            planned = self._bound_price(planned)
        return self._state(planned)

    def _leave_out_unpayable(self) -> None:
        # A market that charges more than there is can be part of no route. Where no route is left, the refusal is to
        # say what there should be.
        before, constraints = self.planner.bounds, self.trade.constraints
        if not self.planner.leave_out_beyond(constraints.balances):
            return
        left = self.planner.bounds.modes.any()
        if not left or not (constraints.allow_partial or self.planner.feasible(self.wanted)):
            self.planner.bounds = before

    def _first(self) -> Plan:
        if self.pair.has_fixed_costs and self.trade.constraints.balances and self.conceivable:
            self._leave_out_unpayable()
        planned = self.planner.plan(self.wanted, self.exact_out) if self.conceivable else None
        if planned is not None:
            return planned
        if not self.trade.constraints.allow_partial:
            refuse(self.pair, self.trade, self.planner, self.wanted)
        held = capacities(self.pair, self.planner.bounds, self.exact_out)
        if held is not None:
            most = min(sum(held[: self.planner.bounds.max_legs], ZERO), self.wanted)
            planned = self.planner.plan(most, self.exact_out) if most > 0 else None
        if planned is None:
            planned = self.planner.largest(self.wanted, self.exact_out)
        if planned is None:
            refuse(self.pair, self.trade, self.planner, self.wanted)
        return planned

    def _fund(self, planned: Plan) -> Plan:
        balances = self.trade.constraints.balances
        if not balances:
            return planned
        for asset, needed in self.planner.paid_aside(planned.execution).items():
            held = balances.get(asset)
            if asset in (self.gives, self.takes) or held is None or needed <= held:
                continue
            if not self.planner.without(asset) or not self.planner.bounds.modes.any():
                refuse_balance(self.trade, [needed], asset)
            self.binding.append("balances")
            replanned = self.planner.plan(planned.target, self.exact_out)
            if replanned is None:
                refuse_balance(self.trade, [needed], asset)
            planned = replanned
        held = balances.get(self.gives)
        if held is None or self._needs(planned) <= held:
            return planned
        before, alone = self.planner.bounds, self.planner.alone(planned, self.exact_out, self._affordable)
        free = self._uncharged(planned)
        if alone is not None and (free is None or self._is_better(alone, free)):
            # What is charged elsewhere instead may be more than one market alone is worse.
            free, self.planner.bounds = alone, before
        if free is not None:
            self.binding.append("balances")
            return free
        if not self.trade.constraints.allow_partial:
            refuse_balance(self.trade, [self._needs(planned)], self.gives)
        self.binding.append("balances")
        return self._afford(planned, held)

    def _uncharged(self, planned: Plan) -> Plan | None:
        # What is paid aside in the asset given may be all that the balance falls short of.
        if not self.planner.paid_aside(planned.execution).get(self.gives, ZERO):
            return None
        before = self.planner.bounds
        self.planner.without(self.gives)
        free = self.planner.plan(planned.target, self.exact_out) if self.planner.bounds.modes.any() else None
        if free is not None and self._affordable(free):
            return free
        self.planner.bounds = before
        return None

    def _needs(self, planned: Plan) -> Decimal:
        return planned.execution.sends + self.planner.paid_aside(planned.execution).get(self.gives, ZERO)

    def _affordable(self, planned: Plan) -> bool:
        balances = self.trade.constraints.balances
        if not balances:
            return True
        return self._affords(planned.execution.sends, self.planner.paid_aside(planned.execution), balances)

    def _affords(self, sends: Decimal, aside: dict[Asset, Decimal], balances: Mapping[Asset, Decimal]) -> bool:
        needed = aside | {self.gives: aside.get(self.gives, ZERO) + sends}
        return all(asset == self.takes or needed.get(asset, ZERO) <= held for asset, held in balances.items())

    def _afford(self, planned: Plan, held: Decimal) -> Plan:
        needed = self._needs(planned)
        for _ in range(REPLANS):
            aside = self.planner.paid_aside(planned.execution).get(self.gives, ZERO)
            if held < aside + self.units.given:
                break
            tender = floor_to(held - aside, self.units.given)
            paid = self.planner.plan(tender, False)
            if paid is None:
                break
            if self._affordable(paid):
                if not self.exact_out:
                    return paid
                amount = min(paid.execution.receives, self.wanted)
                bought = self.planner.attempt(amount, self.grid, True, self._affordable)
                bought = bought or self.planner.shrink(amount, self.grid, True, self._affordable)
                if bought is not None:
                    return bought
                break
            planned = paid
        smaller = self.planner.shrink(planned.target, self.grid, self.exact_out, self._affordable)
        if smaller is None:
            least = smallest(self.pair, self.planner.bounds, self.exact_out)
            tiny = self.planner.plan(least[0], self.exact_out) if least is not None else None
            refuse_balance(self.trade, [needed] if tiny is None else [self._needs(tiny), needed], self.gives)
        return smaller

    def _bound_price(self, planned: Plan) -> Plan:
        trade, buys = self.trade, self.pair.buys
        bound = price_bound(trade, self.arrival)
        if bound is None:
            return planned
        limit, name = bound

        def fits(plan: Plan) -> bool:
            sends, receives = plan.execution.sends, plan.execution.receives
            return sends <= limit * receives if buys else receives >= limit * sends

        def fits_all(plan: Plan) -> bool:
            return fits(plan) and self._affordable(plan)

        if not fits(planned) and not self.pair.plain:
            # What is cheapest with its fixed costs, or in the fewest lots, may have the worse price, and the bound is
            # on the price.
            alone = self.planner.alone(planned, self.exact_out, fits_all)
            if self.pair.has_fixed_costs:
                self.planner.price_first = True
                planned = self._fund(self.planner.plan(planned.target, self.exact_out) or planned)
            if alone is not None and not (fits_all(planned) and self._is_better(planned, alone)):
                planned = alone
        if fits(planned):
            return planned
        if not trade.constraints.allow_partial:
            self._refuse_price([planned], name)
        self.binding.append(name)
        smaller: Plan | None = None
        if limit > 0:
            self.least_rate = float(ONE / limit if buys else limit)
            smaller = self.planner.within(planned.target, self.exact_out, self.least_rate, fits_all)
        if smaller is None:
            tiny = self.planner.shrink(planned.target / 2**10, self.grid, self.exact_out, self._affordable)
            self._refuse_price([planned] if tiny is None else [tiny, planned], name)
        return smaller

    def _is_better(self, plan: Plan, other: Plan) -> bool:
        return plan.value < other.value if self.exact_out else plan.value > other.value

    def _refuse_price(self, plans: list[Plan], name: str) -> NoReturn:
        fills = [(plan.execution.sends, plan.execution.receives) for plan in plans]
        slips = [self._slippage(*fill) for fill in fills] if self.arrival else []
        refuse_price(self.trade, fills, slips, by_limit=name == "limit_price", buys=self.pair.buys)

    def _slippage(self, sends: Decimal, receives: Decimal) -> Decimal:
        return slippage_bps(sends, receives, self.arrival, buys=self.pair.buys)

    def _state(self, planned: Plan) -> Solution:
        trade, pair, execution = self.trade, self.pair, planned.execution
        gives, takes, arrival = self.gives, self.takes, self.arrival
        quote = trade.instrument.quote
        sends, receives = execution.sends, execution.receives
        legs = []
        fees = ZERO
        for i, (sent, received, fee, limit_price) in sorted(execution.fills.items()):
            side = pair.sides[i]
            market, fee_asset = side.market, side.fee_asset
            legs.append(
                Leg(
                    market.market_id,
                    market.venue,
                    0,
                    Amount(gives, sent),
                    Amount(takes, received),
                    ratio(sent, received) if pair.buys else ratio(received, sent),
                    limit_price,
                    Amount(fee_asset, fee),
                )
            )
            fees += fee if fee_asset == quote else fee * arrival
        fixed = self.planner.fixed_cost(execution, planned.prices)
        loss = lost(sends, receives, arrival, buys=pair.buys)
        complete = self.conceivable and planned.target == self.wanted
        residual = trade.quantity - sends if complete and not self.exact_out else ZERO
        limited = self.least_rate if not complete else 0.0
        self.last_rate = planned.relaxed.rate if complete and planned.relaxed.remaining <= 0.0 else 0.0
        tender = planned.target if not (self.exact_out and complete) else self.wanted
        certificate = certify(
            pair, planned.relaxed, tender, planned.value, self.exact_out, self.planner.bounds.max_legs, limited
        )
        return Solution(
            Amount(gives, sends),
            Amount(takes, receives),
            ratio(sends, receives) if pair.buys else ratio(receives, sends),
            arrival,
            float(ratio(loss * BASIS_POINTS, arrival * (receives if pair.buys else sends))) if arrival else 0.0,
            {gives: residual} if residual else {},
            Costs(fees, loss - fees, fixed, quote),
            (Slice(None, min(receives, trade.quantity) if self.exact_out else sends, False, tuple(legs)),),
            ScheduleCost(loss + fixed, ZERO),
            certificate,
            self._explain(planned),
        )

    def _explain(self, planned: Plan) -> Explanation:
        trade = self.trade
        names = list(self.binding)
        if planned.relaxed.legs > self.planner.bounds.max_legs:
            names.append("max_legs")
        modes = self.planner.bounds.modes
        if modes is not self.pair.free:
            names += excluded_names(self.pair, trade.constraints, modes, planned.relaxed.rate)
        return Explanation(
            tuple(simpler_ways(self.planner, planned, self._keeps)), tuple(dict.fromkeys(names)), planned.prices
        )

    def _keeps(self, sends: Decimal, receives: Decimal, used: Iterable[int]) -> bool:
        trade = self.trade
        balances = trade.constraints.balances
        if balances and not self._affords(sends, self.planner.charged(used), balances):
            return False
        if trade.limit_price is None and trade.max_slippage_bps is None:
            return True
        bound = price_bound(trade, self.arrival)
        if bound is None:
            return True
        return sends <= bound[0] * receives if self.pair.buys else receives >= bound[0] * sends
