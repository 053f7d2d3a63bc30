"""The interior point on some of the segments, in units in which prices are about one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from app.domain.solver.graph.interior import begin_anywhere, begin_at, exchange, optimise
from app.domain.solver.graph.network import Network
from app.domain.solver.kernels import Floats, Ints
from app.domain.solver.kinds.base import CAP, CAP_OUT, DEPTH_IN, DEPTH_OUT, LINEAR, RATE, SHAPE

ITERATIONS = 80
STARTING_FLOW = 50.0
WORK_BETWEEN_POLLS = 20_000
"""Segments times iterations that run without asking whether to stop."""


@dataclass(slots=True)
class Relaxed:
    """Flows by direction, prices by asset, and a proven bound on what any route does.

    `sent` goes in, `received` comes out; `flow` is the first where a tender is given, the second where a target is.
    `bound` is in the asset received (exact-in) or sent (exact-out); `idle_bound` is what the same prices allow for at
    zero tender.
    """

    sent: Floats
    received: Floats
    flow: Floats
    price: Floats
    bound: float
    idle_bound: float
    iterations: int
    converged: bool


@dataclass(frozen=True, slots=True)
class Task:
    """What to send from `start` or, with `exact_out`, to obtain at `end`, and what one unit of each asset is worth.

    `value` makes the amount worth one. No segment needs to take more than `widest`, so valued.
    """

    start: int
    end: int
    exact_out: bool
    value: Floats
    widest: float


class Restated(NamedTuple):
    """Other segments in place of a network's own, and by direction what is received beside what they give."""

    segments: Floats
    beside: Floats


def solve_on(
    network: Network,
    task: Task,
    chosen: Ints,
    full: Ints,
    tolerance: float,
    barrier: float,
    should_stop: Callable[[], bool],
    restated: Restated | None = None,
) -> Relaxed | None:
    """Optimise the flows of the chosen segments beside those that are full; None where no number is found.

    With a `barrier` the task's values are taken for prices near the solution's.
    """
    exact_out = task.exact_out
    if not len(chosen):
        return None
    place = np.full(len(network.assets), -1, np.int64)
    place[network.segment_source[chosen]] = place[network.segment_sink[chosen]] = 0
    if place[task.start] < 0 or place[task.end] < 0:
        return None
    nodes = np.flatnonzero(place == 0)
    place[nodes] = np.arange(len(nodes))
    source, sink = place[network.segment_source[chosen]], place[network.segment_sink[chosen]]
    start, end = int(place[task.start]), int(place[task.end])
    value = task.value[nodes]
    if not (value > 0.0).all():
        return None
    segments = (network.segments if restated is None else restated.segments)[chosen]
    given, taken = value[source], value[sink]
    segments[:, RATE] *= taken / given
    segments[:, CAP] *= given
    segments[:, DEPTH_IN] *= given
    segments[:, CAP_OUT] *= taken
    segments[:, DEPTH_OUT] *= taken
    bounded = segments[:, SHAPE] == LINEAR if barrier else slice(None)
    # Nothing but a cycle sends more through one segment than the whole trade is worth.
    segments[bounded, CAP] = np.minimum(segments[bounded, CAP], task.widest)
    price = np.ones(len(nodes))
    supply = np.zeros(len(nodes))
    supply[end if exact_out else start] = -1.0 if exact_out else 1.0
    if restated is not None:
        ways = np.unique(network.direction[chosen])
        np.add.at(supply, place[network.sink[ways]], restated.beside[ways] * task.value[network.sink[ways]])
    if len(full):
        taken_by, given_by = place[network.segment_source[full]], place[network.segment_sink[full]]
        if taken_by.min() < 0 or given_by.min() < 0:
            return None
        np.subtract.at(supply, taken_by, network.segments[full, CAP] * value[taken_by])
        np.add.at(supply, given_by, network.segments[full, CAP_OUT] * value[given_by])
    numeraire = start if exact_out else end
    lower, upper, spare = np.empty(len(chosen)), np.empty(len(chosen)), np.empty(len(nodes))
    x = np.minimum(0.5 * segments[:, CAP], min(STARTING_FLOW / len(chosen), 1.0))
    iterations, converged = 0, False
    last_step = np.ones(1)
    between_polls = max(WORK_BETWEEN_POLLS // len(chosen), 2)
    try:
        if barrier:
            begin_at(segments, source, sink, numeraire, barrier, x, price, lower, upper, spare)
        else:
            begin_anywhere(segments, source, sink, numeraire, x, price, lower, upper, spare)
        while not converged and iterations < ITERATIONS and not (iterations and should_stop()):
            done, _gap, converged = optimise(
                segments, source, sink, supply, numeraire, tolerance, between_polls, x, price, lower, upper, spare,
                last_step,
            )  # fmt: skip
            iterations += done
            if done < between_polls:
                break
    except (ZeroDivisionError, np.linalg.LinAlgError):
        # What the markets do not hold drives some price beyond any number.
        return None
    if not (np.isfinite(x).all() and np.isfinite(price).all() and (price > 0.0).all()):
        return None
    count = len(network.directions)
    sent: Floats = np.bincount(network.direction[chosen], x / given, count).astype(np.float64)
    if len(full):
        sent += np.bincount(network.direction[full], network.segments[full, CAP], count)
    y = np.empty(len(x))
    exchange(segments, x, y, np.empty(len(x)), np.empty(len(x)))
    received: Floats = np.bincount(network.direction[chosen], y / taken, count).astype(np.float64)
    if len(full):
        received += np.bincount(network.direction[full], network.segments[full, CAP_OUT], count)
    full_price = np.zeros(len(network.assets))
    full_price[nodes] = price * value
    return Relaxed(sent, received, received if exact_out else sent, full_price, 0.0, 0.0, iterations, converged)
