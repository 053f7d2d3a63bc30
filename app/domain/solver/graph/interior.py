"""A primal-dual interior point over the prices of assets.

Every segment is one concave function from an amount in to an amount out. Segments are eliminated in closed form, so
that each iteration solves one symmetric system in the prices. The conservation of every asset but the numeraire is an
inequality: what is left over is thrown away at no price.
"""

import math

import numpy as np

from app.domain.solver.compiled import compiled
from app.domain.solver.kernels import Floats, Ints
from app.domain.solver.kinds.base import CAP, DEPTH_IN, DEPTH_OUT, KEPT, LINEAR, POWER, POWERED, RATE, SHAPE
from app.domain.solver.kinds.segments import evaluate

BLOCKED_SIZE = 48
"""Systems above this size are worth the call to LAPACK."""


@compiled("boolean(float64[:, ::1])")
def factorise(matrix: Floats) -> bool:
    """Overwrite the lower triangle with its Cholesky factor; say whether the matrix was positive definite."""
    n = matrix.shape[0]
    for j in range(n):
        total = matrix[j, j]
        for k in range(j):
            total -= matrix[j, k] * matrix[j, k]
        if not total > 0.0:
            return False
        pivot = math.sqrt(total)
        matrix[j, j] = pivot
        for i in range(j + 1, n):
            total = matrix[i, j]
            for k in range(j):
                total -= matrix[i, k] * matrix[j, k]
            matrix[i, j] = total / pivot
    return True


@compiled("void(float64[:, ::1], float64[::1])")
def substitute(factor: Floats, vector: Floats) -> None:
    """Solve with a Cholesky factor, in place."""
    n = factor.shape[0]
    for i in range(n):
        total = vector[i]
        for k in range(i):
            total -= factor[i, k] * vector[k]
        vector[i] = total / factor[i, i]
    for i in range(n - 1, -1, -1):
        vector[i] /= factor[i, i]
        solved = vector[i]
        for k in range(i):
            vector[k] -= factor[i, k] * solved


@compiled("void(float64[:, ::1], float64[::1], float64[::1], float64[::1], float64[::1])")
def exchange(segments: Floats, x: Floats, y: Floats, slope: Floats, bend: Floats) -> None:
    """Evaluate every segment: amount out, marginal rate and its derivative."""
    for e in range(segments.shape[0]):
        if segments[e, SHAPE] == LINEAR:
            slope[e] = segments[e, RATE]
            y[e] = slope[e] * x[e]
            bend[e] = 0.0
        elif segments[e, SHAPE] == POWERED and segments[e, POWER] == 1.0:
            pace = segments[e, KEPT] / segments[e, DEPTH_IN]
            kept = 1.0 / (1.0 + pace * x[e])
            y[e] = segments[e, DEPTH_OUT] * pace * x[e] * kept
            slope[e] = segments[e, RATE] * kept * kept
            bend[e] = -2.0 * slope[e] * pace * kept
        else:
            y[e], slope[e], bend[e] = evaluate(segments, e, x[e])


@compiled(
    "Tuple((int64, float64, boolean))(float64[:, ::1], int64[::1], int64[::1], float64[::1], int64, float64, int64, "
    "float64[::1], float64[::1])"
)
def optimise(
    segments: Floats,
    source: Ints,
    sink: Ints,
    supply: Floats,
    numeraire: int,
    tolerance: float,
    most_iterations: int,
    x: Floats,
    price: Floats,
) -> tuple[int, float, bool]:
    """Find flows `x` and prices, from the flows and prices given; return iterations, relative gap, and convergence.

    Amounts are in units in which prices are about one and the tender too. The numeraire's price is one, its net
    inflow the objective; `supply` is what every other asset starts with (negative: what it must end with).
    """
    count, assets = segments.shape[0], price.shape[0]
    y, slope, bend = np.empty(count), np.empty(count), np.empty(count)
    lower, upper = np.empty(count), np.zeros(count)
    inverse, shift = np.empty(count), np.empty(count)
    dx, dlower, dupper = np.zeros(count), np.zeros(count), np.zeros(count)
    spare, dspare = np.empty(assets), np.zeros(assets)
    balance, step = np.empty(assets), np.zeros(assets)
    system = np.empty((assets, assets))

    pairs = count + assets - 1
    for e in range(count):
        if segments[e, CAP] < np.inf:
            pairs += 1
    exchange(segments, x, y, slope, bend)
    begin = 1e-2
    for e in range(count):
        profit = price[sink[e]] * slope[e] - price[source[e]]
        lower[e] = begin / x[e] * 0.1 + max(-profit, 0.0)
        if segments[e, CAP] < np.inf:
            upper[e] = begin / (segments[e, CAP] - x[e]) * 0.1 + max(profit, 0.0)
    for k in range(assets):
        spare[k] = begin
    spare[numeraire] = 0.0

    taken = 1.0
    gap = np.inf
    for iteration in range(most_iterations):
        for k in range(assets):
            balance[k] = supply[k] - spare[k]
        complementarity = 0.0
        for e in range(count):
            balance[source[e]] -= x[e]
            balance[sink[e]] += y[e]
            complementarity += lower[e] * x[e]
            if segments[e, CAP] < np.inf:
                complementarity += upper[e] * (segments[e, CAP] - x[e])
        objective = balance[numeraire]
        balance[numeraire] = 0.0
        missing = 0.0
        for k in range(assets):
            missing += abs(balance[k]) * price[k]
            if k != numeraire:
                complementarity += spare[k] * price[k]
        worst = 0.0
        for e in range(count):
            residual = price[sink[e]] * slope[e] - price[source[e]] + lower[e] - upper[e]
            worst = max(worst, abs(residual) / price[source[e]])
        scale = max(abs(objective), 1e-300)
        gap = complementarity / scale
        if gap < tolerance and missing < tolerance * scale and worst < 1e-7:
            return iteration, gap, True
        mu = complementarity / pairs

        system[:, :] = 0.0
        for e in range(count):
            curvature = -price[sink[e]] * bend[e] + lower[e] / x[e]
            if segments[e, CAP] < np.inf:
                curvature += upper[e] / (segments[e, CAP] - x[e])
            inverse[e] = 1.0 / curvature
            a, b = source[e], sink[e]
            weight = inverse[e]
            system[a, a] += weight
            system[b, b] += weight * slope[e] * slope[e]
            if a > b:
                system[a, b] -= weight * slope[e]
            else:
                system[b, a] -= weight * slope[e]
        for k in range(assets):
            system[k, k] = (system[k, k] + spare[k] / price[k]) * (1.0 + 1e-14) + 1e-300
        for k in range(assets):
            system[max(k, numeraire), min(k, numeraire)] = 0.0
        system[numeraire, numeraire] = 1.0
        if assets > BLOCKED_SIZE:
            for k in range(assets):
                for j in range(k):
                    system[j, k] = system[k, j]
            system = np.ascontiguousarray(np.linalg.cholesky(system))
        elif not factorise(system):
            return iteration, gap, False

        target = 0.0
        primal = dual = 1.0
        for phase in range(2):
            for k in range(assets):
                correction = step[k] * dspare[k] if phase == 1 else 0.0
                dspare[k] = (target - correction) / price[k] - spare[k]
            dspare[numeraire] = 0.0
            for k in range(assets):
                step[k] = dspare[k] - balance[k]
            for e in range(count):
                correction = dx[e] * dlower[e] if phase == 1 else 0.0
                dlower[e] = (target - correction) / x[e] - lower[e]
                shift[e] = price[sink[e]] * slope[e] - price[source[e]] + lower[e] - upper[e] + dlower[e]
                if segments[e, CAP] < np.inf:
                    correction = -dx[e] * dupper[e] if phase == 1 else 0.0
                    dupper[e] = (target - correction) / (segments[e, CAP] - x[e]) - upper[e]
                    shift[e] -= dupper[e]
                weight = shift[e] * inverse[e]
                step[sink[e]] -= slope[e] * weight
                step[source[e]] += weight
            step[numeraire] = 0.0
            substitute(system, step)
            step[numeraire] = 0.0
            keep = 1.0 if phase == 0 else max(0.995, 1.0 - mu)
            primal = dual = 1.0
            for k in range(assets):
                if k == numeraire:
                    continue
                dspare[k] -= spare[k] / price[k] * step[k]
                if dspare[k] < 0.0:
                    primal = min(primal, -keep * spare[k] / dspare[k])
                if step[k] < 0.0:
                    dual = min(dual, -keep * price[k] / step[k])
            for e in range(count):
                dx[e] = (slope[e] * step[sink[e]] - step[source[e]] + shift[e]) * inverse[e]
                dlower[e] -= lower[e] / x[e] * dx[e]
                if dx[e] < 0.0:
                    primal = min(primal, -keep * x[e] / dx[e])
                if dlower[e] < 0.0:
                    dual = min(dual, -keep * lower[e] / dlower[e])
                if segments[e, CAP] < np.inf:
                    room = segments[e, CAP] - x[e]
                    dupper[e] += upper[e] / room * dx[e]
                    if dx[e] > 0.0:
                        primal = min(primal, keep * room / dx[e])
                    if dupper[e] < 0.0:
                        dual = min(dual, -keep * upper[e] / dupper[e])
            if phase == 0:
                after = 0.0
                for k in range(assets):
                    if k != numeraire:
                        after += (spare[k] + primal * dspare[k]) * (price[k] + dual * step[k])
                for e in range(count):
                    after += (x[e] + primal * dx[e]) * (lower[e] + dual * dlower[e])
                    if segments[e, CAP] < np.inf:
                        room = segments[e, CAP] - x[e] - primal * dx[e]
                        after += room * (upper[e] + dual * dupper[e])
                target = mu * max((after / complementarity) ** 3, 1e-6)
                # After a short step, or while conservation lags behind, the centre is worth more than progress.
                if taken < 0.1 or missing > 10.0 * complementarity:
                    target = max(target, 0.5 * mu)
                target = max(target, 0.02 * tolerance * scale / pairs)
        # Curves tie amounts and prices together: one common step keeps both residuals falling.
        taken = min(primal, dual)
        for k in range(assets):
            if k != numeraire and step[k] < 0.0:
                taken = min(taken, -0.6 * price[k] / step[k])
        for e in range(count):
            x[e] += taken * dx[e]
            lower[e] += taken * dlower[e]
            upper[e] += taken * dupper[e]
        for k in range(assets):
            if k != numeraire:
                price[k] += taken * step[k]
                spare[k] += taken * dspare[k]
        exchange(segments, x, y, slope, bend)
        if not np.isfinite(taken) or taken < 1e-14:
            return iteration, gap, False
    return most_iterations, gap, False
