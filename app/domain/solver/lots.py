"""Whole lots: branch market by market around what water-filling wants, as far as its bound allows better."""

import numpy as np

from app.domain.compiled import compiled
from app.domain.solver.kernels import (
    BASE_IS_TAKEN,
    FROZEN,
    IN,
    LOT,
    LOT_IN,
    LOT_OUT,
    MIN_BASE,
    OFF,
    OUT,
    Flags,
    Floats,
    Ints,
    Modes,
    fill,
    in_for_out,
    out_for_in,
)
from app.domain.solver.scoring import score

_STATE = "float64[:, ::1], int64[::1], float64[:, ::1]"
_SEARCH = (
    "float64("
    + _STATE
    + ", int8[::1], float64[::1], float64[::1], float64[::1], float64, boolean, int64, float64[:, ::1])"
)

CLOSE_ENOUGH = 1e-6
"""The share by which whole lots may stay behind what water-filling without them is worth: a hundredth of a bp."""
NODES = 600
"""How many choices of lots are tried for one choice of markets."""
NEAR_ENOUGH = 8e-6
"""The share of the bound within which only a few more are tried: under a tenth of a bp, what rules may cost."""
NODES_ONCE_NEAR = 24
"""How many are tried once the best is this near to the bound."""


@compiled("float64(" + _STATE + ", int64, float64)")
def in_for_lots(levels: Floats, offsets: Ints, params: Floats, i: int, lots: float) -> float:
    """Find the amount in of a number of lots; NaN when the book is too thin."""
    base = lots * params[i, LOT]
    if params[i, BASE_IS_TAKEN] == 1.0:
        return in_for_out(levels, offsets, params, i, base)
    return base if not np.isnan(out_for_in(levels, offsets, params, i, base)) else np.nan


@compiled("float64(" + _STATE + ", int64, float64)")
def lots_for_in(levels: Floats, offsets: Ints, params: Floats, i: int, amount: float) -> float:
    """Find how many whole lots an amount in pays for."""
    last = offsets[i + 1] - 1
    held = levels[last, 1] + levels[last, 3]
    if amount > held:
        amount = held
    if amount <= 0.0:
        return 0.0
    base = out_for_in(levels, offsets, params, i, amount) if params[i, BASE_IS_TAKEN] == 1.0 else amount
    lots = base / params[i, LOT]
    return float(np.floor(lots * (1.0 + 1e-13) + 1e-12))


@compiled("float64(" + _STATE + ", int64, float64)")
def lots_for_out(levels: Floats, offsets: Ints, params: Floats, i: int, amount: float) -> float:
    """Find how many whole lots yield an amount out; NaN when the book is too thin."""
    if amount <= 0.0:
        return 0.0
    base = amount if params[i, BASE_IS_TAKEN] == 1.0 else in_for_out(levels, offsets, params, i, amount)
    return float(np.ceil(base / params[i, LOT] * (1.0 - 1e-13) - 1e-12))


@compiled("boolean(float64[:, ::1], int64, float64)")
def tradable(params: Floats, i: int, lots: float) -> bool:
    """Say whether a number of lots is none or reaches the minimum."""
    return lots == 0.0 or (lots > 0.0 and lots * params[i, LOT] >= params[i, MIN_BASE] * (1.0 - 1e-12))


@compiled(_SEARCH)
def value_lots(
    levels: Floats,
    offsets: Ints,
    params: Floats,
    modes: Modes,
    starts: Floats,
    fixed: Floats,
    lots: Floats,
    target: float,
    exact_out: bool,
    max_legs: int,
    out: Floats,
) -> float:
    """Hold every lot market at its lots, let the others take the rest, and value the result."""
    slack = 0.0
    for i in range(params.shape[0]):
        if params[i, LOT] == 0.0:
            continue
        if not tradable(params, i, lots[i]):
            return -np.inf
        modes[i] = FROZEN if lots[i] > 0.0 else OFF
        starts[i] = in_for_lots(levels, offsets, params, i, lots[i]) if lots[i] > 0.0 else 0.0
        if np.isnan(starts[i]):
            return -np.inf
        if lots[i] > 0.0 and exact_out:
            fewer = in_for_lots(levels, offsets, params, i, lots[i] - 1.0)
            last = out_for_in(levels, offsets, params, i, starts[i]) - out_for_in(levels, offsets, params, i, fewer)
            slack = max(slack, last)
        elif lots[i] > 0.0:
            more = in_for_lots(levels, offsets, params, i, lots[i] + 1.0) - starts[i]
            if np.isnan(more):
                more = starts[i] - in_for_lots(levels, offsets, params, i, lots[i] - 1.0)
            slack = max(slack, more)
    return score(levels, offsets, params, modes, starts, fixed, target, exact_out, max_legs, slack * (1.0 - 1e-9), out)


@compiled("void(" + _STATE + ", int8[::1], float64[::1], float64, boolean, boolean)")
def top_up(
    levels: Floats,
    offsets: Ints,
    params: Floats,
    modes: Modes,
    lots: Floats,
    target: float,
    exact_out: bool,
    even: bool,
) -> None:
    """Add lots: the best that the rest pays for, or the cheapest way to cover what is missing."""
    count = params.shape[0]
    rest = target
    held = np.zeros(count)
    got = np.zeros(count)
    one = np.full(count, np.nan)
    one_out = np.zeros(count)
    rate = np.zeros(count)
    changed, by_one = -1, False
    for _ in range(4 * count + 4):
        for i in range(count):
            if params[i, LOT] == 0.0 or not (changed < 0 or i == changed):
                continue
            before = got[i] if exact_out else held[i]
            if by_one:
                held[i], got[i] = one[i], one_out[i]
            elif lots[i] > 0.0:
                held[i] = in_for_lots(levels, offsets, params, i, lots[i])
                got[i] = out_for_in(levels, offsets, params, i, held[i])
            rest -= (got[i] if exact_out else held[i]) - before
            if modes[i] != OFF:
                if lots[i] > 0.0:
                    one[i] = in_for_lots(levels, offsets, params, i, lots[i] + 1.0)
                    one_out[i] = out_for_in(levels, offsets, params, i, one[i])
                else:
                    one[i], one_out[i] = params[i, LOT_IN], params[i, LOT_OUT]
                rate[i] = (one_out[i] - got[i]) / (one[i] - held[i]) if one[i] > held[i] else 0.0
        if rest <= 1e-12 * target:
            return
        best = -1
        best_rate = 0.0
        best_lots = 0.0
        for i in range(count):
            if np.isnan(one[i]) or (not exact_out and one[i] > (held[i] + rest) * (1.0 + 1e-13)):
                continue
            if (even or not exact_out) and rate[i] <= best_rate:
                continue
            more = 1.0
            if not even or not tradable(params, i, lots[i] + 1.0):
                if exact_out:
                    more = lots_for_out(levels, offsets, params, i, got[i] + rest) - lots[i]
                else:
                    more = lots_for_in(levels, offsets, params, i, (held[i] + rest) * (1.0 + 1e-13)) - lots[i]
                if not more >= 1.0 or not tradable(params, i, lots[i] + more):
                    continue
            paid = rate[i]
            if exact_out and not even:
                cost = in_for_lots(levels, offsets, params, i, lots[i] + more) - held[i]
                paid = 1.0 / cost if cost > 0.0 else 0.0
            if paid > best_rate:
                best, best_rate, best_lots = i, paid, more
        if best < 0:
            return
        lots[best] += best_lots
        by_one = best_lots == 1.0
        changed = best


@compiled("void(" + _STATE + ", int8[::1], float64[::1], int64, float64)")
def hold(levels: Floats, offsets: Ints, params: Floats, modes: Modes, starts: Floats, i: int, lots: float) -> None:
    """Hold a market at a number of lots; at none it is left out."""
    modes[i] = FROZEN if lots > 0.0 else OFF
    starts[i] = in_for_lots(levels, offsets, params, i, lots) if lots > 0.0 else 0.0


@compiled("float64(float64[:, ::1], int8[::1], int64[::1])")
def coarsest_first(params: Floats, modes: Modes, order: Ints) -> float:
    """List the usable markets that trade in lots, those with the dearest lot first; return how many there are."""
    count = 0
    worth = np.zeros(params.shape[0])
    for i in range(params.shape[0]):
        if modes[i] == OFF or params[i, LOT] == 0.0:
            continue
        worth[i] = 0.0 if np.isnan(params[i, LOT_IN]) else params[i, LOT_IN]
        place = count
        while place > 0 and worth[order[place - 1]] < worth[i]:
            order[place] = order[place - 1]
            place -= 1
        order[place] = i
        count += 1
    return float(count)


@compiled("float64(" + _STATE + ", int8[::1], boolean)")
def dearest_lot(levels: Floats, offsets: Ints, params: Floats, modes: Modes, exact_out: bool) -> float:
    """Return the most that one lot sends for a tender, or brings of a target: what lots may leave over, or exceed."""
    most = 0.0
    for i in range(params.shape[0]):
        if modes[i] == OFF or params[i, LOT] == 0.0:
            continue
        # The last level's lots are the dearest.
        last = params[i, LOT_IN] * max(levels[offsets[i], 0] / levels[offsets[i + 1] - 1, 0], 1.0)
        amount = params[i, LOT_OUT] if exact_out else last
        if amount > most:
            most = amount
    return most


@compiled("float64(float64[:, ::1], int8[::1], int64[::1], int64)")
def common_grain(params: Floats, modes: Modes, order: Ints, held: int) -> float:
    """Return the lot that every market's lots are multiples of; zero when some market trades without, or none is."""
    least = params[order[held - 1], LOT]
    for i in range(params.shape[0]):
        if modes[i] == OFF:
            continue
        least = min(least, params[i, LOT])
    for i in range(params.shape[0]):
        if modes[i] == OFF:
            continue
        if least == 0.0 or params[i, BASE_IS_TAKEN] != params[order[0], BASE_IS_TAKEN]:
            return 0.0
        parts = params[i, LOT] / least
        if abs(parts - np.rint(parts)) > 1e-9 * parts:
            return 0.0
    return float(least)


@compiled("float64(float64[:, ::1], int64, float64, boolean)")
def broken_grain(out: Floats, column: int, grain: float, exact_out: bool) -> float:
    """Return by how much the sum of a column must change to be whole grains: less received, or more sent."""
    grains = out[:, column].sum() / grain
    if exact_out:
        return float(max(np.ceil(grains * (1.0 - 1e-12)) - grains, 0.0) * grain)
    return float(max(grains - np.floor(grains * (1.0 + 1e-12)), 0.0) * grain)


@compiled(_SEARCH[:-1] + ", float64, boolean[::1], float64, float64)")
def fit_lots(
    levels: Floats,
    offsets: Ints,
    params: Floats,
    modes: Modes,
    starts: Floats,
    fixed: Floats,
    lots: Floats,
    target: float,
    exact_out: bool,
    max_legs: int,
    out: Floats,
    worth_beating: float,
    chosen: Flags,
    slack: float,
    bound: float,
) -> float:
    """Find the best whole lots for one choice of markets; leaves them in `lots` and their fill in `out`.

    `slack` is the dearest lot; `bound` what the choice scores in any amounts where `out` holds that fill, NaN where it
    does not. Markets in `chosen` trade at least one lot. Returns -inf where nothing is worth more than
    `worth_beating`. With the lots of some markets held, what the rest is worth in any amounts is concave in the lots of
    the next one: from what it would trade freely, each way is followed until that is no better than the best found.
    """
    count = params.shape[0]
    order = np.empty(count, np.int64)
    held = int(coarsest_first(params, modes, order))
    free = modes.copy()
    begin = starts.copy()
    trial = np.zeros(count)
    best = worth_beating
    asked = target
    grain = common_grain(params, modes, order, held) if held > 0 else 0.0
    even = grain > 0.0
    # Where lots are of the asset received for a tender, or sent for a target, it is the objective that is whole grains.
    column = -1
    if grain > 0.0:
        if exact_out != (params[order[0], BASE_IS_TAKEN] == 1.0):
            column = IN if exact_out else OUT
        elif exact_out:
            target = np.ceil(target / grain * (1.0 - 1e-12)) * grain
        else:
            target = np.floor(target / grain * (1.0 + 1e-12)) * grain
    if not target > 0.0:
        return -np.inf
    filled = not np.isnan(bound) and abs(target - asked) <= 1e-12 * asked
    for place in range(held):
        i = order[place]
        even = even and params[i, LOT] == grain
    if even:
        # Whole lots of one size are filled best one after the other.
        if not filled:
            fill(levels, offsets, params, modes, starts, target, exact_out, out)
        for place in range(held):
            i = order[place]
            trial[i] = max(lots_for_in(levels, offsets, params, i, out[i, IN]), 1.0 if chosen[i] else 0.0)
        top_up(levels, offsets, params, free, trial, target, exact_out, True)
        best = value_lots(levels, offsets, params, modes, starts, fixed, trial, target, exact_out, max_legs, out)
        lots[:] = trial
        return best if best > worth_beating else -np.inf
    below = np.zeros(held)
    above = np.zeros(held)
    low_first = np.zeros(held, np.bool_)
    depth = 0
    entering = True
    found = False
    enough = best + CLOSE_ENOUGH * abs(best) if best > -np.inf else best
    if not filled:
        bound = score(levels, offsets, params, modes, starts, fixed, target, exact_out, max_legs, slack, out)
    if column >= 0:
        bound -= broken_grain(out, column, grain, exact_out)
    if held == 0 or not bound > enough:
        return bound if bound > enough else -np.inf
    for place in range(held):
        i = order[place]
        trial[i] = max(lots_for_in(levels, offsets, params, i, out[i, IN]), 1.0 if chosen[i] else 0.0)
    top_up(levels, offsets, params, modes, trial, target, exact_out, False)
    value = value_lots(levels, offsets, params, modes, starts, fixed, trial, target, exact_out, max_legs, out)
    if value > enough:
        found = True
        best = value
        lots[:] = trial
        if bound <= best + CLOSE_ENOUGH * abs(best):
            return best
        enough = best + CLOSE_ENOUGH * abs(best)
    modes[:] = free
    starts[:] = begin
    score(levels, offsets, params, modes, starts, fixed, target, exact_out, max_legs, slack, out)
    near = bound - NEAR_ENOUGH * abs(bound)
    for node in range(NODES):
        if node >= NODES_ONCE_NEAR and found and best >= near:
            break
        i = order[depth]
        if entering:
            wanted = out[i, OUT if params[i, BASE_IS_TAKEN] == 1.0 else IN] / params[i, LOT]
            below[depth] = np.floor(wanted * (1.0 + 1e-13) + 1e-12)
            above[depth] = below[depth] + 1.0
            low_first[depth] = wanted - below[depth] < 0.5
            entering = False
        if below[depth] < 0.0 and above[depth] < 0.0:
            modes[i] = free[i]
            starts[i] = begin[i]
            depth -= 1
            if depth < 0:
                break
            continue
        downward = above[depth] < 0.0 or (below[depth] >= 0.0 and low_first[depth])
        low_first[depth] = not low_first[depth]
        trial[i] = below[depth] if downward else above[depth]
        hold(levels, offsets, params, modes, starts, i, trial[i])
        allowed = tradable(params, i, trial[i]) and (trial[i] > 0.0 or not chosen[i]) and not np.isnan(starts[i])
        bound = -np.inf
        if allowed and depth + 1 < held:
            bound = score(levels, offsets, params, modes, starts, fixed, target, exact_out, max_legs, slack, out)
            if column >= 0:
                bound -= broken_grain(out, column, grain, exact_out)
        elif allowed:
            bound = value_lots(levels, offsets, params, modes, starts, fixed, trial, target, exact_out, max_legs, out)
        if not bound > enough:
            # Upwards a minimum may still be reached; otherwise it only gets worse.
            if not downward and not allowed and not np.isnan(starts[i]):
                above[depth] += 1.0
            elif downward:
                below[depth] = -1.0
            else:
                above[depth] = -1.0
            continue
        if downward:
            below[depth] -= 1.0
        else:
            above[depth] += 1.0
        if depth + 1 < held:
            depth += 1
            entering = True
        else:
            best = bound
            enough = best + CLOSE_ENOUGH * abs(best)
            found = True
            lots[:] = trial
    if not found:
        return -np.inf
    modes[:] = free
    starts[:] = begin
    return value_lots(levels, offsets, params, modes, starts, fixed, lots, target, exact_out, max_legs, out)
