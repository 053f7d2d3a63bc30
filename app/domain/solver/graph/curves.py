"""What a run of segments exchanges, and the most that all of them can be worth at given prices."""

import numpy as np

from app.domain.compiled import compiled
from app.domain.solver.kernels import Flags, Floats, Ints
from app.domain.solver.kinds.base import CAP, CAP_OUT, RATE
from app.domain.solver.kinds.segments import conjugate, evaluate, required

ROUNDING = 1e-12
"""The share by which an amount may exceed what a run holds before the run counts as too thin."""


@compiled("float64(float64[:, ::1], int64, int64, float64)")
def amount_out(segments: Floats, begin: int, end: int, x: float) -> float:
    """Exchange an amount with a run of segments; zero when they do not take it all."""
    out = 0.0
    left = x
    for e in range(begin, end):
        if left <= segments[e, CAP]:
            return float(out + evaluate(segments, e, left)[0])
        left -= segments[e, CAP]
        out += segments[e, CAP_OUT]
    return float(out) if left <= ROUNDING * x else 0.0


@compiled("float64(float64[:, ::1], int64, int64, float64)")
def amount_in(segments: Floats, begin: int, end: int, y: float) -> float:
    """Find what a run of segments takes for an amount; infinite when it does not hold it."""
    taken = 0.0
    left = y
    for e in range(begin, end):
        if left <= segments[e, CAP_OUT]:
            return float(taken + required(segments, e, left))
        left -= segments[e, CAP_OUT]
        taken += segments[e, CAP]
    return float(taken) if left <= ROUNDING * y else np.inf


@compiled(
    "Tuple((float64, float64))(float64[:, ::1], int64[::1], int64[::1], int64[::1], boolean[::1], float64[::1], "
    "float64[::1])"
)
def surpluses(
    segments: Floats, direction: Ints, source: Ints, sink: Ints, kept: Flags, price: Floats, out: Floats
) -> tuple[float, float]:
    """Bound what each segment earns at these prices; return the sum and the turnover it is the difference of."""
    total = 0.0
    turnover = 0.0
    for e in range(segments.shape[0]):
        out[e] = 0.0
        if not kept[direction[e]]:
            continue
        paid, earned = price[source[e]], price[sink[e]]
        if earned * segments[e, RATE] < paid * (1.0 - 1e-15):
            continue
        profit, amount = conjugate(segments, e, paid, earned)
        out[e] = profit
        total += profit
        turnover += profit + paid * amount
    return total, turnover


@compiled("float64[::1](float64[:, ::1], int64[::1], int64[::1], int64[::1], boolean[::1], float64[::1], float64[::1])")
def promises(
    segments: Floats, direction: Ints, source: Ints, sink: Ints, kept: Flags, cost: Floats, worth: Floats
) -> Floats:
    """Bound what each segment earns when assets cost one price and bring another; -1 where it may not be used."""
    promise = np.full(segments.shape[0], -1.0)
    for e in range(segments.shape[0]):
        if kept[direction[e]]:
            paid, earned = cost[source[e]], worth[sink[e]]
            if paid > 0.0 and earned > 0.0 and paid < np.inf and earned < np.inf:
                promise[e] = conjugate(segments, e, paid, earned)[0] if earned * segments[e, RATE] > paid else 0.0
    return promise


@compiled("float64(float64[:, ::1], float64, boolean)")
def absorbed(segments: Floats, rate: float, exact_out: bool) -> float:
    """Sum what goes in, or comes out, before every segment's marginal rate has fallen to one."""
    total = 0.0
    for e in range(segments.shape[0]):
        if segments[e, RATE] > rate:
            amount = segments[e, CAP] if rate <= 0.0 else conjugate(segments, e, rate, 1.0)[1]
            total += evaluate(segments, e, amount)[0] if exact_out else amount
    return total
