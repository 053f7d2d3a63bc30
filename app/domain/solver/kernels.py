"""Water-filling over one pair: send to whatever pays best at the margin until the target is met.

`params` holds per market: kind, reserves in and out, what the fee leaves, minimum in, lot, minimum base, whether the
base is the asset taken, that asset's unit, and what one lot takes in and gives out. `out` receives per market: amount
in, amount out, levels used up, fraction of the next, what it would exchange alone, and its surplus at the final rate.
"""

import numpy as np
import numpy.typing as npt

from app.domain.compiled import compiled

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Modes = npt.NDArray[np.int8]

KIND, DEPTH_IN, DEPTH_OUT, KEPT, MIN_IN, LOT, MIN_BASE, BASE_IS_TAKEN, GRAIN, LOT_IN, LOT_OUT = range(11)
PARAMS = 11
BOOK, POOL = 0.0, 1.0
IN, OUT, REACHED, FRACTION, ALONE, SURPLUS = range(6)
RESULTS = 6
OFF, FREE, FORCED, FROZEN = range(4)
"""A market may be unused, free, filled from a given amount on, or held at exactly that amount."""

EPSILON = 2.0**-52
POOL_REACH = 1.0 - 1e-9
"""The share of a reserve that a trade may take out."""


@compiled("boolean(float64[::1], int64, int64)")
def ranks_above(key: Floats, a: int, b: int) -> bool:
    """Order markets by rate, then by position."""
    return key[a] > key[b] or (key[a] == key[b] and a < b)


@compiled("void(int64[::1], int64, int64, float64[::1])")
def sift_down(heap: Ints, size: int, start: int, key: Floats) -> None:
    """Restore the heap below one place."""
    place = start
    moved = heap[place]
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and ranks_above(key, heap[child + 1], heap[child]):
            child += 1
        if not ranks_above(key, heap[child], moved):
            break
        heap[place] = heap[child]
        place = child
    heap[place] = moved


@compiled("int64(float64[:, ::1], int64, int64, int64, float64)")
def level_at(levels: Floats, first: int, last: int, column: int, amount: float) -> int:
    """Find the level within which a cumulated amount falls."""
    low, high = first, last
    while high - low > 1:
        middle = (low + high) >> 1
        if levels[middle, column] <= amount:
            low = middle
        else:
            high = middle
    return low


@compiled("float64(float64[:, ::1], int64[::1], float64[:, ::1], int64, float64)")
def out_for_in(levels: Floats, offsets: Ints, params: Floats, i: int, amount: float) -> float:
    """Exchange an amount with one market alone; NaN when the book is too thin."""
    if params[i, KIND] == POOL:
        growth = params[i, KEPT] * amount / params[i, DEPTH_IN]
        return float(params[i, DEPTH_OUT] * growth / (1.0 + growth))
    at = level_at(levels, offsets[i], offsets[i + 1], 3, amount)
    part = (amount - levels[at, 3]) / levels[at, 1]
    if part > 1.0 + 1e-12:
        return np.nan
    return float(levels[at, 4] + part * levels[at, 2])


@compiled("float64(float64[:, ::1], int64[::1], float64[:, ::1], int64, float64)")
def in_for_out(levels: Floats, offsets: Ints, params: Floats, i: int, amount: float) -> float:
    """Find what one market alone takes for an amount; NaN when it is too thin."""
    if params[i, KIND] == POOL:
        share = amount / params[i, DEPTH_OUT]
        if share >= 1.0:
            return np.nan
        return float(params[i, DEPTH_IN] / params[i, KEPT] * share / (1.0 - share))
    at = level_at(levels, offsets[i], offsets[i + 1], 4, amount)
    part = (amount - levels[at, 4]) / levels[at, 2]
    if part > 1.0 + 1e-12:
        return np.nan
    return float(levels[at, 3] + part * levels[at, 1])


FILL = (
    "Tuple((float64, float64, int64))(float64[:, ::1], int64[::1], float64[:, ::1], int8[::1], float64[::1], "
    "float64, boolean, float64[:, ::1])"
)


@compiled(FILL)
def fill(
    levels: Floats,
    offsets: Ints,
    params: Floats,
    modes: Modes,
    starts: Floats,
    target: float,
    exact_out: bool,
    out: Floats,
) -> tuple[float, float, int]:
    """Fill a target; return what remains of it, the marginal rate, and the book it ended in (or -1).

    Between two events (the next level, the next pool's first rate) all open pools grow by one common factor, so
    the step to the target has a closed form without cancellation, however small the order.
    """
    count = params.shape[0]
    measured = 2 if exact_out else 1
    remaining = target
    heap = np.empty(count, np.int64)
    cursor = np.empty(count, np.int64)
    used = np.zeros(count)
    key = np.zeros(count)
    opened = np.full(count, -1.0)
    size = 0
    for i in range(count):
        for column in range(4):
            out[i, column] = 0.0
        if modes[i] == OFF:
            continue
        begin = starts[i] if modes[i] >= FORCED else 0.0
        if params[i, KIND] == POOL:
            used[i] = params[i, KEPT] * begin / params[i, DEPTH_IN]
            key[i] = params[i, KEPT] * params[i, DEPTH_OUT] / params[i, DEPTH_IN] / (1.0 + used[i]) ** 2
            remaining -= params[i, DEPTH_OUT] * used[i] / (1.0 + used[i]) if exact_out else begin
        else:
            at = offsets[i]
            if begin > 0.0:
                at = level_at(levels, offsets[i], offsets[i + 1], 3, begin)
                used[i] = min((begin - levels[at, 3]) / levels[at, 1], 1.0)
                remaining -= levels[at, 4] + used[i] * levels[at, 2] if exact_out else begin
                if used[i] > 1.0 - 1e-12:
                    used[i] = 0.0
                    at += 1
            cursor[i] = at
            if at < offsets[i + 1]:
                key[i] = levels[at, 0]
            elif modes[i] != FROZEN:
                continue
        if modes[i] != FROZEN:
            heap[size] = i
            size += 1
    for place in range(size // 2 - 1, -1, -1):
        sift_down(heap, size, place, key)

    dust = 1e-15 * target
    rate = key[heap[0]] if size > 0 else 0.0
    ended_in = -1
    pool_in = 0.0
    pool_out = 0.0
    growth = 0.0
    while remaining > dust:
        next_rate = key[heap[0]] if size > 0 else 0.0
        if pool_in > 0.0 and next_rate < rate:
            if exact_out:
                step = remaining / (pool_out - remaining) if remaining < pool_out * POOL_REACH else np.inf
            else:
                step = remaining / pool_in
            limit = np.inf
            if next_rate > 0.0:
                limit = (rate - next_rate) / next_rate / (np.sqrt(rate / next_rate) + 1.0)
            if step <= limit and step < np.inf:
                growth += np.log1p(step)
                rate /= (1.0 + step) ** 2
                remaining = 0.0
                ended_in = -1
                break
            if limit == np.inf:
                break
            remaining -= pool_out * limit / (1.0 + limit) if exact_out else pool_in * limit
            pool_in *= 1.0 + limit
            pool_out /= 1.0 + limit
            growth += np.log1p(limit)
            if remaining <= dust:
                remaining = 0.0
                rate = next_rate
                break
        if size == 0:
            break
        i = heap[0]
        rate = next_rate
        if params[i, KIND] == POOL:
            opened[i] = growth
            pool_in += params[i, DEPTH_IN] * (1.0 + used[i]) / params[i, KEPT]
            pool_out += params[i, DEPTH_OUT] / (1.0 + used[i])
            size -= 1
            heap[0] = heap[size]
        else:
            at = cursor[i]
            ended_in = i
            left = levels[at, measured] * (1.0 - used[i])
            if left > remaining:
                used[i] += remaining / levels[at, measured]
                remaining = 0.0
                break
            remaining -= left
            used[i] = 0.0
            cursor[i] = at + 1
            if at + 1 < offsets[i + 1]:
                key[i] = levels[at + 1, 0]
            else:
                size -= 1
                heap[0] = heap[size]
        if size > 0:
            sift_down(heap, size, 0, key)

    for i in range(count):
        if modes[i] == OFF:
            continue
        if params[i, KIND] == POOL:
            if opened[i] >= 0.0:
                used[i] += (1.0 + used[i]) * np.expm1(growth - opened[i])
            out[i, IN] = used[i] * params[i, DEPTH_IN] / params[i, KEPT]
            out[i, OUT] = params[i, DEPTH_OUT] * used[i] / (1.0 + used[i])
        else:
            at = cursor[i]
            out[i, REACHED] = at - offsets[i]
            out[i, FRACTION] = used[i]
            if at < offsets[i + 1]:
                out[i, IN] = levels[at, 3] + used[i] * levels[at, 1]
                out[i, OUT] = levels[at, 4] + used[i] * levels[at, 2]
            else:
                out[i, IN] = levels[at - 1, 3] + levels[at - 1, 1]
                out[i, OUT] = levels[at - 1, 4] + levels[at - 1, 2]
    if remaining <= dust and remaining > -dust:
        remaining = 0.0
    return remaining, rate, ended_in


@compiled(
    "Tuple((float64, float64))(float64[:, ::1], int64[::1], float64[:, ::1], int8[::1], float64, float64[:, ::1])"
)
def surplus(
    levels: Floats, offsets: Ints, params: Floats, modes: Modes, rate: float, out: Floats
) -> tuple[float, float]:
    """Sum the most that each market can pay above a rate; return it with a bound on its rounding error.

    With it, `rate * tender + surplus` bounds what any tender can receive, whatever the rate.
    """
    total = 0.0
    error = 0.0
    for i in range(params.shape[0]):
        out[i, SURPLUS] = 0.0
        if modes[i] == OFF:
            continue
        if params[i, KIND] == POOL:
            first = params[i, KEPT] * params[i, DEPTH_OUT] / params[i, DEPTH_IN]
            if rate <= 0.0:
                value = params[i, DEPTH_OUT]
            elif first > rate:
                root = np.sqrt(first / rate)
                excess = (first - rate) / rate / (root + 1.0)
                value = params[i, DEPTH_OUT] * (excess / root) ** 2
                # The maximiser moves with the rounded root, but to second order only.
                error += 2.0 * EPSILON * params[i, DEPTH_OUT] * excess / root
            else:
                continue
            error += 16.0 * EPSILON * value
        else:
            low, high = offsets[i], offsets[i + 1]
            while low < high:
                middle = (low + high) >> 1
                if levels[middle, 0] > rate:
                    low = middle + 1
                else:
                    high = middle
            if low == offsets[i]:
                continue
            last = low - 1
            paid = levels[last, 4] + levels[last, 2]
            spent = levels[last, 3] + levels[last, 1]
            value = paid - rate * spent
            error += (16.0 + last - offsets[i]) * EPSILON * (paid + rate * spent)
            value = max(value, 0.0)
        out[i, SURPLUS] = value
        total += value
    return total, error + params.shape[0] * EPSILON * total


QUOTE = (
    "Tuple((float64, float64, int64, float64, float64, int64))(float64[:, ::1], int64[::1], float64[:, ::1], "
    "int8[::1], float64[::1], float64, boolean, float64[:, ::1])"
)


@compiled(QUOTE)
def quote(
    levels: Floats,
    offsets: Ints,
    params: Floats,
    modes: Modes,
    starts: Floats,
    target: float,
    exact_out: bool,
    out: Floats,
) -> tuple[float, float, int, float, float, int]:
    """Fill a target and prove it: remainder, rate, last book, surplus, its error, and the best single market."""
    remaining, rate, ended_in = fill(levels, offsets, params, modes, starts, target, exact_out, out)
    total, error = surplus(levels, offsets, params, modes, 0.0 if remaining > 0.0 else rate, out)
    best = -1
    for i in range(params.shape[0]):
        out[i, ALONE] = np.nan
        if modes[i] == OFF:
            continue
        if exact_out:
            alone = in_for_out(levels, offsets, params, i, target)
            better = best < 0 or alone < out[best, ALONE]
        else:
            alone = out_for_in(levels, offsets, params, i, target)
            better = best < 0 or alone > out[best, ALONE]
        if np.isnan(alone):
            continue
        out[i, ALONE] = alone
        if better:
            best = i
    return remaining, rate, ended_in, total, error, best


@compiled(
    "Tuple((float64, float64))(float64[:, ::1], int64[::1], float64[:, ::1], int8[::1], float64[::1], float64, "
    "float64, boolean, float64[:, ::1])"
)
def fill_within(
    levels: Floats,
    offsets: Ints,
    params: Floats,
    modes: Modes,
    starts: Floats,
    least_rate: float,
    target: float,
    exact_out: bool,
    out: Floats,
) -> tuple[float, float]:
    """Find the largest target whose average rate stays within a bound, and the same without a sliver of a level."""
    low, high, probe = 0.0, target, target
    for _ in range(300):
        probe = 0.5 * (low + high) if low > 0.0 else 0.5 * probe
        if probe <= low or probe >= high or probe < 1e-40:
            break
        fill(levels, offsets, params, modes, starts, probe, exact_out, out)
        if out[:, OUT].sum() >= least_rate * out[:, IN].sum() * (1.0 - 1e-15):
            low = probe
        else:
            high = probe
    fill(levels, offsets, params, modes, starts, low, exact_out, out)
    snapped = 0.0
    for i in range(params.shape[0]):
        snapped += out[i, OUT if exact_out else IN]
        if params[i, KIND] == BOOK and 0.0 < out[i, FRACTION] < 1e-6:
            snapped -= out[i, FRACTION] * levels[offsets[i] + int(out[i, REACHED]), 2 if exact_out else 1]
    return low, snapped
