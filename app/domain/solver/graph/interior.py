"""A primal-dual interior point over the prices of assets.

Every segment is one concave function from an amount in to an amount out. Segments are eliminated in closed form, so
that each iteration solves one symmetric system in the prices. The conservation of every asset but the numeraire is an
inequality: what is left over is thrown away at no price.
"""

import math

import numpy as np

from app.domain.compiled import compiled
from app.domain.solver.graph.elimination import eliminate, substitute
from app.domain.solver.kernels import Floats, Ints
from app.domain.solver.kinds.base import CAP, DEPTH_IN, DEPTH_OUT, KEPT, LINEAR, POWER, POWERED, RATE, SHAPE
from app.domain.solver.kinds.segments import conjugate, evaluate

BEGINNING = 1e-2
MOST_FILLED = 0.999


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


@compiled("Tuple((int64[::1], int64[::1], int64[::1]))(int64[::1], int64[::1], int64, int64)")
def joined(source: Ints, sink: Ints, assets: int, numeraire: int) -> tuple[Ints, Ints, Ints]:
    """Number the pairs of assets that segments join: each segment's pair (-1 at the numeraire), both assets of each."""
    count = source.shape[0]
    begins = np.zeros(assets + 1, np.int64)
    for e in range(count):
        begins[min(source[e], sink[e]) + 1] += 1
    for k in range(assets):
        begins[k + 1] += begins[k]
    places = begins[:-1].copy()
    grouped = np.empty(count, np.int64)
    for e in range(count):
        k = min(source[e], sink[e])
        grouped[places[k]] = e
        places[k] += 1
    pair = np.full(count, -1, np.int64)
    near, far = np.empty(count, np.int64), np.empty(count, np.int64)
    met, number = np.full(assets, -1, np.int64), np.empty(assets, np.int64)
    pairs = 0
    for k in range(assets):
        for p in range(begins[k], begins[k + 1]):
            e = grouped[p]
            other = max(source[e], sink[e])
            if numeraire in (k, other):
                continue
            if met[other] != k:
                met[other], number[other] = k, pairs
                near[pairs], far[pairs] = k, other
                pairs += 1
            pair[e] = number[other]
    return pair, near[:pairs].copy(), far[:pairs].copy()


@compiled(
    "void(float64[:, ::1], int64[::1], int64[::1], int64, float64[::1], float64[::1], float64[::1], float64[::1], "
    "float64[::1])"
)
def begin_anywhere(
    segments: Floats,
    source: Ints,
    sink: Ints,
    numeraire: int,
    x: Floats,
    price: Floats,
    lower: Floats,
    upper: Floats,
    spare: Floats,
) -> None:
    """Choose multipliers for flows and prices of which nothing is known."""
    for e in range(segments.shape[0]):
        slope = evaluate(segments, e, x[e])[1]
        profit = price[sink[e]] * slope - price[source[e]]
        lower[e] = BEGINNING / x[e] * 0.1 + max(-profit, 0.0)
        upper[e] = 0.0
        if segments[e, CAP] < np.inf:
            upper[e] = BEGINNING / (segments[e, CAP] - x[e]) * 0.1 + max(profit, 0.0)
    spare[:] = BEGINNING
    spare[numeraire] = 0.0


@compiled(
    "void(float64[:, ::1], int64[::1], int64[::1], int64, float64, float64[::1], float64[::1], float64[::1], "
    "float64[::1], float64[::1])"
)
def begin_at(
    segments: Floats,
    source: Ints,
    sink: Ints,
    numeraire: int,
    barrier: float,
    x: Floats,
    price: Floats,
    lower: Floats,
    upper: Floats,
    spare: Floats,
) -> None:
    """Choose the flows and multipliers that belong to prices when every product of the two is `barrier`."""
    for e in range(segments.shape[0]):
        paid, earned, cap = price[source[e]], price[sink[e]], segments[e, CAP]
        if segments[e, SHAPE] == LINEAR and cap < np.inf:
            lead = (earned * segments[e, RATE] - paid) * cap / barrier
            share = 2.0 / (2.0 + abs(lead) + math.sqrt(lead * lead + 4.0))
            x[e] = cap * (share if lead < 0.0 else 1.0 - share)
            room = cap * (1.0 - share if lead < 0.0 else share)
            lower[e], upper[e] = barrier / x[e], barrier / room
            continue
        amount = min(conjugate(segments, e, paid, earned)[1], cap)
        _, slope, bend = evaluate(segments, e, amount)
        # Around the best amount the profit is a parabola; its margin and the barrier's pull balance here.
        margin = amount * earned * -bend + earned * slope - paid
        root = math.sqrt(margin * margin + 4.0 * earned * -bend * barrier)
        flat = 2.0 * barrier / (root - margin) if margin < 0.0 else 0.0
        x[e] = flat if margin < 0.0 else (margin + root) / (2.0 * earned * -bend)
        x[e] = min(x[e], cap * MOST_FILLED)
        lower[e], upper[e] = barrier / x[e], 0.0
        if cap < np.inf:
            upper[e] = barrier / (cap - x[e]) + max(earned * slope - paid, 0.0)
    for k in range(price.shape[0]):
        spare[k] = barrier / price[k]
    spare[numeraire] = 0.0


@compiled(
    "Tuple((int64, float64, boolean))(float64[:, ::1], int64[::1], int64[::1], float64[::1], int64, float64, int64, "
    "float64[::1], float64[::1], float64[::1], float64[::1], float64[::1], float64[::1])"
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
    lower: Floats,
    upper: Floats,
    spare: Floats,
    last_step: Floats,
) -> tuple[int, float, bool]:
    """Improve flows `x`, prices and their multipliers in place; return iterations, relative gap, and convergence.

    Amounts are in units in which prices are about one and the tender too. The numeraire's price is one, its net
    inflow the objective; `supply` is what every other asset starts with (negative: what it must end with). A run that
    met its limit goes on where it was when it is called again.
    """
    count, assets = segments.shape[0], price.shape[0]
    y, slope, bend = np.empty(count), np.empty(count), np.empty(count)
    inverse, shift = np.empty(count), np.empty(count)
    dx, dlower, dupper = np.zeros(count), np.zeros(count), np.zeros(count)
    dspare = np.zeros(assets)
    balance, step = np.empty(assets), np.zeros(assets)
    diagonal = np.empty(assets)
    pair, near, far = joined(source, sink, assets, numeraire)
    conductance = np.empty(near.shape[0])

    pairs = count + assets - 1
    for e in range(count):
        if segments[e, CAP] < np.inf:
            pairs += 1
    exchange(segments, x, y, slope, bend)
    taken = last_step[0]
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

        diagonal[:] = 0.0
        conductance[:] = 0.0
        for e in range(count):
            curvature = -price[sink[e]] * bend[e] + lower[e] / x[e]
            if segments[e, CAP] < np.inf:
                curvature += upper[e] / (segments[e, CAP] - x[e])
            inverse[e] = 1.0 / curvature
            diagonal[source[e]] += inverse[e]
            diagonal[sink[e]] += inverse[e] * slope[e] * slope[e]
            if pair[e] >= 0:
                conductance[pair[e]] += inverse[e] * slope[e]
        for k in range(assets):
            diagonal[k] = (diagonal[k] + spare[k] / price[k]) * (1.0 + 1e-14) + 1e-300
        diagonal[numeraire] = 1.0
        factor = eliminate(near, far, conductance, near.shape[0], diagonal)
        if not factor[0]:
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
            substitute(factor, step)
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
        last_step[0] = taken
        exchange(segments, x, y, slope, bend)
        if not np.isfinite(taken) or taken < 1e-14:
            return iteration, gap, False
    return most_iterations, gap, False
