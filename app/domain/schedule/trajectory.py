"""The cheapest way to spread an order over slices, risk counted: a convex quadratic programme.

    minimise   sum_k quadratic_k q_k² + linear_k q_k + sum_j risk_j x_j²     subject to   0 <= q_k <= most_k

where the q_k sum to one and x_j is what is left after slice j (Almgren and Chriss, Optimal execution of portfolio
transactions, 2000, with limits on the slices).
"""

import math

import numpy as np

from app.domain.bars import BoolArray, FloatArray
from app.domain.compiled import compiled

ITERATIONS = 80
PATIENCE = 25
CONVERGED = 1e-12
EXHAUSTED = 1e-14
STATIONARY = 1e-10
TO_BOUNDARY = 0.995


@compiled(
    "int64(float64[::1], float64[::1], float64[::1], float64[::1], float64[::1])",
)
def interior(quadratic: FloatArray, linear: FloatArray, risk: FloatArray, most: FloatArray, out: FloatArray) -> int:
    """Solve by a primal-dual interior-point method; returns the iterations.

    In terms of what is left after each slice the Newton system is tridiagonal and nothing but bounds remains. The
    limits must add up to more than one.
    """
    n = len(quadratic)
    left, step = np.empty(n + 1), np.zeros(n + 1)
    low, high, spare = np.empty(n), np.empty(n), np.empty(n)
    low_step, high_step, sold_step = np.zeros(n), np.zeros(n), np.zeros(n)
    curve, pull, ratio, carried = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    held = 0.0
    for k in range(n):
        held += most[k]
    left[0] = 1.0
    steepest, flattest, cheapest = -np.inf, np.inf, np.inf
    for k in range(n):
        out[k] = most[k] / held
        # Kept apart from `most - out`, which rounds to nothing near the limit.
        spare[k] = most[k] - out[k]
        left[k + 1] = left[k] - out[k]
        slope = linear[k] + 2.0 * quadratic[k] * out[k]
        steepest, flattest, cheapest = max(steepest, slope), min(flattest, slope), min(cheapest, linear[k])
    left[n] = 0.0
    scale = steepest - flattest
    for k in range(n):
        scale = max(scale, 2.0 * quadratic[k] * out[k])
        if k < n - 1:
            scale = max(scale, 2.0 * risk[k] * left[k + 1])
    for k in range(n):
        low[k] = high[k] = scale
    before = np.inf
    for iteration in range(ITERATIONS):
        complementary, unsettled, worth = 0.0, 0.0, 0.0
        for k in range(n):
            complementary += low[k] * out[k] + high[k] * spare[k]
            worth += quadratic[k] * out[k] * out[k] + (linear[k] - cheapest) * out[k]
        for j in range(n - 1):
            worth += risk[j] * left[j + 1] * left[j + 1]
            here = 2.0 * quadratic[j] * out[j] + linear[j] - low[j] + high[j]
            after = 2.0 * quadratic[j + 1] * out[j + 1] + linear[j + 1] - low[j + 1] + high[j + 1]
            carried[j] = here - after - 2.0 * risk[j] * left[j + 1]
            unsettled = max(unsettled, abs(carried[j]))
        settled = unsettled <= STATIONARY * scale or complementary <= EXHAUSTED * worth
        if complementary <= CONVERGED * worth + EXHAUSTED * EXHAUSTED * scale and settled:
            return iteration
        if iteration > PATIENCE and complementary > 0.5 * before:
            return iteration
        before = complementary
        mean = complementary / (2 * n)
        target = 0.0
        reach = 1.0
        for corrects in range(2):
            for k in range(n):
                room = spare[k]
                cross = sold_step[k] if corrects else 0.0
                to_low = (target - low_step[k] * cross) / out[k] - low[k]
                to_high = (target + high_step[k] * cross) / room - high[k]
                if not corrects:
                    curve[k] = 2.0 * quadratic[k] + low[k] / out[k] + high[k] / room
                pull[k] = to_low - to_high
            surplus, pivot = 0.0, 1.0
            for j in range(n - 1):
                drive = carried[j] - pull[j] + pull[j + 1]
                # The pivot less its neighbour's curve, kept as a sum of positive parts: nothing cancels.
                if j > 0:
                    surplus = 2.0 * risk[j] + curve[j] * (surplus / pivot)
                    drive += curve[j] * step[j]
                else:
                    surplus = 2.0 * risk[0] + curve[0]
                pivot = surplus + curve[j + 1]
                ratio[j] = curve[j + 1] / pivot
                step[j + 1] = drive / pivot
            for j in range(n - 3, -1, -1):
                step[j + 1] += ratio[j] * step[j + 2]
            reach = 1.0
            dual_reach = 1.0
            for k in range(n):
                room = spare[k]
                sold = step[k] - step[k + 1]
                cross = sold_step[k] if corrects else 0.0
                to_low = (target - low_step[k] * cross - low[k] * sold) / out[k] - low[k]
                to_high = (target + high_step[k] * cross + high[k] * sold) / room - high[k]
                if sold < 0.0:
                    reach = min(reach, -out[k] / sold)
                elif sold > 0.0:
                    reach = min(reach, room / sold)
                if to_low < 0.0:
                    dual_reach = min(dual_reach, -low[k] / to_low)
                if to_high < 0.0:
                    dual_reach = min(dual_reach, -high[k] / to_high)
                sold_step[k], low_step[k], high_step[k] = sold, to_low, to_high
            if not corrects:
                after_step = 0.0
                for k in range(n):
                    moved = reach * sold_step[k]
                    after_step += (low[k] + dual_reach * low_step[k]) * (out[k] + moved)
                    after_step += (high[k] + dual_reach * high_step[k]) * (spare[k] - moved)
                target = mean * min(1.0, (after_step / complementary) ** 3)
        # One length for both: the objective is quadratic, so longer dual steps alone would unsettle the gradient.
        reach = min(1.0, TO_BOUNDARY * min(reach, dual_reach))
        for k in range(n):
            out[k] += reach * sold_step[k]
            spare[k] -= reach * sold_step[k]
            low[k] += reach * low_step[k]
            high[k] += reach * high_step[k]
            left[k] += reach * step[k]
        if reach < EXHAUSTED:
            return iteration
    return ITERATIONS


def flat(slices: int, risk_per_impact: float) -> FloatArray:
    """Solve for equal impact and risk and no limits: what is left falls as a hyperbolic sine.

    `risk_per_impact` is `risk / quadratic` of every slice.
    """
    # acosh(1 + u / 2) loses half its digits where u is small.
    rate = 2.0 * math.asinh(0.5 * math.sqrt(risk_per_impact))
    ahead = np.arange(slices, -1.0, -1.0)
    if rate * slices < 1e-6:
        return np.full(slices, 1.0 / slices)
    # sinh(rate * ahead) / sinh(rate * slices), without its overflow.
    left = np.exp(rate * (ahead - slices)) * np.expm1(-2.0 * rate * ahead) / math.expm1(-2.0 * rate * slices)
    shares: FloatArray = left[:-1] - left[1:]
    return shares


def optimise(quadratic: FloatArray, linear: FloatArray, risk: FloatArray, most: FloatArray) -> FloatArray:
    """Return each slice's share of the order; `most` may be infinite, `risk` has one entry less than the rest.

    Limits that leave no choice are returned as they are.
    """
    n = len(quadratic)
    if n == 1:
        return np.ones(1)
    total = most.sum()
    if total <= 1.0 + 1e-12:
        return most / total if total > 0.0 else most
    if np.ptp(quadratic) == 0.0 and np.ptp(linear) == 0.0 and np.ptp(risk) == 0.0 and quadratic[0] > 0.0:
        shares = flat(n, float(risk[0] / quadratic[0]))
        if (shares <= most).all():
            return shares
    out = np.empty(n)
    closed = most <= 0.0
    if closed.any():
        return _around(closed, quadratic, linear, risk, most)
    # No share exceeds one, and a limit of two leaves room to be in the interior.
    interior(quadratic, linear, risk, np.minimum(most, 2.0), out)
    return tidied(out, most)


def tidied(shares: FloatArray, most: FloatArray) -> FloatArray:
    """Take away the traces that an interior point leaves at its bounds."""
    kept: FloatArray = np.where(shares < 1e-9 / len(shares), 0.0, np.minimum(shares, most))
    for _ in range(4):
        short = 1.0 - kept.sum()
        free = np.where((kept > 0.0) & (kept < most), kept, 0.0)
        if abs(short) < 1e-15 or not free.any():
            break
        kept = np.clip(kept + free * (short / free.sum()), 0.0, most)
    return kept


def _around(
    closed: BoolArray, quadratic: FloatArray, linear: FloatArray, risk: FloatArray, most: FloatArray
) -> FloatArray:
    # What is left does not change over a slice that may not trade, so its risk belongs to the slice before.
    open_slices = np.flatnonzero(~closed)
    shares = np.zeros(len(most))
    joined = np.add.reduceat(np.append(risk, 0.0), open_slices)[:-1]
    shares[open_slices] = optimise(
        quadratic[open_slices], linear[open_slices], np.ascontiguousarray(joined), most[open_slices]
    )
    return shares
