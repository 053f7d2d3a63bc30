"""The best split over two markets: what a program would do that compares a few venues by hand."""

from typing import NamedTuple

import numpy as np

from app.domain.solver.compiled import compiled
from app.domain.solver.kernels import (
    IN,
    OFF,
    OUT,
    RESULTS,
    SURPLUS,
    Floats,
    Ints,
    score,
)
from app.domain.solver.lots import dearest_lot, fit_lots
from app.domain.solver.optimise import Bounds, Relaxed
from app.domain.solver.pair import Pair
from app.domain.solver.selection import switch

MOST_COMPARED = 6


class Split(NamedTuple):
    """The markets used, what they send and receive together, and the objective, negated for exact-out."""

    used: set[int]
    sends: float
    receives: float
    value: float


@compiled(
    "Tuple((float64, float64, float64, int64, int64))(float64[:, ::1], int64[::1], float64[:, ::1], float64[::1], "
    "int64[::1], float64, boolean, boolean)"
)
def best_two(
    levels: Floats,
    offsets: Ints,
    params: Floats,
    fixed: Floats,
    candidates: Ints,
    target: float,
    exact_out: bool,
    in_lots: bool,
) -> tuple[float, float, float, int, int]:
    """Fill a target on every two candidates; return the best value, what goes in and comes out, and the two.

    The value is -inf where no two can.
    """
    count = params.shape[0]
    out = np.empty((count, RESULTS))
    modes = np.zeros(count, np.int8)
    starts = np.zeros(count)
    best = -np.inf
    first = -1
    second = -1
    for i in candidates:
        switch(params, modes, starts, i, True)
    slack = dearest_lot(levels, offsets, params, modes, exact_out) if in_lots else 0.0
    modes[:] = OFF
    for a in range(len(candidates)):
        i = candidates[a]
        switch(params, modes, starts, i, True)
        for b in range(a + 1, len(candidates)):
            j = candidates[b]
            switch(params, modes, starts, j, True)
            value = score(levels, offsets, params, modes, starts, fixed, target, exact_out, 2, slack, out)
            if value > best:
                best = value
                first = i
                second = j
            switch(params, modes, starts, j, False)
        switch(params, modes, starts, i, False)
    if first < 0:
        return -np.inf, 0.0, 0.0, -1, -1
    switch(params, modes, starts, first, True)
    switch(params, modes, starts, second, True)
    if in_lots:
        best = fit_lots(
            levels, offsets, params, modes, starts, fixed, np.zeros(count), target, exact_out, 2, out, -np.inf,
            np.zeros(count, np.bool_),
        )  # fmt: skip
    else:
        best = score(levels, offsets, params, modes, starts, fixed, target, exact_out, 2, 0.0, out)
    given = 0.0
    taken = 0.0
    for i in range(count):
        given += out[i, IN]
        taken += out[i, OUT]
    if out[first, IN] == 0.0:
        first = second
    if out[second, IN] == 0.0:
        second = first
    return best, given, taken, first, second


def split_in_two(pair: Pair, relaxed: Relaxed, bounds: Bounds, target: float, exact_out: bool) -> Split | None:
    """Find the best split over two of the markets that earn most, or return None where no two can do it."""
    candidates = bounds.modes.nonzero()[0]
    if len(candidates) < 2 or bounds.max_legs < 2:
        return None
    if len(candidates) > MOST_COMPARED:
        rows, fixed = relaxed.rows, bounds.fixed * (relaxed.rate if exact_out else 1.0)
        ranked = sorted(candidates.tolist(), key=lambda i: (fixed[i] - rows[i][SURPLUS], i))
        candidates = np.array(sorted({*ranked[:MOST_COMPARED], max(relaxed.best_alone, ranked[0])}), np.int64)
    value, sends, receives, first, second = best_two(
        pair.levels, pair.offsets, pair.params, bounds.fixed, candidates, target, exact_out, pair.has_lots
    )
    return None if value == -np.inf else Split({first, second}, sends, receives, value)
