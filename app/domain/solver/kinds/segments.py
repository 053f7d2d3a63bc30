"""One closed form for every kind of market: value, inverse and conjugate of a segment, in floats.

StableSwap needs no iteration here: with the invariant and the balances that stand still known, the two that move obey
`X + Y + shift = bend / (X * Y)`, a quadratic in either; written in differences from the start it cancels nowhere.
"""

import math

from app.domain.compiled import compiled
from app.domain.solver.kinds.base import (
    BEND,
    CAP,
    CAP_OUT,
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
    Floats,
)

EPSILON = 2.0**-52
BRACKETINGS = 200
CLOSE = 1e-14


@compiled("UniTuple(float64, 3)(float64, float64, float64, float64)")
def stable_drop(near_in: float, near_out: float, bend: float, grown: float) -> tuple[float, float, float]:
    """Return how far one balance falls when the other grows, the slope and the curvature, in units of the invariant."""
    after_in = near_in + grown
    kept_share = bend * near_in / after_in
    lean = bend + grown - near_out
    root = math.sqrt(lean * lean + 4.0 * near_out * kept_share)
    drop = 2.0 * near_out * grown * (1.0 + bend / after_in) / (bend + grown + near_out + root)
    after_out = 2.0 * near_out * kept_share / (lean + root) if lean > 0.0 else 0.5 * (root - lean)
    # The bending term where the balances now are, as a product because as a difference it cancels.
    curve = kept_share * near_out / after_out
    top = 1.0 + curve / after_in
    bottom = 1.0 + curve / after_out
    slope = top / bottom
    spread = curve * (after_in - after_out) / (after_in * after_out) / bottom
    top_rate = spread / after_in - curve / (after_in * after_in)
    bottom_rate = spread / after_out + curve * slope / (after_out * after_out)
    return drop, slope, (top_rate - slope * bottom_rate) / bottom


@compiled("float64(float64, float64, float64, float64)")
def stable_growth(near_in: float, near_out: float, bend: float, drop: float) -> float:
    """Return how far one balance must grow for the other to fall by `drop`; infinite when it cannot."""
    if drop >= near_out:
        return math.inf
    half = bend - drop + near_in
    product = near_in * drop * (1.0 + bend / (near_out - drop))
    root = math.sqrt(half * half + 4.0 * product)
    return 2.0 * product / (half + root) if half > 0.0 else 0.5 * (root - half)


@compiled("UniTuple(float64, 3)(float64[:, ::1], int64, float64)")
def evaluate(segments: Floats, i: int, amount: float) -> tuple[float, float, float]:
    """Return what `amount` brings out of a segment, the marginal rate there and how fast that changes."""
    row = segments[i]
    if row[SHAPE] == LINEAR:
        return row[RATE] * amount, row[RATE], 0.0
    pace = row[KEPT] / row[DEPTH_IN]
    growth = pace * amount
    if row[SHAPE] == POWERED:
        exponent = row[POWER]
        logarithm = math.log1p(growth)
        out = -row[DEPTH_OUT] * math.expm1(-exponent * logarithm)
        rate = row[RATE] * math.exp(-(exponent + 1.0) * logarithm)
        return out, rate, -rate * (exponent + 1.0) * pace / (1.0 + growth)
    drop, slope, bent = stable_drop(row[NEAR_IN], row[NEAR_OUT], row[BEND], growth)
    scale = row[DEPTH_OUT]
    return scale * drop, scale * slope * pace, scale * bent * pace * pace


@compiled("float64(float64[:, ::1], int64, float64)")
def required(segments: Floats, i: int, out: float) -> float:
    """Return what must go in for `out` to come out; infinite when the segment does not hold it."""
    row = segments[i]
    if out > row[CAP_OUT]:
        return math.inf
    if row[SHAPE] == LINEAR:
        return float(out / row[RATE])
    share = out / row[DEPTH_OUT]
    if row[SHAPE] == POWERED:
        if share >= 1.0:
            return math.inf
        growth = math.expm1(-math.log1p(-share) / row[POWER])
    else:
        growth = stable_growth(row[NEAR_IN], row[NEAR_OUT], row[BEND], share)
    return float(growth * row[DEPTH_IN] / row[KEPT])


@compiled("UniTuple(float64, 2)(float64, float64, float64, float64)")
def stable_conjugate(near_in: float, near_out: float, bend: float, cost: float) -> tuple[float, float]:
    """Bound `drop(grown) - cost * grown` from above over all growth and return where it is largest.

    Tangents on either side of the maximum enclose it, so the bound holds however far the search has come. It holds for
    legs one after the other too if the pool has two assets: the invariant is concave and homogeneous, and what is sent
    is then worth the less the more of it, fees included, is there. With balances that stand still it does not: see
    `joint`.
    """
    _, steep, _ = stable_drop(near_in, near_out, bend, 0.0)
    if steep <= cost:
        return 0.0, 0.0
    low, low_value, low_slope = 0.0, 0.0, steep - cost
    # Where the whole balance would not pay for what went in, the maximum is behind.
    high = near_out / cost
    drop, slope, _ = stable_drop(near_in, near_out, bend, high)
    high_value, high_slope = drop - cost * high, slope - cost
    bound = near_out
    at = 0.0
    for step in range(BRACKETINGS):
        drop, slope, bent = stable_drop(near_in, near_out, bend, at)
        value = drop - cost * at
        if slope >= cost:
            low, low_value, low_slope = at, value, slope - cost
        else:
            high, high_value, high_slope = at, value, slope - cost
        if high_slope < 0.0:
            met = (high_value - low_value - high_slope * (high - low)) / (low_slope - high_slope)
            bound = min(bound, low_value + low_slope * min(max(met, 0.0), high - low))
        if bound - max(low_value, high_value) <= CLOSE * (low_value + 2.0 * cost * low) or high <= low:
            break
        # The slope falls over many powers of ten: its logarithm is the straighter line.
        guess = at - math.log(slope / cost) * slope / bent if bent < 0.0 and slope > 0.0 else high
        if not low < guess < high or step % 4 == 3:
            start = low if low > 0.0 else min(near_in, high) * 1e-9
            guess = math.sqrt(start * high) if high > 4.0 * start else 0.5 * (low + high)
        at = guess
    at = low if low_value >= high_value else high
    return max(bound, low_value, high_value, 0.0) + 16.0 * EPSILON * (low_value + 2.0 * cost * at), at


@compiled("UniTuple(float64, 2)(float64[:, ::1], int64, float64, float64)")
def conjugate(segments: Floats, i: int, price_in: float, price_out: float) -> tuple[float, float]:
    """Bound the profit of a segment at given prices from above and return the amount in that comes closest to it."""
    row = segments[i]
    if price_out <= 0.0:
        return 0.0, 0.0
    if price_in <= 0.0:
        return price_out * row[CAP_OUT] - (price_in * row[CAP] if price_in < 0.0 else 0.0), row[CAP]
    cap = row[CAP]
    advantage = price_out * row[RATE] / price_in
    if row[SHAPE] == LINEAR:
        # Within rounding of the margin the bound must not be the smaller for it.
        earned = price_out * row[RATE]
        profit = (earned - price_in) + 4.0 * EPSILON * (earned + price_in)
        if profit <= 0.0:
            return 0.0, 0.0
        return profit * cap, cap if advantage > 1.0 else 0.0
    unit_in = row[DEPTH_IN] / row[KEPT]
    if row[SHAPE] == POWERED:
        logarithm = math.log(advantage) / (row[POWER] + 1.0)
        if logarithm <= 0.0:
            return 0.0, 0.0
        amount = unit_in * math.expm1(logarithm)
        if amount < cap:
            brought = -price_out * row[DEPTH_OUT] * math.expm1(-row[POWER] * logarithm)
        else:
            amount = cap
            brought = -price_out * row[DEPTH_OUT] * math.expm1(-row[POWER] * math.log1p(cap / unit_in))
        paid = price_in * amount
        return max(brought - paid, 0.0) + 8.0 * EPSILON * (brought + paid), amount
    worth = price_out * row[DEPTH_OUT]
    bound, growth = stable_conjugate(row[NEAR_IN], row[NEAR_OUT], row[BEND], price_in * unit_in / worth)
    return bound * worth, growth * unit_in
