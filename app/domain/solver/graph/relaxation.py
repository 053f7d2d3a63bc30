"""The continuous problem over the whole graph, solved on as little of it as matters.

Only segments that can compete with the best single path enter the interior point. Its prices, completed over the rest
of the graph, then bound what every segment left out could earn; those that could earn something enter, and so on.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from app.domain.solver.graph.curves import promises, surpluses
from app.domain.solver.graph.interior import exchange, optimise
from app.domain.solver.graph.network import Flags, Network
from app.domain.solver.graph.walks import best_path, relax
from app.domain.solver.kernels import Floats, Ints
from app.domain.solver.kinds.base import CAP, CAP_OUT, DEPTH_IN, DEPTH_OUT, RATE

TOLERANCE = 2e-9
ROUGH = 1e-4
"""The tolerance while segments still enter."""
NEGLIGIBLE = 1e-8
NEGLIGIBLE_YET = 1e-5
ITERATIONS = 80
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
PROBES = 12
STARTING_FLOW = 50.0
SMALL = 1500
MOST_LOST = 7.0
BOUND_WIDENING = 1e-12


@dataclass(slots=True)
class Relaxed:
    """Flows by direction, prices by asset, and a proven bound on what any route does.

    `sent` goes in; `flow` is what goes in where a tender is given and what comes out where a target is. `bound` is in
    the asset received (exact-in) or sent (exact-out); `idle_bound` is what the same prices allow for at zero tender.
    """

    sent: Floats
    flow: Floats
    price: Floats
    bound: float
    idle_bound: float
    iterations: int
    converged: bool


@dataclass(slots=True)
class Survey:
    """The best single path for an amount, what the amount becomes at each asset, and what each asset takes to get it.

    `path` is empty where no path is wide enough; the survey is then of a smaller amount, scaled up.
    """

    amount: float
    exact_out: bool
    path: Ints
    reached: Floats
    needed: Floats


class Relaxation:
    """The problem between two assets over the directions in `kept`."""

    def __init__(self, network: Network, kept: Flags, start: int, end: int, max_hops: int) -> None:
        """Look for cycles that pay."""
        self.network = network
        self.kept = kept
        self.start, self.end = start, end
        self.max_hops = max_hops
        self.has_cycles = not relax(
            network.sink, network.source, kept, network.log_best, WALK_ROUNDS, np.zeros(len(network.assets))
        )
        self._segment_kept: Flags = kept[network.direction]
        best = np.full(len(network.assets), -np.inf)
        best[start] = 0.0
        relax(network.source, network.sink, kept, network.log_best, max_hops, best)
        self._log_rate = float(best[end])

    def survey(self, amount: float, exact_out: bool, max_legs: int) -> Survey | None:
        """Find the best single path for an amount, or else for the largest part of it that some path carries."""
        try:
            return self._surveyed(amount, exact_out, max_legs)
        except ZeroDivisionError:
            # Depths so far apart that a float underflows: there is no telling what a path carries.
            return None

    def _surveyed(self, amount: float, exact_out: bool, max_legs: int) -> Survey | None:
        share = 1.0
        for probe in range(PROBES):
            path, near = self._walk(amount * share, exact_out, max_legs)
            if len(path):
                other, far = (self.start, self.end) if exact_out else (self.end, self.start)
                _, opposite = self._walk(float(near[other]), not exact_out, max_legs)
                opposite[far] = amount * share
                reached, needed = (opposite, near) if exact_out else (near, opposite)
                whole = path if probe == 0 else path[:0]
                return self._extended(Survey(amount, exact_out, whole, reached / share, needed / share))
            share /= 4.0
        return None

    def _walk(self, amount: float, exact_out: bool, max_legs: int) -> tuple[Ints, Floats]:
        network = self.network
        return best_path(
            network.segments, network.first, network.source, network.sink, self.kept, network.market,
            self.start, self.end, len(network.assets), amount, min(self.max_hops, max_legs), exact_out,
        )  # fmt: skip

    def _extended(self, survey: Survey) -> Survey:
        # Where no single path carries the whole amount, small amounts still tell what an asset is worth.
        network = self.network
        with np.errstate(all="ignore"):
            reached, needed = np.log(survey.reached), -np.log(survey.needed)
            thin = self.kept & ~np.isfinite(reached[network.sink])
            relax(network.source, network.sink, thin, network.log_best, self.max_hops, reached)
            thin = self.kept & ~np.isfinite(needed[network.source])
            relax(network.sink, network.source, thin, network.log_best, self.max_hops, needed)
            survey.reached, survey.needed = np.exp(reached), np.exp(-needed)
        return survey

    def solve(self, survey: Survey, should_stop: Callable[[], bool], only: Flags | None = None) -> Relaxed | None:
        """Optimise for an amount. With `only` the flows keep to some directions and nothing is proven."""
        with np.errstate(all="ignore"):
            if only is not None:
                return self._solve_on(np.flatnonzero(only[self.network.direction] & self._segment_kept), survey)
            try:
                return self._grow(survey, should_stop)
            except ZeroDivisionError:
                return None

    def at_survey(self, survey: Survey) -> Relaxed:
        """Return no flow and what the surveyed prices prove: a bound for when the optimisation found none."""
        with np.errstate(all="ignore"):
            still = np.zeros(len(self.network.directions))
            relaxed = Relaxed(still, still, self._value(survey), np.inf, np.inf, 0, False)
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
        spread = STARTING_SPREAD
        chosen = self._promising(survey, spread)
        best: Relaxed | None = None
        rough = int(self._segment_kept.sum()) > SMALL
        for _ in range(ROUNDS_WITH_CYCLES if self.has_cycles else ROUNDS):
            relaxed = self._solve_on(np.flatnonzero(chosen), survey, ROUGH if rough else TOLERANCE)
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

    def _solve_on(self, chosen: Ints, survey: Survey, tolerance: float = TOLERANCE) -> Relaxed | None:
        network, exact_out = self.network, survey.exact_out
        if not len(chosen):
            return None
        nodes, compact = np.unique(
            np.concatenate((network.segment_source[chosen], network.segment_sink[chosen])), return_inverse=True
        )
        compact = compact.astype(np.int64)
        source, sink = compact[: len(chosen)].copy(), compact[len(chosen) :].copy()
        start, end = int(np.searchsorted(nodes, self.start)), int(np.searchsorted(nodes, self.end))
        if start >= len(nodes) or end >= len(nodes) or nodes[start] != self.start or nodes[end] != self.end:
            return None
        value = self._value(survey)[nodes]
        if not (value > 0.0).all():
            return None
        segments = network.segments[chosen]
        given, taken = value[source], value[sink]
        segments[:, RATE] *= taken / given
        segments[:, CAP] *= given
        segments[:, DEPTH_IN] *= given
        segments[:, CAP_OUT] *= taken
        segments[:, DEPTH_OUT] *= taken
        # Nothing but a cycle sends more through one segment than the whole trade is worth.
        np.minimum(segments[:, CAP], self._widest(survey), out=segments[:, CAP])
        x = np.minimum(0.5 * segments[:, CAP], min(STARTING_FLOW / len(chosen), 1.0))
        price = np.ones(len(nodes))
        supply = np.zeros(len(nodes))
        supply[end if exact_out else start] = -1.0 if exact_out else 1.0
        try:
            iterations, _gap, converged = optimise(
                segments, source, sink, supply, start if exact_out else end, tolerance, ITERATIONS, x, price
            )
        except ZeroDivisionError:
            # What the markets do not hold drives some price beyond any number.
            return None
        if not (np.isfinite(x).all() and np.isfinite(price).all() and (price > 0.0).all()):
            return None
        sent: Floats = np.bincount(network.direction[chosen], x / given, len(network.directions)).astype(np.float64)
        flow = sent
        if exact_out:
            y = np.empty(len(x))
            exchange(segments, x, y, np.empty(len(x)), np.empty(len(x)))
            flow = np.bincount(network.direction[chosen], y / taken, len(network.directions)).astype(np.float64)
        full_price = np.zeros(len(network.assets))
        full_price[nodes] = price * value
        return Relaxed(sent, flow, full_price, 0.0, 0.0, iterations, converged)

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
