"""Plans for one amount over the graph: relax, shape, simulate exactly, and keep the best of several answers."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial

import numpy as np

from app.domain.solution import Solution
from app.domain.solver.exact import ZERO
from app.domain.solver.graph.choosing import Choosing, Limits
from app.domain.solver.graph.flows import (
    DUST,
    Flow,
    connected,
    each_market_once,
    fewest,
    is_coarse,
    longest_way,
    uses_a_market_twice,
    with_absorbers,
    without_cycles,
    worthwhile,
)
from app.domain.solver.graph.foreseen import Foreseeing, Foreseen
from app.domain.solver.graph.jointly import Jointly
from app.domain.solver.graph.network import Flags, Network
from app.domain.solver.graph.paths import FEW_PATHS, MORE_PATHS, ruled_paths
from app.domain.solver.graph.pricing import marginal_prices
from app.domain.solver.graph.relaxation import Relaxation
from app.domain.solver.graph.scope import at_quantity
from app.domain.solver.graph.selected import Relaxed
from app.domain.solver.graph.simulate import Journey, backward, by_tender, forward, of_pair
from app.domain.solver.graph.splits import best_two, near_best
from app.domain.solver.graph.survey import Survey
from app.domain.solver.kernels import Floats
from app.domain.trade import Trade
from app.domain.values import Asset

COMPLETE = Decimal("1e-9")
FAR_APART, WORTH_IMPROVING, NEARLY, WORTH_MIRRORING = 4e-7, 1e-6, 1e-5, 1e-4
MIRRORINGS, NOTICED = 3, 1 - Decimal("1e-6")
MOST_CHOSEN = 128
"""Where so many legs may be used, choosing among them one by one brings nothing."""
SHORT, DUST_WITH_CYCLES = 2, 1e-5


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
    Being choosy, that few may fit, it looks at more single paths.
    """

    def __init__(
        self,
        trade: Trade,
        network: Network,
        relaxation: Relaxation,
        should_stop: Callable[[], bool],
        third_price: Callable[[Asset], Decimal | None],
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
        self.is_choosy = network.is_costly and bool(trade.constraints.balances)
        self.thorough = True
        self._split: tuple[tuple[float, bool], tuple[float, Flow] | None] | None = None
        self._direct = direct
        self._mirrors = True
        self._shares = bool(network.shares[network.market[self.kept]].any())

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
            candidates += self._sent_on(joined, target) if exact_out else self._simulated(together, target, survey)
        broken = self._broken(flow)
        foreseen = None if broken else self._foreseen(flow, flows, relaxed, survey)
        done = [] if foreseen is None else self._simulated(foreseen.flow, target, survey)
        candidates += done
        if flow and not done:
            shaped, shortened = self._shape(flow, survey)
            candidates += self._simulated(shaped, target, survey)
            if not broken and self._far_from_bound(candidates, relaxed.bound, exact_out):
                whole = self._acyclic(flows, exact_out, thrifty=False)
                if len(whole) > len(flow) and not self._broken(whole):
                    candidates += self._simulated(whole, target, survey)
            if exact_out and uses_a_market_twice(self.network, flow) and (self.thorough or not candidates):
                candidates += self._sent_on(flows, target)
        bound, apart = (self._jointly(survey).bound(relaxed), NEARLY) if done else (relaxed.bound, FAR_APART)
        if self._far_from_bound(candidates, bound, exact_out, apart):
            both = self._direct(at_quantity(self.trade, target, exact_out=exact_out))
            candidates += [] if both is None else of_pair(self.network, self.kept, both, self.start, self.end)
            # Searched for with its lots and its own prices, what a split over two paths leaves over one can absorb.
            split = self.split_in_two(survey.amount, exact_out)
            candidates += [] if split is None else self._simulated(split[1], target, survey)
        best = self._best(candidates, prices, exact_out)
        many = self.trade.constraints.max_legs > MOST_CHOSEN
        if flow and ((broken and not many) or costs.any()) and (self.thorough or best is None or not self.fits(best)):
            floor = -np.inf if best is None else (-1 if exact_out else 1) * float(self.value(best, prices, exact_out))
            for chosen in self._chosen(flow, relaxed, survey, costs, paths, floor):
                candidates += self._simulated(chosen, target, survey)
            best = self._best(candidates, prices, exact_out)
        if best is None:
            return None
        if self.thorough and self._shares:
            improved = self._improved(best, flow if joined and not done else {}, relaxed, target, survey)
            best = self._best([best, *improved], prices, exact_out) or best
        alone = None if single is None else (single, self.value(single, prices, exact_out))
        return GraphPlan(target, relaxed, best, prices, self.value(best, prices, exact_out), alone, shortened)

    def _along(self, path: list[int], target: Decimal, survey: Survey) -> Journey | None:
        flow = dict.fromkeys(path, 1.0)
        if survey.exact_out and uses_a_market_twice(self.network, flow):
            return self._by_tender(flow, float(survey.needed[self.start]), target)
        return self.simulate(flow, target, survey.exact_out)

    def split_in_two(self, amount: float, exact_out: bool) -> tuple[float, Flow] | None:
        """Split an amount over the best two paths; return what it becomes, or takes, and the shares."""
        asked = amount, exact_out
        if self._split is None or self._split[0] != asked:
            ends = self.start, self.end
            found = best_two(self.network, self.kept, ends, amount, self.trade.constraints, exact_out=exact_out)
            self._split = asked, found
        return self._split[1]

    def _best(self, journeys: Iterable[Journey], prices: Mapping[Asset, Decimal], exact_out: bool) -> Journey | None:
        sign = 1 if exact_out else -1

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
            if cost is not None and cost.amount:
                costs[e] = float(cost.amount * prices[cost.asset] / objective)
        return costs

    def _paths(self, survey: Survey, costs: Floats) -> list[list[int]]:
        paths = [[int(e) for e in survey.path]] if len(survey.path) else []
        has_cycles, coarse = self.relaxation.has_cycles, is_coarse(self.network, survey)
        if has_cycles or coarse or costs.any() or bool((self.network.in_steps & self.kept).any()):
            constraints = self.trade.constraints
            most = min(constraints.max_hops, constraints.max_legs)
            # Rounding up may pay for a market that holds a little less than the whole amount.
            amount = survey.amount * (survey.share if coarse else 1.0)
            count = MORE_PATHS if self.is_choosy and self.thorough else FEW_PATHS
            # Rounding to whole amounts on the way may leave only short paths worth anything.
            for length in (most, *range(1, min(most, SHORT + 1))) if coarse else (most,):
                paths += ruled_paths(
                    self.network, self.kept, (self.start, self.end), amount, length, costs, count,
                    paths[0] if paths and length == most and count == FEW_PATHS else [],
                    exact_out=survey.exact_out, has_cycles=has_cycles,
                )  # fmt: skip
        return [path for k, path in enumerate(paths) if path not in paths[:k]]

    def _alone(self, paths: list[list[int]], target: Decimal, survey: Survey) -> list[Journey]:
        def simulated(chosen: list[list[int]]) -> list[Journey]:
            return [found for path in chosen if (found := self._along(path, target, survey)) is not None]

        # Floats tell nothing of a market that is used again, nor what is left over, charged or rounded off.
        untold = any(
            self.network.in_steps[path].any() or uses_a_market_twice(self.network, dict.fromkeys(path, 1.0))
            for path in paths
        )
        if len(paths) < 2 or untold or self.network.is_costly or is_coarse(self.network, survey):
            return simulated(paths)
        close = near_best(self.network, paths, survey.amount, FAR_APART, exact_out=survey.exact_out)
        return simulated(close) or simulated(paths)

    def _simulated(self, flow: Flow, target: Decimal, survey: Survey) -> list[Journey]:
        journey = self.simulate(flow, target, survey.exact_out) if flow else None
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
        return self.network.charged(step.direction for step in journey.steps)

    def _far_from_bound(
        self, journeys: Iterable[Journey], bound: float, exact_out: bool, apart: float = FAR_APART
    ) -> bool:
        if self.network.is_costly:
            return True
        values = [float(journey.sends if exact_out else journey.receives) for journey in journeys if self.fits(journey)]
        return not any(abs(bound - value) <= apart * value for value in values)

    def _shape(self, flow: Flow, survey: Survey) -> tuple[Flow, tuple[str, ...]]:
        constraints, network = self.trade.constraints, self.network
        names: set[str] = set()
        if self.relaxation.has_cycles:
            # Without its cycles the flow no longer adds up: optimise again on what is left.
            flow = self._on(flow, survey) or flow
        for _ in range(3):
            if survey.exact_out:
                flow = each_market_once(self.network, flow, self.start, self.end)
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

    def _jointly(self, survey: Survey) -> Jointly:
        return Jointly(self.network, self.relaxation, survey, self.should_stop)

    def _foreseen(self, flow: Flow, flows: Relaxed, relaxed: Relaxed, survey: Survey) -> Foreseen | None:
        # Legs fall short of the joint bound by the fees that they leave in a pool: it does not tell which flow is best.
        simple = not (survey.exact_out or self.relaxation.has_cycles or self.network.is_costly)
        if not (flow and self._shares and simple) or is_coarse(self.network, survey):
            return None

        def shape(relaxed: Relaxed, *, thrifty: bool = True) -> Flow:
            found = self._acyclic(relaxed, False, thrifty=thrifty)
            return {} if self._broken(found) else found

        bound = self._jointly(survey).bound(relaxed) / (1.0 + WORTH_IMPROVING) if self.thorough else 0.0
        foreseeing = Foreseeing(self.network, self.relaxation, survey, shape, self.should_stop)
        return foreseeing.best(flow, flows, bound)

    def _improved(self, best: Journey, flow: Flow, relaxed: Relaxed, target: Decimal, survey: Survey) -> list[Journey]:
        # What legs take from each other's reserves is known once they are simulated.
        jointly, exact_out = self._jointly(survey), survey.exact_out
        bound = jointly.bound(relaxed)
        found: list[Journey] = []
        if flow and self._far_from_bound([best], bound, exact_out, WORTH_IMPROVING):
            apart = self._on(each_market_once(self.network, flow, self.start, self.end), survey)
            found += self._simulated(apart, target, survey) if apart and not self._broken(apart) else []
            found += jointly.around(best, partial(self._joint_journey, target=target, survey=survey))
        mirrors = self._mirrors and (exact_out or not self.relaxation.has_cycles)
        if mirrors and self._far_from_bound([best, *found], bound, exact_out, WORTH_MIRRORING):
            found += self._mirrored(best, target, exact_out)
        return found

    def _joint_journey(self, relaxed: Relaxed, *, target: Decimal, survey: Survey) -> Journey | None:
        flow = self._acyclic(relaxed, survey.exact_out)
        if not flow or self._broken(flow):
            return None
        if survey.exact_out and uses_a_market_twice(self.network, flow):
            return self._by_tender(
                {e: float(relaxed.sent[e]) for e in flow},
                float(relaxed.sent[self.network.source == self.start].sum()),
                target,
            )
        return next(iter(self._simulated(flow, target, survey)), None)

    def _sent_on(self, relaxed: Relaxed, target: Decimal) -> list[Journey]:
        flow = without_cycles(self.network, relaxed.sent, relaxed.price, self.start, self.end, exact_out=False)
        journey = self._by_tender(flow, relaxed.bound, target)
        return [] if journey is None else [journey]

    def _by_tender(self, flow: Flow, about: float, target: Decimal) -> Journey | None:
        usable = bool(flow) and not self._broken(flow)
        return by_tender(self.network, flow, self.start, self.end, about, target) if usable else None

    def _mirrored(self, best: Journey, target: Decimal, exact_out: bool) -> list[Journey]:
        # Asked the other way, the same trade is searched for along other ways and by other legs.
        found = [best]
        self._mirrors, self.thorough = False, exact_out
        for _ in range(MIRRORINGS if exact_out else 1):
            latest = found[-1]
            there = self.plan(latest.sends if exact_out else latest.receives, not exact_out)
            if there is None or there.journey == latest:
                break
            flow = {step.direction: float(step.fill.sends) for step in there.journey.steps}
            more = (
                self._by_tender(flow, float(latest.sends), target) if exact_out else self.simulate(flow, target, False)
            )
            found += [] if more is None else [more]
            if more is None or more.sends >= latest.sends * NOTICED:
                break
        self._mirrors, self.thorough = True, True
        return found[1:]

    def simulate(self, flow: Flow, target: Decimal, exact_out: bool) -> Journey | None:
        """Walk a flow exactly; None where it does not trade the whole target."""
        if exact_out:
            flow = each_market_once(self.network, flow, self.start, self.end)
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
        extended = with_absorbers(network, self.kept, flow, exact_out=exact_out)
        found = [self.simulate(flow if self._broken(extended) else extended, target, exact_out)]
        for dropped in (stepped, {e for e in stepped if int(network.source[e]) != self.start}):
            rest = connected(network, {e: v for e, v in flow.items() if e not in dropped}, self.start, self.end)
            again = self._on(rest, survey) if rest and len(rest) < len(flow) else {}
            if again and not self._broken(again):
                found.append(self.simulate(again, target, exact_out))
        return [journey for journey in found if journey is not None]
