"""What legs will exchange one after the other, in floats, where every market is one power curve.

An exact simulation of some hundred legs takes longer than the optimisation. Which of several flows brings most, floats
can tell as well, so that only that one is simulated exactly.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from app.domain.compiled import compiled
from app.domain.solver.graph.flows import Flow
from app.domain.solver.graph.network import Network
from app.domain.solver.graph.relaxation import Relaxation
from app.domain.solver.graph.selected import Relaxed, Restated
from app.domain.solver.graph.shared import shared_pools
from app.domain.solver.graph.survey import Survey
from app.domain.solver.graph.walks import longest_ways
from app.domain.solver.kernels import Floats, Ints
from app.domain.solver.kinds.base import CAP, CAP_OUT, DEPTH_IN, DEPTH_OUT, KEPT, POWER, POWERED, RATE, SHAPE

SHALLOWEST = 0.1
ROUNDS = 3
SETTLED = 1e-8
NOTICED = 1e-11
"""The share of what arrives that is not worth more legs."""


class Foreseen(NamedTuple):
    """A flow, what each of its directions sends and receives, what arrives, and what shared pools hold afterwards."""

    flow: Flow
    edges: Ints
    sent: Floats
    received: Floats
    arrives: float
    held: Floats


@compiled(
    "float64(float64[:, ::1], int64[::1], int64[::1], int64[::1], int64[::1], int64[::1], int64[::1], int64[::1], "
    "float64[::1], int64, int64, int64, float64, float64[::1], float64[::1], float64[::1])"
)
def send_on(
    segments: Floats,
    first: Ints,
    entering: Ints,
    leaving: Ints,
    edges: Ints,
    source: Ints,
    sink: Ints,
    order: Ints,
    values: Floats,
    start: int,
    end: int,
    assets: int,
    tender: float,
    held: Floats,
    sent: Floats,
    received: Floats,
) -> float:
    """Send what there is of each asset on in the proportions of the values; return what arrives.

    `order` is by asset, then as legs are due. `held` is what members of shared pools hold; each leg changes it.
    """
    there = np.zeros(assets)
    there[start] = tender
    total = np.zeros(assets)
    for n in range(edges.shape[0]):
        total[source[n]] += values[n]
    for n in order:
        if source[n] == end:
            continue
        amount = there[source[n]] * (values[n] / total[source[n]])
        e = edges[n]
        row = segments[first[e]]
        depth_in, depth_out = row[DEPTH_IN], row[DEPTH_OUT]
        into, out_of = entering[e], leaving[e]
        if into >= 0:
            depth_in, depth_out = held[into], held[out_of]
        out = -depth_out * np.expm1(-row[POWER] * np.log1p(row[KEPT] * amount / depth_in))
        if into >= 0:
            held[into] += amount
            held[out_of] -= out
        sent[n], received[n] = amount, out
        there[sink[n]] += out
    return float(there[end])


class Foreseeing:
    """Flows for one tender, compared by what they bring."""

    def __init__(
        self,
        network: Network,
        relaxation: Relaxation,
        survey: Survey,
        shape: Callable[..., Flow],
        should_stop: Callable[[], bool],
    ) -> None:
        """Take what stays the same from one flow to the next; `shape` takes cycles out, and where `thrifty` dust."""
        self.network, self.relaxation, self.survey = network, relaxation, survey
        self._shape, self.should_stop = shape, should_stop
        self._shared = shared_pools(network)

    def best(self, flow: Flow, relaxed: Relaxed, enough: float) -> Foreseen | None:
        """Return the best of a flow, the same with its dust, and what is found around while none brings `enough`."""
        best = self.foresee(flow)
        if best is None:
            return None
        whole = self._shape(relaxed, thrifty=False)
        also = self.foresee(whole) if len(whole) > len(flow) else None
        best = best if also is None else _better(best, also)
        return self._around(best) if best.arrives < enough < np.inf else best

    def foresee(self, flow: Flow) -> Foreseen | None:
        """Return what an acyclic flow brings; None where a market of it is not one power curve."""
        network, shared = self.network, self._shared
        edges = np.fromiter(flow, np.int64, len(flow))
        values = np.fromiter(flow.values(), np.float64, len(flow))
        rows = network.first[edges]
        single = network.first[edges + 1] == rows + 1
        if not (single & (network.segments[rows, SHAPE] == POWERED) & (network.segments[rows, CAP] == np.inf)).all():
            return None
        source, sink, assets = network.source[edges], network.sink[edges], len(network.assets)
        reached, _ = longest_ways(source, sink, self.relaxation.start, assets)
        place = np.zeros(assets, np.int64)
        place[reached] = np.arange(len(reached))
        order = np.lexsort((-edges, values, place[source]))
        sent, received, held = np.empty(len(edges)), np.empty(len(edges)), shared.unit.copy()
        with np.errstate(all="ignore"):
            arrives = send_on(
                network.segments, network.first, shared.entering, shared.leaving, edges, source, sink, order, values,
                self.relaxation.start, self.relaxation.end, assets, self.survey.amount, held, sent, received,
            )  # fmt: skip
        if not np.isfinite(arrives) or not arrives > 0.0:
            return None
        return Foreseen(flow, edges, sent, received, arrives, held)

    def _around(self, best: Foreseen) -> Foreseen:
        latest = best
        for _ in range(ROUNDS):
            relaxed = None if self.should_stop() else self._after(latest)
            flow = {} if relaxed is None else self._shape(relaxed)
            found = self.foresee(flow) if flow else None
            if found is None:
                break
            gained, latest = found.arrives - latest.arrives, found
            best = _better(best, found)
            if gained <= SETTLED * found.arrives:
                break
        return best

    def _after(self, latest: Foreseen) -> Relaxed | None:
        network = self.network
        restated = self._restated(latest)
        chosen = network.first[latest.edges]
        chosen.sort()
        found = self.relaxation.solve_restated(self.survey, chosen, restated, self.should_stop)
        if found is None:
            return None
        found.received += np.where(found.sent > 0.0, restated.beside, 0.0)
        np.maximum(found.received, 0.0, out=found.received)
        return found

    def _restated(self, latest: Foreseen) -> Restated:
        network, shared = self.network, self._shared
        mine = shared.entering[latest.edges] >= 0
        edges, sent, received = latest.edges[mine], latest.sent[mine], latest.received[mine]
        market = network.market[edges]
        together = np.bincount(market, minlength=len(network.exchanges))[market]
        segments, beside = network.segments.copy(), np.zeros(len(network.directions))
        rows = segments[network.first[edges]]
        into, out_of = latest.held[shared.entering[edges]], latest.held[shared.leaving[edges]]
        slope = out_of * rows[:, POWER] * rows[:, KEPT] / into
        # As bent as all the directions in use at most are together, no step goes too far.
        flat = into / ((rows[:, POWER] + 1.0) * rows[:, KEPT] * together)
        depth = np.maximum(2.0 * flat - sent, SHALLOWEST * flat)
        rate = slope * (1.0 + sent / depth) ** 2
        rows[:] = 0.0
        rows[:, SHAPE], rows[:, RATE], rows[:, CAP] = POWERED, rate, np.inf
        rows[:, DEPTH_IN], rows[:, DEPTH_OUT], rows[:, CAP_OUT] = depth, rate * depth, rate * depth
        rows[:, KEPT], rows[:, POWER] = 1.0, 1.0
        segments[network.first[edges]] = rows
        beside[edges] = received - rate * sent / (1.0 + sent / depth)
        return Restated(segments, beside)


def _better(one: Foreseen, other: Foreseen) -> Foreseen:
    if abs(one.arrives - other.arrives) <= NOTICED * one.arrives:
        return min(one, other, key=lambda each: len(each.flow))
    return max(one, other, key=lambda each: each.arrives)
