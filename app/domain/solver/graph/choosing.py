"""Which directions to use when using one is a decision: fixed costs, a cap on legs, a cap on hops.

Begins with parts of the graph in which no way is too long, and leaves out what flows least until few enough legs are
left. Then branches over the directions that the optimisation uses, and optimises again without, or with them paid for.
What a choice could at best be worth is the optimum of all that it has not ruled out, less what it has paid for.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count

import numpy as np

from app.domain.solver.graph.curves import amount_out
from app.domain.solver.graph.flows import Flow, connected, fewest, longest_way, without_cycles
from app.domain.solver.graph.levels import uphill
from app.domain.solver.graph.network import Flags, Network
from app.domain.solver.graph.relaxation import Relaxation
from app.domain.solver.graph.selected import Relaxed
from app.domain.solver.graph.survey import Survey
from app.domain.solver.kernels import Floats

OPTIMISATIONS = 96
"""How often a choice is optimised anew; fewer where an optimisation takes longer."""
SEGMENTS_OPTIMISED = 24_000
WIDE = 600
"""In a graph of more segments only the directions that the optimum or a good path uses are chosen from."""
CLOSE_ENOUGH = 2e-6
ROUNDING = 1e-7
DUST = 1e-6
"""Flows below this share of the trade's value do not make a choice worth considering."""
KEPT_FLOWS, KEPT_IN_STEPS = 3, 6
"""Rounded to whole lots, one that was worth less may be worth the most."""
PATIENCE = 24
"""Optimisations without a better choice after which no more are made where there are too many legs or hops."""
FEW = 40
"""In a graph of more segments that pays around cycles, branching finds nothing in the time there is."""
HOPELESS = 1e-3
THINNED = 0.7
BASES = 2


@dataclass(frozen=True, slots=True)
class Limits:
    """The caps on a slice's shape, and what using a market costs by direction, in the objective's asset."""

    max_legs: int
    max_hops: int
    costs: Floats


@dataclass(slots=True)
class _Node:
    banned: frozenset[int]
    paid: frozenset[int]
    flow: Flow
    worth: float


class Choosing:
    """The choice among directions for one amount."""

    def __init__(
        self, network: Network, relaxation: Relaxation, survey: Survey, limits: Limits, should_stop: Callable[[], bool]
    ) -> None:
        """Take what stays the same whatever is chosen."""
        self.network = network
        self.relaxation = relaxation
        self.survey = survey
        self.limits = limits
        self.should_stop = should_stop
        self.start, self.end = relaxation.start, relaxation.end
        self._found: list[tuple[float, int, Flow]] = []
        self._number = count()
        self._left = OPTIMISATIONS

    def search(self, root: Flow, worth: float, paths: list[list[int]], floor: float) -> list[Flow]:
        """List the best flows found, best first; none that is worth less than `floor`, which is known to be had.

        Worth is what is to be maximised: what arrives less costs, or minus what is sent and paid.
        """
        universe = self._universe(root, paths)
        segments = int(universe[self.network.direction].sum())
        self._left = min(OPTIMISATIONS, max(SEGMENTS_OPTIMISED // max(segments, 1), 4))
        best, cyclic = floor, self.relaxation.has_cycles
        free = not self.limits.costs.any()
        if free and not cyclic and floor >= worth:
            return []
        patience = self._left
        if len(root) > self.limits.max_legs or self._too_long(root):
            best = max(floor, self._climb(universe, paths))
            patience = PATIENCE
        if cyclic and free and self._found and segments > FEW:
            # With all circles that a choice may leave out in it, next to nothing is ruled out by what it is worth.
            return self._best_found(floor)
        waiting: list[tuple[float, int, _Node]] = []
        if not cyclic and universe is self.relaxation.kept:
            self._wait(waiting, _Node(frozenset(), frozenset(), self._without_dust(root), worth))
        else:
            self._optimised(waiting, universe, frozenset(), frozenset())
        latest = self._left
        while waiting and self._left > max(0, latest - patience) and not self.should_stop():
            least, _, node = heappop(waiting)
            if -least <= best + CLOSE_ENOUGH * abs(best):
                break
            broken = self._too_long(node.flow)
            fits = len(node.flow) <= self.limits.max_legs and not broken
            unpaid = [e for e in node.flow if self.limits.costs[e] > 0.0 and not self._is_paid(node, e)]
            if fits:
                value = node.worth - self._cost(node.flow)
                heappush(self._found, (-value, next(self._number), node.flow))
                if value > best:
                    best, latest = value, self._left
                if not unpaid:
                    continue
                self._branch(waiting, universe, node, max(unpaid, key=lambda e: self.limits.costs[e] / node.flow[e]))
            elif broken:
                self._shorten(waiting, universe, node, broken)
            else:
                self._thin(waiting, universe, node)
        for _, _, node in waiting[:KEPT_FLOWS]:
            if len(node.flow) <= self.limits.max_legs and not self._too_long(node.flow):
                self._found.append((self._cost(node.flow) - node.worth, next(self._number), node.flow))
        return self._best_found(floor)

    def _best_found(self, floor: float) -> list[Flow]:
        least = floor - HOPELESS * abs(floor)
        distinct: dict[frozenset[int], Flow] = {}
        for cost, _, flow in sorted(self._found):
            if -cost >= least:
                distinct.setdefault(frozenset(flow), flow)
        kept = KEPT_IN_STEPS if (self.network.in_steps & self.relaxation.kept).any() else KEPT_FLOWS
        return list(distinct.values())[:kept]

    def _universe(self, root: Flow, paths: Iterable[list[int]]) -> Flags:
        kept = self.relaxation.kept
        if int(kept[self.network.direction].sum()) <= WIDE:
            return kept
        chosen: Flags = np.zeros(len(kept), np.bool_)
        chosen[list(root)] = True
        for path in paths:
            chosen[path] = True
        return chosen & kept

    def _climb(self, universe: Flags, paths: list[list[int]]) -> float:
        network, relaxation, most = self.network, self.relaxation, self.limits.max_hops
        parts: dict[bytes, Flags] = {}
        for path in paths[:BASES]:
            for part in uphill(network, relaxation.kept, self.start, self.end, most, path):
                parts[part.tobytes()] = part
        best, narrow = -np.inf, universe.copy()
        for part in parts.values():
            if self.should_stop():
                return best
            relaxed = Relaxation(network, part, self.start, self.end, most).settle(self.survey, self.should_stop)
            flow = {} if relaxed is None else self._acyclic(relaxed)
            if relaxed is not None and flow:
                narrow[list(flow)] = True
                best = max(best, self._thinned(relaxed, flow))
        tried: set[bytes] = set()
        bases: list[Iterable[int]] = [*paths[:BASES], *(flow for _, _, flow in sorted(self._found)[:BASES])]
        for used in bases:
            for part in uphill(network, narrow, self.start, self.end, most, used):
                if part.tobytes() in tried or self.should_stop():
                    continue
                tried.add(part.tobytes())
                relaxed = relaxation.solve(self.survey, self.should_stop, part)
                flow = {} if relaxed is None else self._acyclic(relaxed)
                if relaxed is not None and flow:
                    best = max(best, self._thinned(relaxed, flow))
        return best

    def _thinned(self, relaxed: Relaxed, flow: Flow) -> float:
        network, limits = self.network, self.limits
        while len(flow) > limits.max_legs:
            legs = max(limits.max_legs, int(THINNED * len(flow)))
            only = np.zeros_like(self.relaxation.kept)
            only[list(fewest(network, flow, self.start, self.end, legs, limits.max_hops))] = True
            again = self.relaxation.solve(self.survey, self.should_stop, only)
            flow = {} if again is None else self._acyclic(again)
            if again is None or not flow:
                return -np.inf
            relaxed = again
        value = self.worth(relaxed) - self._cost(flow)
        heappush(self._found, (-value, next(self._number), flow))
        return value

    def _wait(self, waiting: list[tuple[float, int, _Node]], node: _Node) -> None:
        bound = node.worth + ROUNDING * abs(node.worth) - self._cost(node.paid)
        heappush(waiting, (-bound, next(self._number), node))

    def _branch(self, waiting: list[tuple[float, int, _Node]], universe: Flags, node: _Node, e: int) -> None:
        self._wait(waiting, _Node(node.banned, node.paid | {e}, node.flow, node.worth))
        self._optimised(waiting, universe, node.banned | {e}, node.paid)

    def _thin(self, waiting: list[tuple[float, int, _Node]], universe: Flags, node: _Node) -> None:
        if len(node.paid) >= self.limits.max_legs:
            others = frozenset(map(int, np.flatnonzero(universe))) - node.paid
            if others - node.banned:
                self._optimised(waiting, universe, others, node.paid)
            return
        free = [e for e in node.flow if e not in node.paid]
        if free:
            self._branch(waiting, universe, node, min(free, key=lambda e: (node.flow[e], e)))

    def _shorten(self, waiting: list[tuple[float, int, _Node]], universe: Flags, node: _Node, way: list[int]) -> None:
        paid = node.paid
        for e in sorted(way, key=lambda e: node.flow[e]):
            if e not in node.paid:
                self._optimised(waiting, universe, node.banned | {e}, paid)
                paid = paid | {e}

    def _optimised(
        self, waiting: list[tuple[float, int, _Node]], universe: Flags, banned: frozenset[int], paid: frozenset[int]
    ) -> None:
        if self._left <= 0:
            return
        self._left -= 1
        only = universe.copy()
        only[list(banned)] = False
        relaxed = self.relaxation.solve(self.survey, self.should_stop, only)
        flow = {} if relaxed is None else self._acyclic(relaxed)
        if relaxed is None or not flow or not relaxed.converged:
            return
        if self.relaxation.has_cycles and self._circles(relaxed, flow):
            # What the cycles bring is not to be had: count only what remains without them.
            only[:] = False
            only[list(flow)] = True
            relaxed = self.relaxation.solve(self.survey, self.should_stop, only)
            flow = {} if relaxed is None else self._acyclic(relaxed)
            if relaxed is None or not flow:
                return
        self._wait(waiting, _Node(banned, paid, flow, self.worth(relaxed)))

    def _acyclic(self, relaxed: Relaxed) -> Flow:
        return without_cycles(
            self.network, relaxed.flow, relaxed.price, self.start, self.end, exact_out=self.survey.exact_out, dust=DUST
        )

    def _circles(self, relaxed: Relaxed, flow: Flow) -> bool:
        # Every circle taken out took a direction with it.
        network, exact_out = self.network, self.survey.exact_out
        values = relaxed.flow * relaxed.price[network.sink if exact_out else network.source]
        ends = network.sink == self.end if exact_out else network.source == self.start
        return int((values > DUST * float(values[ends].sum())).sum()) > len(flow)

    def _without_dust(self, flow: Flow) -> Flow:
        least = DUST * max(flow.values(), default=0.0)
        return connected(self.network, {e: v for e, v in flow.items() if v > least}, self.start, self.end)

    def worth(self, relaxed: Relaxed) -> float:
        """Return what an optimum brings, or minus what it sends."""
        network = self.network
        if self.survey.exact_out:
            return -float(relaxed.sent[network.source == self.start].sum())
        used = np.flatnonzero((relaxed.sent > 0.0) & (network.sink == self.end))
        sent = np.minimum(relaxed.sent, network.room)
        return sum(amount_out(network.segments, network.first[e], network.first[e + 1], sent[e]) for e in used)

    def _is_paid(self, node: _Node, e: int) -> bool:
        return any(self.network.market[other] == self.network.market[e] for other in node.paid)

    def _cost(self, used: Iterable[int]) -> float:
        charged = {int(self.network.market[e]): float(self.limits.costs[e]) for e in used}
        return sum(charged.values())

    def _too_long(self, flow: Flow) -> list[int]:
        if longest_way(self.network, flow, self.start, self.end) <= self.limits.max_hops:
            return []
        # Any way that is too long will do; the longest one is found by walking back from the end.
        entering: dict[int, list[int]] = {}
        for e in flow:
            entering.setdefault(int(self.network.sink[e]), []).append(e)
        trail: dict[int, list[int]] = {self.start: []}

        def longest(asset: int) -> list[int]:
            if asset not in trail:
                ways = [[*longest(int(self.network.source[e])), e] for e in entering.get(asset, [])]
                trail[asset] = max(ways, key=len, default=[])
            return trail[asset]

        return longest(self.end)
