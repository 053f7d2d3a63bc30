"""Newton's method on the dual over log-prices.

What all segments earn at given prices is a convex function of the prices whose second derivative, in log-prices, is a
network of conductances: only segments that trade conduct, so each step solves a sparse system however large the graph.
A level of a book would switch at one price; here it opens over a range of them (`width`), narrowed as prices settle.
"""

import math

import numpy as np
import numpy.typing as npt

from app.domain.compiled import compiled
from app.domain.solver.graph.elimination import eliminate, substitute
from app.domain.solver.kernels import Floats, Ints
from app.domain.solver.kinds.base import (
    BEND,
    CAP,
    DEPTH_IN,
    DEPTH_OUT,
    KEPT,
    LINEAR,
    NEAR_IN,
    NEAR_OUT,
    POWER,
    POWERED,
    RATE,
    SHAPE,
)
from app.domain.solver.kinds.segments import evaluate, stable_conjugate

Roles = npt.NDArray[np.int8]
IDLE, OPEN, FULL = 0, 1, 2

FAINT = 1e-11
"""Within this of its margin a segment already conducts."""
ROUGHLY = 0.05
LONGEST_STEP = 1.0
GROUND = 1e-13
NEGLIGIBLE = 1e-3
"""An asset that so little of the trade flows to may be valued anew without weighing again at once."""
BACKTRACKS = 25


@compiled("UniTuple(float64, 3)(float64[:, ::1], int64, float64, float64)")
def bent_response(segments: Floats, i: int, gain: float, cap: float) -> tuple[float, float, float]:
    """Return what a curve takes and gives where it earns `gain` (in logs) at the margin, and d(taken)/d(gain)."""
    row = segments[i]
    margin = max(gain, 0.0)
    unit = row[DEPTH_IN] / row[KEPT]
    if row[SHAPE] == POWERED:
        logarithm = margin / (row[POWER] + 1.0)
        amount = unit * math.expm1(logarithm)
        if amount >= cap:
            return cap, -row[DEPTH_OUT] * math.expm1(-row[POWER] * math.log1p(cap / unit)), 0.0
        return amount, -row[DEPTH_OUT] * math.expm1(-row[POWER] * logarithm), (amount + unit) / (row[POWER] + 1.0)
    cost = row[RATE] * math.exp(-margin) * unit / row[DEPTH_OUT]
    amount = min(stable_conjugate(row[NEAR_IN], row[NEAR_OUT], row[BEND], cost)[1] * unit, cap)
    out, slope, bend = evaluate(segments, i, amount)
    return amount, out, -slope / bend if bend < 0.0 and amount < cap else 0.0


@compiled(
    "Tuple((float64, int64, int64))(float64[:, ::1], float64[::1], int64[::1], int64[::1], int64[::1], int64[::1], "
    "float64[::1], float64[::1], float64[::1], int64, float64, float64, int64[::1], int64[::1], float64[::1], "
    "float64[::1], float64[::1], float64[::1], int64[::1], float64[::1], float64[::1])"
)
def weigh(
    segments: Floats,
    log_rate: Floats,
    first: Ints,
    ways: Ints,
    source: Ints,
    sink: Ints,
    lead: Floats,
    unit: Floats,
    shift: Floats,
    numeraire: int,
    widest: float,
    width: float,
    near: Ints,
    far: Ints,
    conductance: Floats,
    diagonal: Floats,
    excess: Floats,
    best_gain: Floats,
    trading: Ints,
    sent: Floats,
    received: Floats,
) -> tuple[float, int, int]:
    """Add up what all segments earn; return that, and how many edges conduct and how many ways trade.

    Collects excess inflows in value, the best gain of any way out of each asset, which ways trade how much, and what
    conducts. `source`, `sink` and `lead`, the gain before prices shift, are by way.
    """
    earned = 0.0
    edges = trades = 0
    price = np.empty(unit.shape[0])
    for k in range(unit.shape[0]):
        price[k] = unit[k] * math.exp(shift[k])
    for way in range(ways.shape[0]):
        a, b = source[way], sink[way]
        ahead = lead[way] + (shift[b] - shift[a])
        best_gain[a] = max(best_gain[a], ahead)
        if ahead <= -FAINT:
            continue
        e = ways[way]
        begin = first[e]
        paid, brings = price[a], price[b]
        most = widest / unit[a]
        taken = given = conducts = 0.0
        for i in range(begin, first[e + 1]):
            gain = ahead + (log_rate[i] - log_rate[begin])
            if gain <= -FAINT:
                break
            cap = min(segments[i, CAP], most)
            if segments[i, SHAPE] != LINEAR:
                amount, out, bend = bent_response(segments, i, gain, cap)
                taken += amount
                given += out
                conducts += bend
            elif gain >= width:
                taken += cap
                given -= cap * segments[i, RATE] * math.expm1(-width) / width
            else:
                taken += cap * max(gain, 0.0) / width
                given -= cap * segments[i, RATE] * math.expm1(-max(gain, 0.0)) / width
                conducts += cap / width
        trading[trades], sent[trades], received[trades] = way, taken, given
        trades += 1
        excess[a] -= paid * taken
        excess[b] += brings * given
        earned += brings * given - paid * taken
        conducts *= paid
        diagonal[a] += conducts
        diagonal[b] += conducts
        if conducts > 0.0 and a != numeraire and b != numeraire:
            near[edges], far[edges], conductance[edges] = a, b, conducts
            edges += 1
    return earned, edges, trades


@compiled(
    "Tuple((int64, float64, float64, boolean))(float64[:, ::1], float64[::1], int64[::1], int64[::1], int64[::1], "
    "int64[::1], float64[::1], int64, int64, float64, boolean, float64, float64, float64, float64, int64, "
    "float64[::1], float64[::1], float64[::1])"
)
def descend(
    segments: Floats,
    log_rate: Floats,
    first: Ints,
    source: Ints,
    sink: Ints,
    ways: Ints,
    reference: Floats,
    start: int,
    end: int,
    amount: float,
    exact_out: bool,
    widest: float,
    width: float,
    narrowest: float,
    tolerance: float,
    most_iterations: int,
    shift: Floats,
    sent: Floats,
    received: Floats,
) -> tuple[int, float, float, bool]:
    """Move log-prices (`reference + shift`) to where flows add up.

    Returns iterations, what is missing, the width come to, and whether that is all.
    `sent` and `received` become the amounts by way. Prices are scaled for the whole trade to be worth one.
    """
    assets = reference.shape[0]
    numeraire = start if exact_out else end
    given = end if exact_out else start
    unit = np.empty(assets)
    for k in range(assets):
        unit[k] = math.exp(reference[k] - reference[given]) / amount
    lead = np.empty(ways.shape[0])
    way_source, way_sink = np.empty(ways.shape[0], np.int64), np.empty(ways.shape[0], np.int64)
    for way in range(ways.shape[0]):
        e = ways[way]
        way_source[way], way_sink[way] = source[e], sink[e]
        lead[way] = reference[sink[e]] - reference[source[e]] + log_rate[first[e]]
    trading = np.empty(ways.shape[0], np.int64)
    in_amounts, out_amounts = np.empty(ways.shape[0]), np.empty(ways.shape[0])
    near, far = np.empty(ways.shape[0], np.int64), np.empty(ways.shape[0], np.int64)
    conductance = np.empty(ways.shape[0])
    diagonal, excess, step = np.empty(assets), np.empty(assets), np.empty(assets)
    trial, best_gain = np.empty(assets), np.empty(assets)
    supply = -1.0 if exact_out else 1.0

    missing = np.inf
    value = np.inf
    onward = 0.0
    fresh = True
    edges = trades = 0
    iteration = 0
    while iteration < most_iterations:
        if fresh:
            excess[:] = 0.0
            diagonal[:] = GROUND
            excess[given] = supply * math.exp(shift[given])
            best_gain[:] = -np.inf
            value, edges, trades = weigh(
                segments, log_rate, first, ways, way_source, way_sink, lead, unit, shift, numeraire, widest, width,
                near, far, conductance, diagonal, excess, best_gain, trading, in_amounts, out_amounts,
            )  # fmt: skip
            value += supply * math.exp(shift[given])
            excess[numeraire] = 0.0
            fresh = False
        missing = 0.0
        for k in range(assets):
            missing += abs(excess[k])
        if missing < (tolerance if width <= narrowest else ROUGHLY):
            if width <= narrowest:
                break
            width = max(narrowest, width * 0.1)
            fresh = True
            continue
        iteration += 1
        for k in range(assets):
            step[k] = -excess[k]
        factor = eliminate(near, far, conductance, edges, diagonal)
        if not factor[0]:
            return iteration, missing, width, False
        substitute(factor, step)
        step[numeraire] = 0.0
        longest = 0.0
        descent = 0.0
        for k in range(assets):
            longest = max(longest, abs(step[k]))
            descent += step[k] * excess[k]
        taken = min(1.0, LONGEST_STEP / longest)
        accepted = False
        after = value
        for _ in range(BACKTRACKS):
            for k in range(assets):
                trial[k] = shift[k] + taken * step[k]
            excess[:] = 0.0
            diagonal[:] = GROUND
            excess[given] = supply * math.exp(trial[given])
            best_gain[:] = -np.inf
            after, edges, trades = weigh(
                segments, log_rate, first, ways, way_source, way_sink, lead, unit, trial, numeraire, widest, width,
                near, far, conductance, diagonal, excess, best_gain, trading, in_amounts, out_amounts,
            )  # fmt: skip
            after += supply * math.exp(trial[given])
            excess[numeraire] = 0.0
            onward = 0.0
            for k in range(assets):
                onward += step[k] * excess[k]
            if after <= value + 1e-4 * taken * descent or (onward <= 0.0 and after <= value + 1e-13):
                accepted = True
                break
            # A secant on the slope along the step: at a kink much better than halving.
            ratio = descent / (descent - onward) if onward > 0.0 else 0.5
            taken *= min(max(ratio, 0.1), 0.7)
        if not accepted:
            return iteration, missing, width, False
        for k in range(assets):
            shift[k] = trial[k]
        value = after
        # What nobody sells on at a profit is worth no more than its best sale.
        for k in range(assets):
            if k != numeraire and -np.inf < best_gain[k] < -FAINT:
                shift[k] += best_gain[k]
                fresh |= excess[k] > NEGLIGIBLE
    sent[:] = 0.0
    received[:] = 0.0
    for t in range(trades):
        sent[trading[t]], received[trading[t]] = in_amounts[t], out_amounts[t]
    return iteration, missing, width, missing < tolerance and width <= narrowest


@compiled(
    "int8[::1](float64[:, ::1], float64[::1], int64[::1], int64[::1], int64[::1], int64[::1], float64[::1], "
    "float64[::1], float64)"
)
def sort_out(
    segments: Floats,
    log_rate: Floats,
    first: Ints,
    source: Ints,
    sink: Ints,
    ways: Ints,
    log_price: Floats,
    widest: Floats,
    margin: float,
) -> Roles:
    """Say which segments are idle or full even if log-prices are off by a margin, and which are neither."""
    roles = np.zeros(segments.shape[0], np.int8)
    for way in range(ways.shape[0]):
        e = ways[way]
        ahead = log_price[sink[e]] - log_price[source[e]]
        for i in range(first[e], first[e + 1]):
            gain = ahead + log_rate[i]
            if gain <= -margin:
                break
            roles[i] = OPEN
            if gain > margin and segments[i, CAP] < widest[source[e]]:
                last = gain
                if segments[i, SHAPE] != LINEAR:
                    last += math.log(evaluate(segments, i, segments[i, CAP])[1] / segments[i, RATE])
                if last > margin:
                    roles[i] = FULL
    return roles
