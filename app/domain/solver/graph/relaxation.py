"""The continuous problem over the whole graph, solved on as little of it as matters.

Only segments that can compete with the best single path enter the interior point. Its prices, completed over the rest
of the graph, then bound what every segment left out could earn; those that could earn something enter, and so on.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cached_property

import numpy as np

from app.domain.market import OrderBook
from app.domain.solver.graph.bounding import Bounding
from app.domain.solver.graph.curves import promises, surpluses
from app.domain.solver.graph.descent import FULL, IDLE, OPEN, Roles, descend, sort_out
from app.domain.solver.graph.joining import joined_flows, shared_by_several
from app.domain.solver.graph.network import Flags, Network
from app.domain.solver.graph.selected import Relaxed, Restated, Task, solve_on
from app.domain.solver.graph.survey import Survey, Surveyor
from app.domain.solver.graph.walks import relax
from app.domain.solver.kernels import Floats, Ints
from app.domain.solver.kinds.base import LINEAR, SHAPE

TOLERANCE, SETTLED = 2e-9, 2e-8
ROUGH = 1e-4
"""The tolerance while segments still enter."""
NEGLIGIBLE = 1e-8
NEGLIGIBLE_YET = 1e-5
ROUNDS = 12
ROUNDS_WITH_CYCLES = 2
WALK_ROUNDS = 64
STARTING_SPREAD = 0.0
LEAST_SPREAD = 1e-6
GROWTH = 4.0
FARTHEST = 40.0
WIDEST = 2.0
MOST_WITH_CYCLES = 160
PROMISING = 1e-7
SMALL = 1500
MOST_LOST = 7.0
BOUND_WIDENING = 1e-12
WIDE, NARROW = 3e-3, 1e-3
NARROWER, MANY_ASSETS = 2e-4, 200
"""Large systems are worth more steps before the interior point, which then has less to do."""
MARGINS = {NARROW: 1e-3, NARROWER: 3e-4}
BARRIER = 1e-5
EXACTLY, NEARLY = 1e-7, 1e-3
DESCENTS = 120
IDLE_SHARE = 1e-8
WAYS_BETWEEN_POLLS = 80_000
NO_SEGMENT: Ints = np.empty(0, np.int64)


class Relaxation:
    """The problem between two assets over the directions in `kept`."""

    def __init__(self, network: Network, kept: Flags, start: int, end: int, max_hops: int) -> None:
        """Look for cycles that pay."""
        self.network = network
        self.kept = kept
        self.start, self.end = start, end
        self._surveyor = Surveyor(network, kept, start, end, max_hops)
        self._ways: Ints = np.flatnonzero(kept)
        self._segment_kept: Flags = kept[network.direction]
        self._worth = np.full(len(network.assets), -np.inf)
        self._worth[end] = 0.0
        self.has_cycles = not relax(network.sink, network.source, kept, network.log_best, WALK_ROUNDS, self._worth)
        self._log_rate = float(self._worth[start])

    @cached_property
    def _costs(self) -> Floats:
        network = self.network
        became = np.full(len(network.assets), -np.inf)
        became[self.start] = 0.0
        relax(network.source, network.sink, self.kept, network.log_best, WALK_ROUNDS, became)
        return -became

    def survey(self, amount: float, exact_out: bool, max_legs: int) -> Survey | None:
        """Find the best single path for an amount, or else for the largest part of it that some path carries."""
        survey = self._surveyor.survey(amount, exact_out, max_legs)
        return self._surveyor.complete(survey) if survey is not None and self.has_cycles else survey

    def solve(self, survey: Survey, should_stop: Callable[[], bool], only: Flags | None = None) -> Relaxed | None:
        """Optimise for an amount. With `only` the flows keep to some directions and nothing is proven."""
        with np.errstate(all="ignore"):
            if only is not None:
                chosen = np.flatnonzero(only[self.network.direction] & self._segment_kept)
                return self._solve_on(chosen, survey, TOLERANCE, should_stop)
            # Where a float underflows or overflows, the other way may still find an answer.
            for way in (self._grow,) if self.has_cycles else (self._settle, self._grow):
                with suppress(ZeroDivisionError, np.linalg.LinAlgError):
                    found = way(survey, should_stop)
                    if found is not None:
                        return found
            return None

    def settle(self, survey: Survey, should_stop: Callable[[], bool]) -> Relaxed | None:
        """Optimise for an amount by descent alone; None around cycles and where that finds no answer."""
        with np.errstate(all="ignore"), suppress(ZeroDivisionError, np.linalg.LinAlgError):
            return None if self.has_cycles else self._settle(survey, should_stop)
        return None

    def solve_restated(
        self, survey: Survey, chosen: Ints, restated: Restated, should_stop: Callable[[], bool]
    ) -> Relaxed | None:
        """Optimise for an amount on chosen segments stated otherwise; nothing is proven."""
        with np.errstate(all="ignore"), suppress(ZeroDivisionError, np.linalg.LinAlgError):
            task = Task(self.start, self.end, survey.exact_out, self._value(survey), self._widest(survey))
            return solve_on(self.network, task, chosen, NO_SEGMENT, TOLERANCE, 0.0, should_stop, restated)
        return None

    @cached_property
    def bounding(self) -> Bounding:
        """The tightest proofs over the same directions."""
        return Bounding(self.network, self.kept, self.start, self.end)

    @cached_property
    def rules(self) -> tuple[str, ...]:
        """Name the rules of the markets that the relaxation ignores."""
        markets = [self.network.exchanges[i].market for i in np.unique(self.network.market[self.kept])]
        books = [market for market in markets if isinstance(market, OrderBook)]
        names = []
        if any(book.lot_size for book in books):
            names.append("lots")
        if any(book.min_quantity or book.min_notional for book in books):
            names.append("minimums")
        if any(market.fixed_cost is not None for market in markets):
            names.append("fixed_costs")
        return tuple(names)

    def joined(
        self, relaxed: Relaxed, survey: Survey, used: Iterable[int], should_stop: Callable[[], bool]
    ) -> Relaxed | None:
        """Return better flows where pools of several assets are used in several directions, each pool as one market.

        Around cycles that pay, only what is used takes part.
        """
        network = self.network
        using = np.zeros(len(network.directions), np.bool_)
        using[list(used)] = True
        if not shared_by_several(network, using):
            return None
        kept = using if self.has_cycles else self.kept
        with np.errstate(all="ignore"):
            task = Task(self.start, self.end, survey.exact_out, self._value(survey), self._widest(survey))
            return joined_flows(network, kept, task, relaxed, TOLERANCE, should_stop)

    def at_survey(self, survey: Survey) -> Relaxed:
        """Return no flow and what the surveyed prices prove: a bound for when the optimisation found none."""
        with np.errstate(all="ignore"):
            still = np.zeros(len(self.network.directions))
            relaxed = Relaxed(still, still, still, self._value(survey), np.inf, np.inf, 0, False)
            try:
                self._bound(relaxed, survey, self._segment_kept)
            except ZeroDivisionError:
                self._keep_finite(relaxed, exact_out=survey.exact_out)
        return relaxed

    def _value(self, survey: Survey) -> Floats:
        # In units of the whole trade, so that whatever the amounts, flows and prices are about one.
        near = survey.needed if survey.exact_out else survey.reached
        value = 1.0 / near
        value[~np.isfinite(value)] = 0.0
        return value

    def _widest(self, survey: Survey) -> float:
        # Split up, an amount may become more by as much as the single path moves the price.
        rate = survey.reached[self.end] / survey.amount
        if survey.exact_out:
            rate = survey.amount / survey.needed[self.start]
        lost = self._log_rate - float(np.log(rate))
        return WIDEST * float(np.exp(min(max(lost, 0.0), MOST_LOST)))

    def _grow(self, survey: Survey, should_stop: Callable[[], bool]) -> Relaxed | None:
        survey = self._surveyor.complete(survey)
        spread = STARTING_SPREAD
        chosen = self._promising(survey, spread)
        best: Relaxed | None = None
        rough = int(self._segment_kept.sum()) > SMALL
        for _ in range(ROUNDS_WITH_CYCLES if self.has_cycles else ROUNDS):
            relaxed = self._solve_on(np.flatnonzero(chosen), survey, ROUGH if rough else TOLERANCE, should_stop)
            left_out = None
            if relaxed is not None:
                try:
                    left_out = self._bound(relaxed, survey, chosen, NEGLIGIBLE_YET if rough else NEGLIGIBLE)
                except ZeroDivisionError:
                    relaxed = None
            if relaxed is not None:
                if best is not None and (
                    best.bound > relaxed.bound if survey.exact_out else best.bound < relaxed.bound
                ):
                    relaxed.bound, relaxed.idle_bound = best.bound, best.idle_bound
                best = relaxed
            if should_stop():
                break
            if relaxed is None or not relaxed.converged:
                # Too little was let in to carry the amount.
                spread = GROWTH * max(spread, LEAST_SPREAD)
                if spread > FARTHEST:
                    break
                chosen = chosen | self._promising(survey, spread)
            elif left_out is None:
                if not rough:
                    break
                rough = False
            if left_out is not None:
                chosen = chosen | left_out
        return best

    def _promising(self, survey: Survey, spread: float) -> Flags:
        network = self.network
        cost, worth = 1.0 / survey.reached, float(np.exp(spread)) / survey.needed
        promise = promises(
            network.segments, network.direction, network.segment_source, network.segment_sink, self.kept, cost, worth
        )
        chosen: Flags = promise > (PROMISING if self.has_cycles else 0.0)
        if self.has_cycles and int(chosen.sum()) > MOST_WITH_CYCLES:
            chosen = promise >= np.partition(promise, -MOST_WITH_CYCLES)[-MOST_WITH_CYCLES]
        for e in survey.path:
            chosen[network.first[e] : network.first[e + 1]] |= promise[network.first[e] : network.first[e + 1]] > 0.0
        return chosen

    def _solve_on(
        self, chosen: Ints, survey: Survey, tolerance: float, should_stop: Callable[[], bool]
    ) -> Relaxed | None:
        task = Task(self.start, self.end, survey.exact_out, self._value(survey), self._widest(survey))
        return solve_on(self.network, task, chosen, NO_SEGMENT, tolerance, 0.0, should_stop)

    def _settle(self, survey: Survey, should_stop: Callable[[], bool]) -> Relaxed | None:
        network, exact_out = self.network, survey.exact_out
        near = self.end if exact_out else self.start
        reference = self._costs if exact_out else self._worth
        shift = np.zeros(len(reference))
        sent, received = np.zeros(len(self._ways)), np.zeros(len(self._ways))
        widest = self._widest(survey)
        narrow = NARROW if len(network.assets) <= MANY_ASSETS else NARROWER
        width, iterations, converged = WIDE, 0, False
        curved_only = not (network.segments[:, SHAPE] == LINEAR).any()
        between_polls = max(WAYS_BETWEEN_POLLS // len(self._ways), 2)
        stopped = False
        while not converged and iterations < DESCENTS and not stopped:
            done, _missing, width, converged = descend(
                network.segments, network.log_rate, network.first, network.source, network.sink, self._ways, reference,
                self.start, self.end, survey.amount, exact_out, widest, width, narrow,
                EXACTLY if curved_only else NEARLY, between_polls, shift, sent, received,
            )  # fmt: skip
            iterations += done
            if done < between_polls and not converged:
                return None
            stopped = should_stop()
        log_price = reference + shift
        log_price -= log_price[near] + np.log(survey.amount)
        if not np.isfinite(log_price[[self.start, self.end]]).all():
            return None
        task = Task(self.start, self.end, exact_out, np.exp(log_price), widest)
        if curved_only or stopped or not converged:
            count = len(network.directions)
            in_all, out_all = np.zeros(count), np.zeros(count)
            in_all[self._ways], out_all[self._ways] = sent, received
            flow = out_all if exact_out else in_all
            relaxed = Relaxed(in_all, out_all, flow, task.value, 0.0, 0.0, iterations, converged)
            self._forget_idle(relaxed)
            self._bound(relaxed, survey, self._segment_kept)
            return relaxed
        best: Relaxed | None = None
        margin = MARGINS[narrow]
        roles = self._roles(task, margin)
        for _ in range(ROUNDS):
            found = solve_on(
                network,
                task,
                np.flatnonzero(roles == OPEN),
                np.flatnonzero(roles == FULL),
                SETTLED,
                BARRIER,
                should_stop,
            )
            if found is None:
                return best
            relaxed = found
            self._forget_idle(relaxed)
            left_out = self._bound(relaxed, survey, roles != IDLE)
            if best is None or (relaxed.bound > best.bound if exact_out else relaxed.bound < best.bound):
                best = relaxed
            gain = (
                np.log(relaxed.price[network.segment_sink] / relaxed.price[network.segment_source]) + network.log_rate
            )
            emptying = (roles == FULL) & (gain < 0.0)
            if (left_out is None and not emptying.any()) or should_stop():
                break
            # Where what was fixed did not fit, prices broke away: begin again with more of it open.
            margin *= 4.0
            wider = self._roles(task, margin)
            roles[emptying] = OPEN
            if left_out is not None:
                roles[left_out & (roles == IDLE)] = OPEN
            roles[wider == OPEN] = OPEN
        return best

    def _forget_idle(self, relaxed: Relaxed) -> None:
        # Where next to nothing leaves an asset, its price is as good as arbitrary.
        network = self.network
        leaving = np.bincount(network.source, relaxed.sent * relaxed.price[network.source], len(network.assets))
        worth = leaving[self.start]
        idle = leaving < IDLE_SHARE * worth
        idle[[self.start, self.end]] = False
        relaxed.price[idle] = 0.0

    def _roles(self, task: Task, margin: float) -> Roles:
        network = self.network
        return sort_out(
            network.segments, network.log_rate, network.first, network.source, network.sink, self._ways,
            np.log(task.value), task.widest / task.value, margin,
        )  # fmt: skip

    def _bound(self, relaxed: Relaxed, survey: Survey, chosen: Flags, negligible: float = NEGLIGIBLE) -> Flags | None:
        network = self.network
        priced = relaxed.price > 0.0
        tried = [self._surpluses(each) for each in self._completed(relaxed.price, priced, survey)]
        total, turnover, price, earned = min(tried, key=lambda one: one[0] if np.isfinite(one[0]) else np.inf)
        relaxed.price = price
        start, end = float(price[self.start]), float(price[self.end])
        if survey.exact_out:
            gross = end * survey.amount
            relaxed.bound = (gross - total - BOUND_WIDENING * (gross + turnover)) / start
            relaxed.idle_bound = total / start
        else:
            gross = start * survey.amount
            relaxed.bound = (gross + total + BOUND_WIDENING * (gross + turnover)) / end
            relaxed.idle_bound = total / end
        self._keep_finite(relaxed, exact_out=survey.exact_out)
        missed = earned * ~chosen
        if float(missed.sum()) <= negligible * gross:
            return None
        if self.has_cycles:
            return self._most_missed(missed, gross)
        log_price = np.log(price)
        slack = log_price[network.segment_source] - network.log_rate - log_price[network.segment_sink]
        outside = self._segment_kept & ~chosen
        entering: Flags = missed > 0.0
        # A segment into an asset without a price needs the way on from there as well.
        tight = outside & (slack < 1e-9)
        fresh = np.zeros(len(network.assets), np.bool_)
        fresh[network.segment_sink[entering]] = True
        fresh &= ~priced
        followed = fresh.copy()
        while fresh.any():
            onward = tight & fresh[network.segment_source]
            entering = entering | onward
            fresh = np.zeros(len(network.assets), np.bool_)
            fresh[network.segment_sink[onward]] = True
            fresh &= ~priced & ~followed
            followed |= fresh
        return entering

    def _keep_finite(self, relaxed: Relaxed, *, exact_out: bool) -> None:
        # However the prices came out: nobody receives more than the markets hold, or sends less than nothing.
        held = self.network.room_out[self.kept & (self.network.sink == self.end)].sum()
        if not np.isfinite(relaxed.bound):
            relaxed.bound = 0.0 if exact_out else float(held)
        if not np.isfinite(relaxed.idle_bound):
            relaxed.idle_bound = float(held)

    def _surpluses(self, price: Floats) -> tuple[float, float, Floats, Floats]:
        network = self.network
        earned = np.empty(len(network.segments))
        total, turnover = surpluses(
            network.segments, network.direction, network.segment_source, network.segment_sink, self.kept, price, earned
        )
        return total, turnover, price, earned

    def _completed(self, price: Floats, priced: Flags, survey: Survey) -> list[Floats]:
        network = self.network
        if self.has_cycles:
            # Around a cycle that pays nothing is worth a finite amount; what the surveyed amount becomes there is.
            near = self.end if survey.exact_out else self.start
            costs, worths = 1.0 / survey.reached, 1.0 / survey.needed
            return [np.where(priced, price, each * (price[near] / each[near])) for each in (costs, worths)]
        # What has no flow is worth what it can be sold for at these prices: then nothing that leaves it earns.
        log_price = np.log(price)
        leaving = self.kept & ~priced[network.source]
        relax(network.sink, network.source, leaving, network.log_best, WALK_ROUNDS, log_price)
        return [np.exp(log_price)]

    def _most_missed(self, missed: Floats, gross: float) -> Flags:
        least = max(PROMISING * gross, float(np.partition(missed, -MOST_WITH_CYCLES)[-MOST_WITH_CYCLES])
                    if len(missed) > MOST_WITH_CYCLES else 0.0)  # fmt: skip
        entering: Flags = missed > least
        return entering
