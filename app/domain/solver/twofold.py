"""The best split over two markets: what a program would do that compares a few venues by hand."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from app.domain.solver.kernels import IN, OUT, RESULTS, SURPLUS, Floats
from app.domain.solver.optimise import Bounds, Relaxed
from app.domain.solver.pair import Pair
from app.domain.solver.selection import best_subset

MOST_COMPARED = 6


class Split(NamedTuple):
    """The markets used, what they send and receive together, and the objective, negated for exact-out."""

    used: set[int]
    sends: float
    receives: float
    value: float


def split_in_two(pair: Pair, relaxed: Relaxed, bounds: Bounds, target: float, exact_out: bool) -> Split | None:
    """Find the best split over two of the markets that earn most, or return None where no two can do it."""
    candidates = pair.every if bounds.modes is pair.free else bounds.modes.nonzero()[0]
    if len(candidates) < 2 or bounds.max_legs < 2:
        return None
    if len(candidates) > MOST_COMPARED:
        rows, fixed = relaxed.rows, bounds.fixed * (relaxed.rate if exact_out else 1.0)
        ranked = sorted(candidates.tolist(), key=lambda i: (fixed[i] - rows[i][SURPLUS], i))
        candidates = np.array(sorted({*ranked[:MOST_COMPARED], max(relaxed.best_alone, ranked[0])}), np.int64)
    count = len(pair.sides)
    out = np.empty((count, RESULTS))
    worth = _twos(len(candidates)).copy()
    rate = relaxed.rate if relaxed.remaining <= 0.0 else 0.0
    value, subset, _ended_in, _finished = best_subset(
        pair.levels, pair.offsets, pair.params, np.zeros(count, np.int8), pair.unstarted.copy(), bounds.fixed,
        candidates, target, exact_out, 2, rate, pair.has_lots, worth, np.zeros(len(worth), np.bool_), -np.inf, 1, out,
    )  # fmt: skip
    if subset < 0:
        return None
    used: set[int] = set()
    sends = receives = 0.0
    for i, row in enumerate(out.tolist()):
        if row[IN] > 0.0:
            used.add(i)
            sends += row[IN]
            receives += row[OUT]
    return Split(used, sends, receives, value)


@lru_cache
def _twos(count: int) -> Floats:
    return np.array([np.inf if subset.bit_count() == 2 else -np.inf for subset in range(1 << count)])
