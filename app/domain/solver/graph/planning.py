"""Plans for one amount over the graph: relax, shape, simulate exactly, and keep the best of several answers."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np

from app.domain.solution import Solution
from app.domain.solver.exact import ONE, ZERO, short_up, up
from app.domain.solver.graph.choosing import Choosing, Limits
from app.domain.solver.graph.flows import (
    DUST,
    Flow,
    connected,
    fewest,
    longest_way,
    without_cycles,
    worthwhile,
)
from app.domain.solver.graph.network import Flags, Network
from app.domain.solver.graph.paths import ruled_paths
from app.domain.solver.graph.pricing import marginal_prices
from app.domain.solver.graph.relaxation import Relaxation
from app.domain.solver.graph.selected import Relaxed
from app.domain.solver.graph.simulate import Journey, Step, backward, forward
from app.domain.solver.graph.splits import best_two, near_best
from app.domain.solver.graph.survey import Survey
from app.domain.solver.kernels import Floats
from app.domain.solver.sides import Fill
from app.domain.trade import Trade
from app.domain.values import Asset

COMPLETE = Decimal("1e-9")
COARSE = 1e-9
"""An asset that divides no finer than this share of what flows through it."""
FAR_APART = 4e-7
MOST_CHOSEN = 128
"""Where so many legs may be used, choosing among them one by one brings nothing."""
LEFTOVER = 1e-12
TENDERS = 16
ENOUGH = ONE - Decimal("1e-10")
SHORT = 2
FAR_FROM = 1000
STEEPEST = Decimal(16)
LARGEST_TENDER = 1e40
DUST_WITH_CYCLES = 1e-5


@dataclass(slots=True)
class GraphPlan:
    """One executable answer. `value` is the objective; `alone` the best single path's journey and value."""

    target: Decimal
    relaxed: Relaxed
    journey: Journey
    prices: dict[Asset, Decimal]
    value: Decimal
    alone: tuple[Journey, Decimal] | None
    shortened: tuple[str, ...]


class GraphPlanner:
    """Plans any amount of one trade over one graph.

    Of several answers one that `fits` is preferred; with `price_first` fixed costs are not avoided for a better price.
    """

    def __init__(
        self,
        trade: Trade,
        network: Network,
        relaxation: Relaxation,
        should_stop: Callable[[], bool],
        third_price: Callable[[Asset], Decimal],
        direct: Callable[[Trade], Solution | None],
    ) -> None:
        """Take what stays the same whatever the amount."""
        self.trade = trade
        self.network = network
        self.start, self.end = network.index[trade.gives], network.index[trade.takes]
        self.kept = relaxation.kept
        self.relaxation = relaxation
        self.should_stop = should_stop
        self._third_price = third_price
        self.fits: Callable[[Journey], bool] = lambda _: True
        self.price_first = False
        self.thorough = True
        self._split: tuple[tuple[float, bool], tuple[float, Flow] | None] | None = None
        self._direct = direct

    def restrict(self, kept: Flags) -> None:
        """Use fewer directions from now on."""
        self.kept = kept
        self._split = None
        self.relaxation = Relaxation(self.network, kept, self.start, self.end, self.trade.constraints.max_hops)

    def plan(self, target: Decimal, exact_out: bool) -> GraphPlan | None:
        """Plan one amount, or return None when the bounds rule it out."""
        survey = self.relaxation.survey(float(target), exact_out, self.trade.constraints.max_legs)
        if survey is None:
            return None
        relaxed = None if self.should_stop() else self.relaxation.solve(survey, self.should_stop)
        if relaxed is None:
            relaxed = self.relaxation.at_survey(survey)
        prices = marginal_prices(self.network, self.trade, relaxed, survey, self._third_price)
        costs = self.costs(prices, exact_out)
        paths = self._paths(survey, costs)
        single = self._best(self._alone(paths, target, survey), prices, exact_out)
        candidates = [] if single is None else [single]
        shortened: tuple[str, ...] = ()
        flow = self._acyclic(relaxed, exact_out)
        joined = self.relaxation.joined(relaxed, survey, flow, self.should_stop)
        together = {} if joined is None else self._acyclic(joined, exact_out)
        flows = relaxed
        if joined is not None and together and not self.relaxation.has_cycles:
            flows, flow = joined, together
        elif joined is not None and together and not self._broken(together):
            candidates += self._by_tender(joined, target) if exact_out else self._simulated(together, target, survey)
        broken = self._broken(flow)
        if flow:
            shaped, shortened = self._shape(flow, survey)
            candidates += self._simulated(shaped, target, survey)
            if not broken and self._far_from_bound(candidates, relaxed, exact_out):
                whole = self._acyclic(flows, exact_out, thrifty=False)
                if len(whole) > len(flow) and not self._broken(whole):
                    candidates += self._simulated(whole, target, survey)
            if exact_out and self._repeats(flow) and (self.thorough or not candidates):
                candidates += self._by_tender(flows, target)
        if self._far_from_bound(candidates, relaxed, exact_out):
            both = self._pair(target, exact_out)
            candidates += [] if both is None else [both]
            # Searched for with its lots and its own prices, what a split over two paths leaves over one can absorb.
            split = self.split_in_two(survey.amount, exact_out)
            candidates += [] if split is None else self._simulated(split[1], target, survey)
        best = self._best(candidates, prices, exact_out)
        many = self.trade.constraints.max_legs > MOST_CHOSEN
        if flow and ((broken and not many) or costs.any()) and (self.thorough or best is None or not self.fits(best)):
            floor = -np.inf if best is None else -self._sign(exact_out) * float(self.value(best, prices, exact_out))
            for chosen in self._chosen(flow, relaxed, survey, costs, paths, floor):
                candidates += self._simulated(chosen, target, survey)
            best = self._best(candidates, prices, exact_out)
        if best is None:
            return None
        alone = None if single is None else (single, self.value(single, prices, exact_out))
        return GraphPlan(target, relaxed, best, prices, self.value(best, prices, exact_out), alone, shortened)

    def split_in_two(self, amount: float, exact_out: bool) -> tuple[float, Flow] | None:
        """Split an amount over the best two paths; return what it becomes, or takes, and the shares."""
        asked = amount, exact_out
        if self._split is None or self._split[0] != asked:
            ends = self.start, self.end
            found = best_two(self.network, self.kept, ends, amount, self.trade.constraints, exact_out=exact_out)
            self._split = asked, found
        return self._split[1]

    def _best(self, journeys: Iterable[Journey], prices: Mapping[Asset, Decimal], exact_out: bool) -> Journey | None:
        sign = self._sign(exact_out)

        def rank(journey: Journey) -> tuple[bool, Decimal]:
            return not self.fits(journey), sign * self.value(journey, prices, exact_out)

        return min(journeys, key=rank, default=None)

    def costs(self, prices: Mapping[Asset, Decimal], exact_out: bool) -> Floats:
        """Return what using its market costs by direction, in the objective's asset."""
        network = self.network
        costs = np.zeros(len(network.directions))
        if self.price_first or not network.is_costly:
            return costs
        objective = prices[self.trade.gives if exact_out else self.trade.takes]
        for e in np.flatnonzero(network.costly & self.kept):
            cost = network.exchanges[int(network.market[e])].market.fixed_cost
            if cost is not None:
                costs[e] = float(cost.amount * prices[cost.asset] / objective)
        return costs

    def _paths(self, survey: Survey, costs: Floats) -> list[list[int]]:
        paths = [[int(e) for e in survey.path]] if len(survey.path) else []
        has_cycles, is_coarse = self.relaxation.has_cycles, self._is_coarse(survey)
        if has_cycles or is_coarse or costs.any() or bool((self.network.in_steps & self.kept).any()):
            constraints = self.trade.constraints
            most = min(constraints.max_hops, constraints.max_legs)
            # Rounding to whole amounts on the way may leave only short paths worth anything.
            for length in (most, *range(1, min(most, SHORT + 1))) if is_coarse else (most,):
                paths += ruled_paths(
                    self.network, self.kept, (self.start, self.end), survey.amount, length, costs,
                    exact_out=survey.exact_out, has_cycles=has_cycles,
                )  # fmt: skip
        return [path for k, path in enumerate(paths) if path not in paths[:k]]

    def _alone(self, paths: list[list[int]], target: Decimal, survey: Survey) -> list[Journey]:
        def simulated(chosen: list[list[int]]) -> list[Journey]:
            tried = (self._simulate(dict.fromkeys(path, 1.0), target, survey.exact_out) for path in chosen)
            return [each for each in tried if each is not None]

        in_steps = any(self.network.in_steps[path].any() for path in paths)
        if len(paths) < 2 or in_steps or self.network.is_costly or self._is_coarse(survey):
            # What is left over, charged or rounded off may make the lesser path the one that fits.
            return simulated(paths)
        close = near_best(self.network, paths, survey.amount, FAR_APART, exact_out=survey.exact_out)
        return simulated(close) or simulated(paths)

    def _is_coarse(self, survey: Survey) -> bool:
        # Rounded to few digits on every leg, a path may be worth less than another that is shorter.
        amounts = survey.needed if survey.exact_out else survey.reached
        return bool(((self.network.finest > COARSE * amounts) & (amounts > 0.0)).any())

    def _simulated(self, flow: Flow, target: Decimal, survey: Survey) -> list[Journey]:
        journey = self._simulate(flow, target, survey.exact_out) if flow else None
        found = [] if journey is None else [journey]
        if any(self.network.in_steps[e] for e in flow):
            found += self._around_steps(flow, target, survey)
        return found

    def _chosen(
        self, flow: Flow, relaxed: Relaxed, survey: Survey, costs: Floats, paths: list[list[int]], floor: float
    ) -> list[Flow]:
        constraints = self.trade.constraints
        limits = Limits(constraints.max_legs, constraints.max_hops, costs)
        choosing = Choosing(self.network, self.relaxation, survey, limits, self.should_stop)
        return choosing.search(flow, choosing.worth(relaxed), paths, floor)

    def value(self, journey: Journey, prices: Mapping[Asset, Decimal], exact_out: bool) -> Decimal:
        """Value a journey by the trade's objective, fixed costs counted in its asset."""
        objective = self.trade.gives if exact_out else self.trade.takes
        aside = self.fixed_cost(journey, prices)
        if aside:
            aside /= prices[objective]
        return journey.sends + aside if exact_out else journey.receives - aside

    def fixed_cost(self, journey: Journey, prices: Mapping[Asset, Decimal]) -> Decimal:
        """Sum the fixed costs of the markets used, in the quote asset."""
        return sum((amount * prices[asset] for asset, amount in self.paid_aside(journey).items()), ZERO)

    def paid_aside(self, journey: Journey) -> dict[Asset, Decimal]:
        """Sum the fixed costs of the markets used, by asset; a market used twice is paid once."""
        return self.charged(step.direction for step in journey.steps)

    def charged(self, used: Iterable[int]) -> dict[Asset, Decimal]:
        """Sum the fixed costs of the markets of some directions, by asset."""
        sums: dict[Asset, Decimal] = {}
        if not self.network.is_costly:
            return sums
        for market in {self.network.listed.market[e] for e in used}:
            cost = self.network.exchanges[market].market.fixed_cost
            if cost is not None:
                sums[cost.asset] = sums.get(cost.asset, ZERO) + cost.amount
        return sums

    def _far_from_bound(self, journeys: Iterable[Journey], relaxed: Relaxed, exact_out: bool) -> bool:
        if self.network.is_costly:
            return True
        values = [float(journey.sends if exact_out else journey.receives) for journey in journeys if self.fits(journey)]
        return not any(abs(relaxed.bound - value) <= FAR_APART * value for value in values)

    def _sign(self, exact_out: bool) -> int:
        return 1 if exact_out else -1

    def _shape(self, flow: Flow, survey: Survey) -> tuple[Flow, tuple[str, ...]]:
        constraints, network = self.trade.constraints, self.network
        names: set[str] = set()
        if self.relaxation.has_cycles:
            # Without its cycles the flow no longer adds up: optimise again on what is left.
            flow = self._on(flow, survey) or flow
        for _ in range(3):
            if survey.exact_out:
                flow = self._each_market_once(flow)
            broken = self._broken(flow)
            if not broken:
                break
            names |= broken
            flow = fewest(network, flow, self.start, self.end, constraints.max_legs, constraints.max_hops)
            again = self._on(flow, survey)
            if again:
                flow = again
        else:
            if self._broken(flow):
                flow = {}
        return flow, tuple(sorted(names))

    def _broken(self, flow: Flow) -> set[str]:
        constraints = self.trade.constraints
        broken = {"max_legs"} if len(flow) > constraints.max_legs else set()
        if longest_way(self.network, flow, self.start, self.end) > constraints.max_hops:
            broken.add("max_hops")
        return broken

    def _pair(self, target: Decimal, exact_out: bool) -> Journey | None:
        solution = self._direct(at_quantity(self.trade, target, exact_out=exact_out))
        if solution is None:
            return None
        places = {
            str(self.network.exchanges[int(self.network.market[e])].market.market_id): int(e)
            for e in np.flatnonzero(self.kept & (self.network.source == self.start) & (self.network.sink == self.end))
        }
        legs = solution.slices[0].legs
        if any(leg.market_id not in places for leg in legs):
            return None
        steps = tuple(
            Step(places[leg.market_id], 0, Fill(leg.sends.amount, leg.receives.amount, leg.fee.amount, leg.limit_price))
            for leg in legs
        )
        return Journey(steps, solution.sends.amount, solution.receives.amount, {})

    def _on(self, used: Iterable[int], survey: Survey) -> Flow:
        only = np.zeros(len(self.network.directions), np.bool_)
        only[list(used)] = True
        relaxed = self.relaxation.solve(survey, self.should_stop, only)
        if relaxed is None:
            return {}
        return self._acyclic(relaxed, survey.exact_out)

    def _acyclic(self, relaxed: Relaxed, exact_out: bool, *, thrifty: bool = True) -> Flow:
        whole = self.relaxation.has_cycles or not thrifty
        flow = relaxed.flow if whole else worthwhile(self.network, relaxed, self.start, self.end)
        return without_cycles(
            self.network, flow, relaxed.price, self.start, self.end, exact_out=exact_out,
            dust=DUST_WITH_CYCLES if self.relaxation.has_cycles else DUST,
        )  # fmt: skip

    def _repeats(self, flow: Flow) -> bool:
        return len({int(self.network.market[e]) for e in flow}) < len(flow)

    def _by_tender(self, relaxed: Relaxed, target: Decimal) -> list[Journey]:
        # What a market gives to a later leg depends on the earlier: only a forward walk knows, so search its tender.
        flow = without_cycles(self.network, relaxed.sent, relaxed.price, self.start, self.end, exact_out=False)
        if self._broken(flow):
            return []
        grid = self.network.unit(self.trade.gives)
        known = 0.0 < relaxed.bound < LARGEST_TENDER
        tender = up(short_up(Decimal(relaxed.bound)), grid) if known else ZERO
        best: Journey | None = None
        for _ in range(TENDERS):
            journey = forward(self.network, flow, self.start, self.end, tender) if tender > 0 else None
            if journey is None or journey.receives * FAR_FROM < target:
                break
            share = target / journey.receives
            if share > 1:
                tender = up(tender * min(share**2, STEEPEST), grid)
                continue
            # Less pays better: in proportion to what is too much, the tender still suffices.
            if best is None or journey.sends < best.sends:
                best = journey
            if share > ENOUGH:
                break
            tender = up(tender * share, grid)
        return [] if best is None else [best]

    def _each_market_once(self, flow: Flow) -> Flow:
        widest: dict[int, int] = {}
        for e in sorted(flow, key=lambda e: (-flow[e], e)):
            widest.setdefault(int(self.network.market[e]), e)
        if len(widest) == len(flow):
            return flow
        kept = set(widest.values())
        return connected(self.network, {e: v for e, v in flow.items() if e in kept}, self.start, self.end)

    def _simulate(self, flow: Flow, target: Decimal, exact_out: bool) -> Journey | None:
        if exact_out:
            flow = self._each_market_once(flow)
        if exact_out:
            journey = backward(self.network, flow, self.start, self.end, target)
            return journey if journey is not None and journey.receives >= target else None
        journey = forward(self.network, flow, self.start, self.end, target)
        if journey is None or journey.sends > target:
            return None
        unsent = target - journey.sends
        if unsent <= target * COMPLETE:
            return journey
        return journey if any(self.network.in_steps[e] and self.network.source[e] == self.start for e in flow) else None

    def _around_steps(self, flow: Flow, target: Decimal, survey: Survey) -> list[Journey]:
        network, exact_out = self.network, survey.exact_out
        stepped = {e for e in flow if network.in_steps[e]}
        found = [self._simulate(self._with_absorbers(flow, exact_out), target, exact_out)]
        for dropped in (stepped, {e for e in stepped if int(network.source[e]) != self.start}):
            rest = connected(network, {e: v for e, v in flow.items() if e not in dropped}, self.start, self.end)
            again = self._on(rest, survey) if rest and len(rest) < len(flow) else {}
            if again and not self._broken(again):
                found.append(self._simulate(again, target, exact_out))
        return [journey for journey in found if journey is not None]

    def _with_absorbers(self, flow: Flow, exact_out: bool) -> Flow:
        # Beside every book that trades in steps goes a market that takes any amount, for what the steps leave over.
        network = self.network
        used = {int(network.market[e]) for e in flow}
        extended = dict(flow)
        free = self.kept & ~network.in_steps & ~np.isin(network.market, list(used))
        near, far = (network.sink, network.source) if exact_out else (network.source, network.sink)
        for asset in {int(near[e]) for e in flow if network.in_steps[e]}:
            if any(near[e] == asset and not network.in_steps[e] for e in flow):
                continue
            reached = {int(far[e]) for e in flow if near[e] == asset}
            beside = [e for e in np.flatnonzero(free & (near == asset)) if int(far[e]) in reached]
            if beside:
                extended[int(max(beside, key=lambda e: (network.log_best[e], -e)))] = LEFTOVER * sum(flow.values())
        return flow if self._broken(extended) else extended


def at_quantity(trade: Trade, target: Decimal, *, exact_out: bool) -> Trade:
    """Return the trade of another quantity without its bounds on price, funds and completeness."""
    return replace(
        trade,
        quantity=target,
        quantity_asset=trade.takes if exact_out else trade.gives,
        limit_price=None,
        max_slippage_bps=None,
        constraints=replace(trade.constraints, allow_partial=False, balances={}),
    )
