"""Routes that use several directions of one pool: every leg priced where all legs together leave the reserves.

At the best trade of a pool every pair in use pays the same at the reserves it leaves behind. Legs one after the other
reach that trade up to the fees that they leave in the pool, so their flows are optimised on curves that have, at the
flows so far, the slope of their pair at those reserves.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal

import numpy as np

from app.domain.market import Stable, Weighted
from app.domain.solver.exact import ZERO
from app.domain.solver.graph.network import Network
from app.domain.solver.graph.relaxation import Relaxation
from app.domain.solver.graph.selected import Relaxed, Restated
from app.domain.solver.graph.simulate import Journey, Step
from app.domain.solver.graph.survey import Survey
from app.domain.solver.kernels import Ints
from app.domain.solver.kinds.base import CAP, CAP_OUT, DEPTH_IN, DEPTH_OUT, KEPT, POWER, POWERED, RATE, SHAPE
from app.domain.solver.kinds.registry import KINDS
from app.domain.solver.kinds.segments import evaluate

SHALLOWEST = 0.1
ROUNDS = 3
SETTLED = Decimal("1e-8")


Moves = list[tuple[int, Decimal, Decimal]]
"""Directions, what they send, and what they receive."""


class Jointly:
    """Flows for one amount with the directions of every shared pool priced together."""

    def __init__(
        self, network: Network, relaxation: Relaxation, survey: Survey, should_stop: Callable[[], bool]
    ) -> None:
        """Take what stays the same from one optimisation to the next."""
        self.network, self.relaxation, self.survey = network, relaxation, survey
        self.should_stop = should_stop

    def bound(self, relaxed: Relaxed) -> float:
        """Return the tightest bound known when nothing pays around a cycle, or one that nothing reaches."""
        relaxation, survey = self.relaxation, self.survey
        if relaxation.has_cycles or not relaxation.bounding.is_priced(relaxed.price):
            return 0.0 if survey.exact_out else np.inf
        tight = relaxation.bounding.tighten(relaxed.price, survey.amount, exact_out=survey.exact_out)
        return tight.bound(relaxation.start, relaxation.end, survey.amount, exact_out=survey.exact_out)

    def around(self, best: Journey, simulate: Callable[[Relaxed], Journey | None]) -> list[Journey]:
        """Optimise again and again on the directions of a route, from where its legs leave their pools."""
        found = [best]
        for _ in range(ROUNDS):
            relaxed = None if self.should_stop() else self._after(found[-1].steps)
            journey = None if relaxed is None else simulate(relaxed)
            if journey is None:
                break
            found.append(journey)
            if self._worth(journey) - self._worth(found[-2]) <= SETTLED * abs(self._worth(journey)):
                break
        return found[1:]

    def _worth(self, journey: Journey) -> Decimal:
        return -journey.sends if self.survey.exact_out else journey.receives

    def _after(self, steps: Sequence[Step]) -> Relaxed | None:
        network = self.network
        only = np.zeros(len(network.directions), np.bool_)
        only[[step.direction for step in steps]] = True
        chosen = np.flatnonzero(only[network.direction])
        restated = self._restated([(step.direction, step.fill.sends, step.fill.receives) for step in steps], chosen)
        if restated is None:
            return None
        found = self.relaxation.solve_restated(self.survey, chosen, restated, self.should_stop)
        if found is None:
            return None
        found.received += np.where(found.sent > 0.0, restated.beside, 0.0)
        np.maximum(found.received, 0.0, out=found.received)
        if self.survey.exact_out:
            found.flow = found.received
        return found

    def _restated(self, moves: Moves, of: Ints) -> Restated | None:
        network = self.network
        by_market: dict[int, Moves] = defaultdict(list)
        for move in moves:
            place = network.listed.market[move[0]]
            if network.shares[place]:
                by_market[place].append(move)
        segments = network.segments.copy()
        beside = np.zeros(len(network.directions))
        ways: dict[int, list[int]] = defaultdict(list)
        for e in np.unique(network.direction[of]).tolist():
            ways[network.listed.market[e]].append(e)
        for number, moved in by_market.items():
            market = network.exchanges[number].market
            assert isinstance(market, Stable | Weighted)
            reserves = dict(market.reserves)
            sent: dict[int, Decimal] = defaultdict(lambda: ZERO)
            got: dict[int, Decimal] = defaultdict(lambda: ZERO)
            for e, sends, receives in moved:
                gives, takes = network.directions[e]
                reserves[gives] += sends
                reserves[takes] -= receives
                sent[e] += sends
                got[e] += receives
            if min(reserves.values()) <= 0:
                return None
            left = KINDS[type(market)].arrange(replace(market, reserves=reserves), network.decimals)
            if left is None:
                return None
            for e in ways[number]:
                row = left.edges(*network.directions[e])
                slope, bend = float(row[0, RATE]), -evaluate(row, 0, 0.0)[2] * len(sent)
                amount = float(sent[e])
                # As bent as all the directions in use at most are together, no step goes too far.
                depth = max(2.0 * slope / bend - amount, SHALLOWEST * slope / bend)
                rate = slope * (1.0 + amount / depth) ** 2
                mine = segments[network.first[e]]
                mine[:] = 0.0
                mine[SHAPE], mine[RATE], mine[CAP] = POWERED, rate, np.inf
                mine[DEPTH_IN], mine[DEPTH_OUT], mine[CAP_OUT] = depth, rate * depth, rate * depth
                mine[KEPT], mine[POWER] = 1.0, 1.0
                beside[e] = float(got[e]) - rate * amount / (1.0 + amount / depth)
        return Restated(segments, beside)
