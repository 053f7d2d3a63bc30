"""What all markets together can earn as a function of the prices, and its descent.

The sum is convex in the prices. Newton's method sees the curvature of the markets in use alone; while its steps fail,
those not in use lend theirs, so that prices which they tie together move together.
"""

import numpy as np

from app.domain.compiled import compiled
from app.domain.solver.graph.factors import clear, eliminate, solve
from app.domain.solver.graph.shared import AMPLIFIED, FEE_LEFT, HEIGHT, HELD
from app.domain.solver.kernels import Flags, Floats, Ints
from app.domain.solver.kinds.base import CAP, DEPTH_IN, KEPT, LINEAR, POWER, POWERED, RATE, SHAPE
from app.domain.solver.kinds.in_legs import stable_in_legs
from app.domain.solver.kinds.joint import (
    FIRST,
    PULL,
    ROWS,
    SECOND,
    STIFF,
    WEIGHT,
    WORTH,
    stable_joint,
    weighted_joint,
)
from app.domain.solver.kinds.segments import conjugate, evaluate

PARTS = (
    "float64[:, ::1], int64[::1], int64[::1], float64[:, ::1], int64[::1], int64[::1], float64[::1], float64[::1], "
    "boolean[::1], boolean[::1]"
)
"""Segments that trade on their own with their two assets; then pools, where each one's members begin, and per member
its asset, unit, weight, and whether it may enter and leave."""
LEAST_STEPS, MOST_STEPS = 8.0, 40.0
REFUSALS = 12
CLOSE = 1e-13
CLOSE_OF_SURPLUS = 1e-9
ROUGH, FINE, FINER = 1e-3, 1e-13, 0.03
"""How much of its rate a straight segment is taken to lose along its length: without, Newton sees no minimum."""
LEAST_STEP, LARGEST_STEP = -0.7, 1.5
NEAR = 0.5
WORK = 4e6


@compiled("UniTuple(float64, 5)(float64[:, ::1], int64, float64, float64, float64, float64)")
def pull_of(
    segments: Floats, e: int, paid: float, earned: float, bend: float, awe: float
) -> tuple[float, float, float, float, float]:
    """Bound what a segment earns; return that, the same of the bent segment, what it sends and gets, and its stiffness.

    All in value; the stiffness is the curvature in the relative difference of both prices. A segment that earns nothing
    has the share `awe` of what it would have if it did: where it begins to, the curvature jumps.
    """
    advantage = earned * segments[e, RATE] / paid
    if advantage < 1.0 - 1e-15:
        stiff = 0.0
        if awe > 0.0 and advantage > NEAR:
            if segments[e, SHAPE] == POWERED:
                stiff = paid * segments[e, DEPTH_IN] / (segments[e, KEPT] * (segments[e, POWER] + 1.0))
            elif segments[e, SHAPE] == LINEAR:
                stiff = paid * segments[e, CAP]
            else:
                stiff = paid * paid / (earned * max(-evaluate(segments, e, 0.0)[2], 1e-300))
        return 0.0, 0.0, 0.0, 0.0, awe * stiff
    profit, amount = conjugate(segments, e, paid, earned)
    if segments[e, SHAPE] == LINEAR:
        worth = paid * segments[e, CAP]
        used = min(max((advantage - 1.0) / bend, 0.0), 1.0)
        lost = 0.5 * bend * worth * used * used
        sent = worth * used
        stiff = worth * advantage * advantage / bend if 0.0 < used < 1.0 else 0.0
        return profit, sent * advantage - sent - lost, sent + lost, sent * advantage, stiff
    sent = paid * amount
    stiff = 0.0
    if 0.0 < amount < segments[e, CAP]:
        if segments[e, SHAPE] == POWERED:
            stiff = paid * (segments[e, DEPTH_IN] / segments[e, KEPT] + amount) / (segments[e, POWER] + 1.0)
        else:
            stiff = paid * paid / (earned * max(-evaluate(segments, e, amount)[2], 1e-300))
    return profit, profit, sent, sent + profit, stiff


@compiled("float64[:, ::1](int64[::1])")
def workspace(first: Ints) -> Floats:
    """Make room for the widest pool."""
    widest = 0
    for pool in range(first.shape[0] - 1):
        widest = max(widest, first[pool + 1] - first[pool])
    return np.zeros((ROWS, widest + 1))


@compiled(
    "UniTuple(float64, 2)(float64[:, ::1], int64[::1], int64[::1], float64[::1], float64[::1], boolean[::1], "
    "boolean[::1], float64[::1], int64, float64[:, ::1])"
)
def pull_jointly(
    pools: Floats,
    first: Ints,
    asset: Ints,
    unit: Floats,
    weight: Floats,
    enters: Flags,
    leaves: Flags,
    price: Floats,
    pool: int,
    rows: Floats,
) -> tuple[float, float]:
    """Bound what one trade of a shared pool earns and its turnover; leave its derivatives in the workspace."""
    begin, end = first[pool], first[pool + 1]
    count = end - begin
    for k in range(count):
        rows[WORTH, k] = price[asset[begin + k]] * unit[begin + k]
        rows[WEIGHT, k] = weight[begin + k]
    kept, amplified = pools[pool, FEE_LEFT], pools[pool, AMPLIFIED]
    if amplified > 0.0:
        held, height = int(pools[pool, HELD]), pools[pool, HEIGHT]
        profit, moved, _, _ = stable_joint(
            rows, weight[begin:end], count, held, kept, amplified, height, enters[begin:end], leaves[begin:end]
        )
        return profit, moved
    return weighted_joint(rows, count, kept, enters[begin:end], leaves[begin:end])


@compiled(
    f"UniTuple(float64, 3)({PARTS}, float64[::1], float64, float64, int64[::1], float64[::1], float64[:, ::1], "
    "float64[:, ::1])"
)
def weigh(
    segments: Floats,
    source: Ints,
    sink: Ints,
    pools: Floats,
    first: Ints,
    asset: Ints,
    unit: Floats,
    weight: Floats,
    enters: Flags,
    leaves: Flags,
    price: Floats,
    bend: float,
    awe: float,
    place: Ints,
    slope: Floats,
    curvature: Floats,
    rows: Floats,
) -> tuple[float, float, float]:
    """Sum what markets earn: a bound, the turnover, and the sum with straight segments bent.

    Adds the last one's derivative in the logarithms of the prices to `slope`, and its curvature in relative prices to
    the rows of `curvature`; a negative `place` is of a price that stands still.
    """
    bound, turnover, smooth = 0.0, 0.0, 0.0
    for e in range(segments.shape[0]):
        a, b = source[e], sink[e]
        profit, bent, sent, got, stiff = pull_of(segments, e, price[a], price[b], bend, awe)
        if profit == 0.0 and got == 0.0 and stiff == 0.0:
            continue
        bound += profit
        turnover += sent + got
        smooth += bent
        slope[a] -= sent
        slope[b] += got
        if stiff > 0.0:
            i, j = place[a], place[b]
            if i >= 0:
                curvature[i, i] += stiff
            if j >= 0:
                curvature[j, j] += stiff
            if i >= 0 and j >= 0:
                curvature[min(i, j), max(i, j)] -= stiff
    for pool in range(pools.shape[0]):
        profit, moved = pull_jointly(pools, first, asset, unit, weight, enters, leaves, price, pool, rows)
        begin = first[pool]
        bound += profit
        smooth += profit
        turnover += moved
        count = first[pool + 1] - begin
        tied = 0.0
        if awe > 0.0:
            whole, mean = 0.0, np.inf
            for k in range(count):
                whole += weight[begin + k]
                worth = price[asset[begin + k]] * unit[begin + k]
                mean = min(mean, worth if pools[pool, AMPLIFIED] > 0.0 else worth / weight[begin + k])
            tied = awe * mean
        elif moved <= 0.0:
            continue
        for k in range(count):
            slope[asset[begin + k]] += rows[PULL, k]
            i = place[asset[begin + k]]
            if i < 0:
                continue
            mine = weight[begin + k]
            curvature[i, i] += rows[STIFF, k] + tied * mine
            for other in range(k + 1):
                j = place[asset[begin + other]]
                if j >= 0:
                    cross = rows[FIRST, k] * rows[FIRST, other] + rows[SECOND, k] * rows[SECOND, other]
                    if tied > 0.0:
                        cross += tied * mine * weight[begin + other] / whole
                    curvature[min(i, j), max(i, j)] -= cross
    return bound, turnover, smooth


@compiled(f"UniTuple(float64, 2)({PARTS}, float64[::1])")
def earned(
    segments: Floats,
    source: Ints,
    sink: Ints,
    pools: Floats,
    first: Ints,
    asset: Ints,
    unit: Floats,
    weight: Floats,
    enters: Flags,
    leaves: Flags,
    price: Floats,
) -> tuple[float, float]:
    """Sum what markets earn at these prices, a bound, and the turnover."""
    still = np.full(price.shape[0], -1, np.int64)
    slope, curvature = np.zeros(price.shape[0]), np.empty((0, 0))
    rows = workspace(first)
    bound, turnover, _ = weigh(
        segments, source, sink, pools, first, asset, unit, weight, enters, leaves, price, FINE, 0.0, still, slope,
        curvature, rows,
    )  # fmt: skip
    return bound, turnover


@compiled(f"UniTuple(float64, 2)({PARTS}, float64[::1], int64, int64, float64, float64)")
def descend(
    segments: Floats,
    source: Ints,
    sink: Ints,
    pools: Floats,
    first: Ints,
    asset: Ints,
    unit: Floats,
    weight: Floats,
    enters: Flags,
    leaves: Flags,
    price: Floats,
    fixed: int,
    supplied: int,
    supply: float,
    scale: float,
) -> tuple[float, float]:
    """Lower `supply * price[supplied]` plus what all markets earn, over all prices but one, until `scale` sees no more.

    Leaves the best prices in `price`; returns what is earned there and its turnover.
    """
    assets = price.shape[0]
    touches = np.zeros((assets, assets), np.bool_)
    straight = False
    for e in range(segments.shape[0]):
        straight |= segments[e, SHAPE] == LINEAR
        if source[e] != fixed and sink[e] != fixed:
            touches[source[e], sink[e]] = touches[sink[e], source[e]] = True
    for pool in range(pools.shape[0]):
        for k in range(first[pool], first[pool + 1]):
            for other in range(first[pool], k):
                if asset[k] != fixed and asset[other] != fixed:
                    touches[asset[k], asset[other]] = touches[asset[other], asset[k]] = True
    place, column, below = eliminate(touches)
    flops = 0.0
    for k in range(assets):
        flops += 0.5 * float(column[k + 1] - column[k]) ** 2 + 8.0
    # What a step costs, in nanoseconds: the bound is as tight as the time for it allows, and the same on every machine.
    cost = flops + 30.0 * segments.shape[0] + 90.0 * asset.shape[0]
    most = int(min(MOST_STEPS, max(LEAST_STEPS, WORK / cost)))
    unknown = place.copy()
    unknown[fixed] = -1
    rows = workspace(first)
    curvature = np.empty((assets, assets))
    slope = np.zeros(assets)
    step = np.empty(assets)
    best = price.copy()
    trial = price.copy()
    bend = ROUGH if straight else FINE
    damping = 0.1
    awe = 1.0
    clear(curvature, column, below)
    bound, turnover, smooth = weigh(
        segments, source, sink, pools, first, asset, unit, weight, enters, leaves, price, bend, awe, unknown, slope,
        curvature, rows,
    )  # fmt: skip
    smooth += supply * price[supplied]
    least, most_earned, moved = bound + supply * price[supplied], bound, turnover
    refused = 0
    for _ in range(most):
        slope[supplied] += supply * price[supplied]
        least_stiff = 1e-16 * (scale + most_earned) + 1e-300
        for k in range(assets):
            i = place[k]
            step[i] = -slope[k]
            if k == fixed:
                step[i] = 0.0
                curvature[i, i] = 1.0
            else:
                curvature[i, i] = curvature[i, i] * (1.0 + 1e-13) + damping * abs(slope[k]) + least_stiff
        descent = 0.0
        if solve(curvature, column, below, step):
            for k in range(assets):
                descent -= slope[k] * step[place[k]]
        reduced = 0.5 * descent
        closeness = max(CLOSE * scale, CLOSE_OF_SURPLUS * most_earned)
        if bend > FINE:
            closeness = max(closeness, 0.1 * bend * scale)
        accepted = False
        if reduced > closeness or (damping > 0.5 and reduced > 0.0 and reduced > 1e-3 * closeness):
            for k in range(assets):
                trial[k] = price[k] * (1.0 + min(max(step[place[k]], LEAST_STEP), LARGEST_STEP))
            slope[:] = 0.0
            clear(curvature, column, below)
            bound, turnover, following = weigh(
                segments, source, sink, pools, first, asset, unit, weight, enters, leaves, trial, bend, awe, unknown,
                slope, curvature, rows,
            )  # fmt: skip
            following += supply * trial[supplied]
            total = bound + supply * trial[supplied]
            if total < least:
                least, most_earned, moved = total, bound, turnover
                best[:] = trial
            gained = (smooth - following) / reduced
            if gained > 1e-4:
                accepted = True
                smooth = following
                price[:] = trial
                refused = 0
                if gained > 0.5:
                    damping = 0.2 * damping if damping > 1e-6 else 0.0
                    awe = 0.2 * awe if awe > 1e-9 else 0.0
                elif gained < 0.2:
                    damping = max(2.0 * damping, 1e-3)
                    awe = max(2.0 * awe, 1e-2)
            else:
                damping = max(4.0 * damping, 1e-3)
                awe = max(4.0 * awe, 1e-2)
                refused += 1
        else:
            refused = REFUSALS
        if not accepted:
            if refused >= REFUSALS:
                if bend <= FINE:
                    break
                bend = max(FINE, bend * FINER)
                damping = 1e-2
                refused = 0
            slope[:] = 0.0
            clear(curvature, column, below)
            _, _, smooth = weigh(
                segments, source, sink, pools, first, asset, unit, weight, enters, leaves, price, bend, awe, unknown,
                slope, curvature, rows,
            )  # fmt: skip
            smooth += supply * price[supplied]
    price[:] = best
    return most_earned, moved


@compiled(
    "float64(float64[:, ::1], int64[::1], int64[::1], float64[::1], float64[::1], boolean[::1], boolean[::1], "
    "float64[::1], float64)"
)
def over_one_trade(
    pools: Floats,
    first: Ints,
    asset: Ints,
    unit: Floats,
    weight: Floats,
    enters: Flags,
    leaves: Flags,
    price: Floats,
    budget: float,
) -> float:
    """Sum by how much legs on StableSwap pools, never losing more than a budget, may earn more than one trade."""
    rows = workspace(first)
    more = 0.0
    for pool in range(pools.shape[0]):
        if pools[pool, AMPLIFIED] == 0.0:
            continue
        once, _ = pull_jointly(pools, first, asset, unit, weight, enters, leaves, price, pool, rows)
        begin, end = first[pool], first[pool + 1]
        in_legs = stable_in_legs(
            rows, weight[begin:end], end - begin, int(pools[pool, HELD]), pools[pool, FEE_LEFT],
            pools[pool, AMPLIFIED], pools[pool, HEIGHT], enters[begin:end], leaves[begin:end],
            budget,
        )  # fmt: skip
        more += max(in_legs - once, 0.0)
    return more
