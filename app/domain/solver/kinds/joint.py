"""The most that all pairs of one pool together can be worth at given prices: its joint conjugate.

A trade moves reserves `R` by `u`, paying `p / kept` for what enters and getting `p` for what leaves. By minimax the
most it earns is the least, over shadow prices `q` with `p <= q <= p / kept`, of `q R - min(q x : x no worse than R)`.
For a weighted pool (weights that sum to one, `b = q R`) that is `sum(b) - prod((b / w) ** w)`. For StableSwap
(balances `x` in units of the invariant, `K = 1 / (n ** n prod(x))`) Lagrange's bound on the inner minimum makes it
`m K + sum(b) - (n + 1) (m K prod(b)) ** (1 / (n + 1))` with `b = (q - m Ann) x`, for any multiplier `m`. Both are the
gap between an arithmetic and a geometric mean `G`: with `z` the logarithms of the terms over `G`, whose weighted sum is
zero, `G sum(w (exp(z) - 1 - z))`. Any `q` and `m` give a bound, so that an inexact search is never too small.

That is one trade; legs leave their fees in the pool. A weighted pool's constraint is a sum of logarithms, one for each
asset, and whatever is sent in steps, or sent and taken back, counts for less there than the rest sent at once: legs
never earn more. `in_legs` is for StableSwap, where they can.
"""

import math

from app.domain.compiled import compiled
from app.domain.solver.kernels import EPSILON, Flags, Floats

WORTH, WEIGHT, LOW, HIGH, Z, CLIPPED, PULL, STIFF, FIRST, SECOND, SHADOW = range(11)
ROWS = 11
"""Rows of a workspace, one column for each asset of a pool and one more.

WORTH and WEIGHT are given: of a weighted pool what the reserves are worth and the weights, of StableSwap what one
scaled unit is worth and the balances. PULL becomes the derivative in the logarithm of each price, and
`diag(STIFF) - FIRST FIRST' - SECOND SECOND'` the curvature in relative prices. SHADOW becomes a StableSwap pool's
shadow prices.
"""
SEARCHES = 80
CLOSE = 1e-13


@compiled("float64(float64)")
def excess(z: float) -> float:
    """Return `exp(z) - 1 - z` without cancellation."""
    if abs(z) > 0.01:
        return math.expm1(z) - z
    return 0.5 * z * z * (1.0 + z / 3.0 * (1.0 + z / 4.0 * (1.0 + z / 5.0 * (1.0 + z / 6.0 * (1.0 + z / 7.0)))))


@compiled("Tuple((boolean, float64))(float64[:, ::1], int64)")
def level(rows: Floats, count: int) -> tuple[bool, float]:
    """Find the level that is the weighted mean of itself clipped into every interval; leave the differences in Z.

    Says whether any interval excludes the level: if none does, the pool earns nothing.
    """
    bottom, top = math.inf, -math.inf
    for i in range(count):
        bottom = min(bottom, rows[HIGH, i])
        top = max(top, rows[LOW, i])
        rows[Z, i] = rows[CLIPPED, i] = 0.0
    if top <= bottom:
        return False, 0.0
    at = bottom if bottom > -math.inf else top
    for _ in range(6 * count):
        total, pulled = 0.0, 0.0
        for i in range(count):
            if rows[LOW, i] > at:
                total += rows[WEIGHT, i]
                pulled += rows[WEIGHT, i] * rows[LOW, i]
            elif rows[HIGH, i] < at:
                total += rows[WEIGHT, i]
                pulled += rows[WEIGHT, i] * rows[HIGH, i]
        following = pulled / total if total > 0.0 else at
        if following == at:
            break
        # The pull falls as the level rises: its sign tells on which side the answer is.
        if following > at:
            bottom = at
        else:
            top = at
        at = following if bottom < following < top else 0.5 * (bottom + top)
    whole, mean = 0.0, 0.0
    for i in range(count):
        clipped = min(max(at, rows[LOW, i]), rows[HIGH, i])
        rows[CLIPPED, i] = 1.0 if clipped != at else 0.0
        rows[Z, i] = clipped - at
        whole += rows[WEIGHT, i]
        mean += rows[WEIGHT, i] * rows[Z, i]
    # What is left of the mean is rounding: without it the terms belong to the very prices that were clipped to.
    mean /= whole
    for i in range(count):
        rows[Z, i] -= mean
    return True, at + mean


@compiled("UniTuple(float64, 2)(float64[:, ::1], int64, float64, boolean[::1], boolean[::1])")
def weighted_joint(rows: Floats, count: int, kept: float, enters: Flags, leaves: Flags) -> tuple[float, float]:
    """Bound what a weighted pool earns, of whose assets some may enter and some may leave; also its turnover."""
    dearest, cheapest = 0.0, math.inf
    for i in range(count):
        rows[LOW, i] = rows[WORTH, i] / rows[WEIGHT, i]
        if leaves[i]:
            dearest = max(dearest, rows[LOW, i])
        if enters[i]:
            cheapest = min(cheapest, rows[LOW, i])
        rows[PULL, i] = rows[STIFF, i] = rows[FIRST, i] = rows[SECOND, i] = 0.0
    if dearest * kept <= cheapest:
        return 0.0, 0.0
    fee = -math.log(kept)
    reference = rows[LOW, 0]
    spread = 1.0
    for i in range(count):
        place = math.log(rows[LOW, i] / reference)
        spread = max(spread, abs(place))
        rows[LOW, i] = place if leaves[i] else -math.inf
        rows[HIGH, i] = place + fee if enters[i] else math.inf
    trades, at = level(rows, count)
    if not trades:
        return 0.0, 0.0
    mean = reference * math.exp(at)
    bound, turnover, active = 0.0, 0.0, 0.0
    for i in range(count):
        share = mean * rows[WEIGHT, i]
        bound += share * (excess(rows[Z, i]) + 8.0 * EPSILON * spread * abs(rows[Z, i]))
        if rows[CLIPPED, i] > 0.0:
            rows[PULL, i] = share * math.expm1(rows[Z, i])
            rows[STIFF, i] = share
            turnover += abs(rows[PULL, i])
            active += rows[WEIGHT, i]
    if active == 0.0:
        return 0.0, 0.0
    for i in range(count):
        rows[FIRST, i] = math.sqrt(mean / active) * rows[WEIGHT, i] * rows[CLIPPED, i]
    return bound, turnover


@compiled(
    "UniTuple(float64, 4)(float64[:, ::1], float64[::1], int64, float64, float64, float64, float64, boolean[::1], "
    "boolean[::1])"
)
def stable_terms(
    rows: Floats,
    balance: Floats,
    count: int,
    kept: float,
    amplified: float,
    bend: float,
    multiplier: float,
    enters: Flags,
    leaves: Flags,
) -> tuple[float, float, float, float]:
    """Level the terms at one multiplier; return the mean, the derivative, the curvature and the largest logarithm."""
    fixed = multiplier * bend
    spread = 1.0
    for i in range(count):
        least = (rows[WORTH, i] - multiplier * amplified) * balance[i]
        most = (rows[WORTH, i] / kept - multiplier * amplified) * balance[i]
        rows[LOW, i] = math.log(least / fixed) if leaves[i] and least > 0.0 else -math.inf
        rows[HIGH, i] = math.log(most / fixed) if enters[i] else math.inf
        rows[WEIGHT, i] = 1.0
    rows[LOW, count] = rows[HIGH, count] = 0.0
    rows[WEIGHT, count] = 1.0
    trades, at = level(rows, count + 1)
    if not trades:
        return 0.0, 0.0, 0.0, 1.0
    mean = fixed * math.exp(at)
    fall, squares, total, active = -bend * math.expm1(-rows[Z, count]), 0.0, 0.0, 0.0
    for i in range(count + 1):
        if rows[CLIPPED, i] > 0.0 or i == count:
            spread = max(spread, abs(rows[Z, i] + at))
            term = mean * math.exp(rows[Z, i])
            pace = bend / term if i == count else -amplified * balance[i] / term
            squares += pace * pace
            total += pace
            active += 1.0
            if i < count:
                fall += amplified * balance[i] * math.expm1(-rows[Z, i])
    return mean, fall, mean * (squares - total * total / active), spread


@compiled(
    "UniTuple(float64, 4)(float64[:, ::1], float64[::1], int64, int64, float64, float64, float64, boolean[::1], "
    "boolean[::1])"
)
def stable_joint(
    rows: Floats,
    balance: Floats,
    count: int,
    held: int,
    kept: float,
    amplified: float,
    bend: float,
    enters: Flags,
    leaves: Flags,
) -> tuple[float, float, float, float]:
    """Bound what one trade earns in `count` of a StableSwap pool's `held` assets, of which some may enter or leave.

    Also returns the turnover, what the invariant is worth at the shadow prices, and how far in logarithms they are
    above the pool's own.
    """
    highest, least_high, most_low = math.inf, math.inf, 0.0
    for i in range(count):
        rows[PULL, i] = rows[STIFF, i] = rows[FIRST, i] = rows[SECOND, i] = 0.0
        margin = rows[WORTH, i] / (amplified + bend / balance[i])
        if enters[i]:
            least_high = min(least_high, margin / kept)
            highest = min(highest, rows[WORTH, i] / kept / amplified)
        if leaves[i]:
            most_low = max(most_low, margin)
    still = math.sqrt(most_low) * math.sqrt(least_high)
    for i in range(count):
        rows[SHADOW, i] = still * (amplified + bend / balance[i])
    if most_low <= least_high:
        return 0.0, 0.0, 0.0, 0.0
    low, high = 0.0, highest
    multiplier = min(math.sqrt(least_high * most_low), 0.5 * (least_high + highest))
    mean, spread = 0.0, 1.0
    for _ in range(SEARCHES):
        mean, fall, curvature, spread = stable_terms(
            rows, balance, count, kept, amplified, bend, multiplier, enters, leaves
        )
        if fall > 0.0:
            high = multiplier
        else:
            low = multiplier
        following = multiplier - fall / curvature if curvature > 0.0 else 0.5 * (low + high)
        if abs(following - multiplier) <= CLOSE * multiplier:
            break
        if not low < following < high:
            following = math.sqrt(low * high) if high < 16.0 * low else 0.5 * (low + high)
            if not low < following < high:
                break
        multiplier = following
    if mean <= 0.0:
        return 0.0, 0.0, 0.0, 0.0
    bound, turnover, active, total, squares, distance = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    worth = multiplier * (amplified - 1.0) + (held + 1.0) * mean
    owned = worth / (amplified - 1.0 + (held + 1.0) * bend)
    for i in range(count + 1):
        bound += mean * excess(rows[Z, i])
        clipped = rows[CLIPPED, i] > 0.0 or i == count
        term = mean * math.exp(rows[Z, i])
        if i < count:
            shadow = multiplier * amplified + term / balance[i]
            rows[SHADOW, i] = shadow
            distance = max(distance, math.log(shadow / (owned * (amplified + bend / balance[i]))))
            if clipped:
                rows[PULL, i] = -shadow * balance[i] * math.expm1(-rows[Z, i])
                turnover += abs(rows[PULL, i])
                rows[FIRST, i] = shadow * balance[i] / term
        if clipped:
            pace = multiplier * (bend if i == count else -amplified * balance[i]) / term
            rows[SECOND, i] = pace
            total += pace
            squares += pace * pace
            active += 1.0
    bound += 16.0 * EPSILON * spread * turnover
    cross = squares - total * total / active
    for i in range(count):
        reach, pace = rows[FIRST, i], rows[SECOND, i]
        rows[STIFF, i] = mean * reach * reach
        rows[FIRST, i] = math.sqrt(mean / active) * reach
        if cross > 0.0:
            rows[SECOND, i] = math.sqrt(mean / cross) * reach * (pace - total / active)
        if rows[STIFF, i] == 0.0:
            rows[SECOND, i] = 0.0
    return bound, turnover, worth, distance
