"""Prices on the kinks of the dual: where a straight stretch is used in part, exactly what it gives and takes."""

import numpy as np

from app.domain.solver.graph.network import Network
from app.domain.solver.graph.selected import Relaxed
from app.domain.solver.kernels import Floats
from app.domain.solver.kinds.base import CAP, LINEAR, RATE, SHAPE

ROUNDING = 1e-9
"""The share of a stretch, or of what is sent, that flows are off by: so little used or unused is no part."""
BESIDE = 1e-3
"""How far off its kink, as a share, a price may be."""


def on_kinks(network: Network, relaxed: Relaxed, price: Floats, least: float) -> Floats | None:
    """Move prices onto the kinks beside them, the costliest first; None where less than `least` is lost beside them.

    Off its kink a stretch earns on what it leaves unused, or loses on what it takes: the wider it is, the more.
    """
    ties = sorted(_ties(network, relaxed, price), reverse=True)
    if sum(lost for lost, _, _, _ in ties) < least:
        return None
    moved = price.copy()
    group = np.arange(len(price))
    for _, a, b, rate in ties:
        one, other = group[a], group[b]
        if one != other:
            members = group == one
            moved[members] *= moved[b] * rate / moved[a]
            moved[a] = moved[b] * rate
            group[members] = other
    return moved


def _ties(network: Network, relaxed: Relaxed, price: Floats) -> list[tuple[float, int, int, float]]:
    segments, ties = network.segments, []
    for e in np.flatnonzero(relaxed.sent > 0.0).tolist():
        left = float(relaxed.sent[e])
        a, b = network.listed.source[e], network.listed.sink[e]
        for s in range(int(network.first[e]), int(network.first[e + 1])):
            cap = float(segments[s, CAP])
            if left < cap * (1.0 - ROUNDING):
                rate = float(segments[s, RATE])
                earned = float(price[b] * rate - price[a])
                used_in_part = left > ROUNDING * relaxed.sent[e] and abs(earned) < BESIDE * price[a]
                if segments[s, SHAPE] == LINEAR and used_in_part:
                    ties.append((earned * (cap - left) if earned > 0.0 else -earned * left, a, b, rate))
                break
            left -= cap
    return ties
