"""Solve one trade over the whole graph of markets."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from decimal import Decimal
from typing import NoReturn

import numpy as np

from app.domain.solution import Costs, Explanation, Leg, ScheduleCost, Slice, Solution
from app.domain.solver.bounds import lost, price_bound, slippage_bps
from app.domain.solver.exact import MOST, ONE, ZERO, ceil_to, floor_to, ratio, unit
from app.domain.solver.graph.evidence import certify, excluded_names
from app.domain.solver.graph.network import Flags, Network, network_of
from app.domain.solver.graph.planning import GraphPlan, GraphPlanner
from app.domain.solver.graph.refusals import (
    refuse_quantity,
    refuse_unpriced,
    refuse_unreachable,
)
from app.domain.solver.graph.scope import scope_of
from app.domain.solver.graph.simpler import simpler_ways
from app.domain.solver.graph.simulate import Journey, Step
from app.domain.solver.graph.worth import worth
from app.domain.solver.pair import price_of
from app.domain.solver.problem import Problem
from app.domain.solver.refusal import Refusal, refuse_balance, refuse_price, refuse_too_fine
from app.domain.trade import Side, Trade
from app.domain.values import DEFAULT_DECIMALS, Amount, Asset

SHRINKS = 24
REFINEMENTS = 36
FINEST = Decimal("1e-9")
TINY = Decimal(2) ** -10
HELD_WIDENING = 1.0 + 1e-9

Direct = Callable[[Trade], Solution | None]
"""Solves a trade on the markets of its own pair alone, or finds that they cannot."""


def third_price(problem: Problem, asset: Asset, quote: Asset) -> Decimal | None:
    """Price an asset that is not of the pair in one that is: by the markets of the two, else over several."""
    direct = price_of(asset, problem.markets, quote)
    return direct or worth(network_of(problem.markets, problem.decimals), asset, quote, problem.as_of)


class GraphSolving:
    """One trade on one network."""

    def __init__(
        self,
        problem: Problem,
        network: Network,
        direct: Direct,
        should_stop: Callable[[], bool],
        *,
        briefly: bool = False,
    ) -> None:
        """Take the directions that may matter. Raises Refusal when there are none; `briefly` without offers."""
        trade = problem.trade
        self.trade, self.network = trade, network
        self.problem = problem
        self._direct = direct
        self._briefly = briefly
        self.gives, self.takes = trade.gives, trade.takes
        self.exact_out = trade.is_exact_out
        self.buys = trade.side is Side.BUY
        self.units = {self.gives: self._unit(self.gives), self.takes: self._unit(self.takes)}
        self.allowed = network.allowed(trade.constraints, problem.as_of)
        scope = scope_of(network, self.allowed, trade)
        if scope.relaxation is None:
            refuse_unreachable(network, trade, problem.as_of)
        kept, unpriced = self._priceable(scope.kept)
        if not kept.any():
            refuse_unpriced(trade, unpriced[0])
        payable = self._payable(kept)
        self.planner = GraphPlanner(trade, network, scope.relaxation, should_stop, self._third_price, direct)
        if payable is not scope.kept:
            self.planner.restrict(payable)
        self._before = kept
        self.planner.fits = self._affordable
        self.grid = self._unit(trade.quantity_asset)
        self.wanted = (ceil_to if self.exact_out else floor_to)(min(trade.quantity, MOST), self.grid)
        self.conceivable = trade.quantity <= MOST
        self.arrival = scope.arrival
        self.binding: list[str] = []
        self.least_rate = 0.0

    def solve(self) -> Solution:
        """Find the best route and prove how good it is; runs in the exact context."""
        trade = self.trade
        if self.wanted <= 0:
            refuse_too_fine(trade, [self.grid])
        planned = self.planner.plan(self.wanted, self.exact_out) if self.conceivable else None
        if planned is None and not trade.constraints.allow_partial and (self.planner.kept != self._before).any():
            # The refusal is to say what the balance should be.
            self.planner.restrict(self._before)
            planned = self.planner.plan(self.wanted, self.exact_out) if self.conceivable else None
        if planned is None and trade.constraints.allow_partial:
            planned = self._largest(min(self.wanted, self._held()), lambda _: True)
            self.binding.append("liquidity")
        if planned is None:
            self._refuse_quantity()
        planned = self._bound_price(self._fund(planned))
        return self._state(planned)

    def _priceable(self, kept: Flags) -> tuple[Flags, list[Asset]]:
        # What a market charges in an asset that none prices could be anything.
        unpriced = []
        for asset in sorted({cost.asset for cost in self._charged(kept)} - {self.gives, self.takes}):
            if third_price(self.problem, asset, self.trade.instrument.quote) is None:
                unpriced.append(asset)
                kept = kept & ~self._payable_in(asset)
        if unpriced:
            constraints = self.trade.constraints
            kept = self.network.useful(kept, self.gives, self.takes, constraints.max_hops)
        return kept, unpriced

    def _payable(self, kept: Flags) -> Flags:
        # A market that charges more than there is can be part of no route.
        constraints = self.trade.constraints
        beyond = [
            cost for cost in self._charged(kept)
            if cost.asset != self.takes and cost.amount > constraints.balances.get(cost.asset, cost.amount)
        ] if constraints.balances else []  # fmt: skip
        if not beyond:
            return kept
        costs = [exchange.market.fixed_cost for exchange in self.network.exchanges]
        payable: Flags = np.array([cost is None or cost not in beyond for cost in costs], np.bool_)
        left = self.network.useful(kept & payable[self.network.market], self.gives, self.takes, constraints.max_hops)
        return left if left.any() else kept

    def _charged(self, kept: Flags) -> list[Amount]:
        if not self.network.is_costly:
            return []
        markets = np.unique(self.network.market[kept & self.network.costly])
        costs = (self.network.exchanges[i].market.fixed_cost for i in markets)
        return [cost for cost in costs if cost is not None and cost.amount]

    def _unit(self, asset: Asset) -> Decimal:
        return unit(self.problem.decimals.get(asset, DEFAULT_DECIMALS))

    def _third_price(self, asset: Asset) -> Decimal | None:
        return third_price(self.problem, asset, self.trade.instrument.quote)

    def _held(self) -> Decimal:
        network, kept = self.network, self.planner.kept
        room = network.room_out[kept & (network.sink == self.planner.end)]
        if not self.exact_out:
            room = network.room[kept & (network.source == self.planner.start)]
        # Floats may have summed to a little less than there is.
        held = float(room.sum()) * HELD_WIDENING
        return Decimal(held) if held < float(MOST) else MOST

    def _largest(self, most: Decimal, fits: Callable[[GraphPlan], bool]) -> GraphPlan | None:
        self.planner.thorough = False
        best = self._bisected(most, fits)
        self.planner.thorough = True
        if best is None:
            return None
        better = self.planner.plan(best.target, self.exact_out)
        return better if better is not None and fits(better) else best

    def _bisected(self, most: Decimal, fits: Callable[[GraphPlan], bool]) -> GraphPlan | None:
        low, high = ZERO, most
        best: GraphPlan | None = None
        probe = floor_to(most, self.grid)
        for _ in range(SHRINKS):
            planned = self.planner.plan(probe, self.exact_out) if probe > 0 else None
            if planned is not None and fits(planned):
                best, low = planned, probe
                break
            high = probe
            probe = floor_to(probe / 4, self.grid)
            if probe <= 0:
                break
        for _ in range(REFINEMENTS if best is not None and low < high else 0):
            probe = floor_to((low + high) / 2, self.grid)
            if probe <= low or high - low <= high * FINEST or self.planner.should_stop():
                break
            planned = self.planner.plan(probe, self.exact_out)
            if planned is not None and fits(planned):
                best, low = planned, probe
            else:
                high = probe
        return best

    def _refuse_quantity(self) -> NoReturn:
        def feasible(other: Trade) -> bool:
            try:
                solving = GraphSolving(
                    replace(self.problem, trade=other), self.network, self._direct, self.planner.should_stop,
                    briefly=True,
                )  # fmt: skip
            except Refusal:
                return False
            solving.planner.thorough = False
            return solving.wanted > 0 and solving.planner.plan(solving.wanted, solving.exact_out) is not None

        def largest() -> Decimal:
            # Whoever only asks what stands in the way need not know how much would not.
            found = None if self._briefly else self._largest(min(self.wanted, self._held()), lambda _: True)
            return ZERO if found is None else found.target

        refuse_quantity(self.network, self.planner.kept, self.trade, self.grid, self._held(), largest, feasible)

    def _needs(self, planned: GraphPlan) -> Decimal:
        return planned.journey.sends + self.planner.paid_aside(planned.journey).get(self.gives, ZERO)

    def _fund(self, planned: GraphPlan) -> GraphPlan:
        constraints = self.trade.constraints
        for asset, needed in self.planner.paid_aside(planned.journey).items() if constraints.balances else ():
            held = constraints.balances.get(asset)
            if asset in (self.gives, self.takes) or held is None or needed <= held:
                continue
            self.planner.restrict(self.planner.kept & ~self._payable_in(asset))
            self.binding.append("balances")
            cheaper = self.planner.plan(planned.target, self.exact_out)
            if cheaper is None:
                refuse_balance(self.trade, [needed], asset)
            planned = cheaper
        held = constraints.balances.get(self.gives)
        if held is None or self._needs(planned) <= held:
            return planned
        free = self._uncharged(planned)
        if free is not None:
            return free
        if not constraints.allow_partial:
            refuse_balance(self.trade, [self._needs(planned)], self.gives)
        self.binding.append("balances")
        smaller = None if self.exact_out else self._tender(planned, held)
        smaller = smaller or self._largest(planned.target, lambda plan: self._affordable(plan.journey))
        if smaller is None:
            refuse_balance(self.trade, [self._needs(planned)], self.gives)
        return smaller

    def _affordable(self, journey: Journey) -> bool:
        return self._affords(journey.sends, (step.direction for step in journey.steps))

    def _affords(self, sends: Decimal, used: Iterable[int]) -> bool:
        balances = self.trade.constraints.balances
        if not balances:
            return True
        needed = self.network.charged(used)
        needed[self.gives] = needed.get(self.gives, ZERO) + sends
        return all(asset == self.takes or needed.get(asset, ZERO) <= held for asset, held in balances.items())

    def _uncharged(self, planned: GraphPlan) -> GraphPlan | None:
        # What is paid aside in the asset given may be all that the balance falls short of.
        if not self.planner.paid_aside(planned.journey).get(self.gives, ZERO):
            return None
        before = self.planner.kept
        self.planner.restrict(before & ~self._payable_in(self.gives))
        free = self.planner.plan(planned.target, self.exact_out)
        if free is not None and self._affordable(free.journey):
            self.binding.append("balances")
            return free
        self.planner.restrict(before)
        return None

    def _tender(self, planned: GraphPlan, held: Decimal) -> GraphPlan | None:
        tender = floor_to(held - self.planner.paid_aside(planned.journey).get(self.gives, ZERO), self.grid)
        smaller = self.planner.plan(tender, False) if tender > 0 else None
        return smaller if smaller is not None and self._affordable(smaller.journey) else None

    def _payable_in(self, asset: Asset) -> Flags:
        costs = [exchange.market.fixed_cost for exchange in self.network.exchanges]
        paid: Flags = np.array(
            [cost is not None and bool(cost.amount) and cost.asset == asset for cost in costs], np.bool_
        )
        return paid[self.network.market]

    def _keeps(self, sends: Decimal, receives: Decimal, used: Iterable[int]) -> bool:
        bound = price_bound(self.trade, self.arrival)
        if bound is not None and (sends > bound[0] * receives if self.buys else receives < bound[0] * sends):
            return False
        return self._affords(sends, used)

    def _bound_price(self, planned: GraphPlan) -> GraphPlan:
        trade, buys = self.trade, self.buys
        bound = price_bound(trade, self.arrival)
        if bound is None:
            return planned
        limit, name = bound

        def keeps(journey: Journey) -> bool:
            return self._keeps(journey.sends, journey.receives, (step.direction for step in journey.steps))

        def fits(plan: GraphPlan) -> bool:
            return keeps(plan.journey)

        if fits(planned):
            return planned
        self.planner.fits = keeps
        self.planner.is_choosy = True
        for price_first in (False, True) if self.network.costly.any() else (False,):
            # What is cheapest with its fixed costs may have the worse price, and the bound is on the price.
            self.planner.price_first = price_first
            again = self.planner.plan(planned.target, self.exact_out)
            if again is not None and fits(again):
                return again
        if not trade.constraints.allow_partial:
            self._refuse_price(planned, name)
        self.binding.append(name)
        self.least_rate = float(ONE / limit if buys else limit) if limit > 0 else 0.0
        smaller = self._largest(planned.target, fits)
        if smaller is None:
            self._refuse_price(planned, name)
        return smaller

    def _refuse_price(self, planned: GraphPlan, name: str) -> NoReturn:
        tiny = None
        little = floor_to(planned.target * TINY, self.grid)
        if self.trade.constraints.allow_partial and little > 0:
            tiny = self.planner.plan(little, self.exact_out)
        fills = [(each.journey.sends, each.journey.receives) for each in (tiny, planned) if each is not None]
        slips = [self._slippage(*fill) for fill in fills] if self.arrival else []
        refuse_price(self.trade, fills, slips, by_limit=name == "limit_price", buys=self.buys)

    def _slippage(self, sends: Decimal, receives: Decimal) -> Decimal:
        return slippage_bps(sends, receives, self.arrival, buys=self.buys)

    def _legs(self, steps: Iterable[Step]) -> tuple[Leg, ...]:
        legs = []
        for e, number, (sends, receives, fee, limit_price) in steps:
            label = self.network.label(e)
            price = ratio(sends, receives) if label.per_taken else ratio(receives, sends)
            legs.append(
                Leg(
                    label.market_id,
                    label.venue,
                    number,
                    Amount(label.gives, sends),
                    Amount(label.takes, receives),
                    price,
                    limit_price,
                    Amount(label.fee_asset, fee),
                )
            )
        return tuple(legs)

    def _state(self, planned: GraphPlan) -> Solution:
        trade, arrival, journey = self.trade, self.arrival, planned.journey
        quote, base = trade.instrument.quote, trade.instrument.base
        sends, receives = journey.sends, journey.receives
        legs = self._legs(journey.steps)
        worth = {**planned.prices, base: arrival, quote: ONE}
        charged: dict[Asset, Decimal] = {}
        for leg in legs:
            fee = leg.fee
            charged[fee.asset] = charged.get(fee.asset, ZERO) + fee.amount
        fees = sum((amount * worth.get(asset, ZERO) for asset, amount in charged.items()), ZERO)
        fixed = self.planner.fixed_cost(journey, planned.prices)
        loss = lost(sends, receives, arrival, buys=self.buys)
        complete = self.conceivable and planned.target == self.wanted
        residuals = {self.network.assets[k]: amount for k, amount in sorted(journey.residuals.items())}
        if complete and not self.exact_out and trade.quantity > sends:
            residuals[self.gives] = trade.quantity - sends
        certificate = certify(self.planner, planned, 0.0 if complete else self.least_rate)
        names = [*self.binding, *planned.shortened]
        names += excluded_names(self.network, trade, self.problem.as_of, self.allowed, planned)
        return Solution(
            Amount(self.gives, sends),
            Amount(self.takes, receives),
            ratio(sends, receives) if self.buys else ratio(receives, sends),
            arrival,
            float(self._slippage(sends, receives)) if arrival else 0.0,
            residuals,
            Costs(fees, loss - fees, fixed, quote),
            (Slice(None, min(receives, trade.quantity) if self.exact_out else sends, False, legs),),
            ScheduleCost(loss + fixed, ZERO),
            certificate,
            Explanation(
                tuple(simpler_ways(self.planner, planned, self._keeps)), tuple(dict.fromkeys(names)), planned.prices
            ),
        )
