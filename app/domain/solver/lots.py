"""Whole lots: floor what water-filling wants, spend the rest well, then move lots where that helps."""

import numpy as np

from app.domain.solver.compiled import compiled
from app.domain.solver.kernels import (
    BASE_IS_TAKEN,
    FORCED,
    FROZEN,
    IN,
    LOT,
    MIN_BASE,
    OFF,
    Floats,
    Ints,
    Modes,
    fill,
    in_for_out,
    out_for_in,
    score,
)

_STATE = "float64[:, ::1], int64[::1], float64[:, ::1]"
_SEARCH = (
    "float64("
    + _STATE
    + ", int8[::1], float64[::1], float64[::1], float64[::1], float64, boolean, int64, float64[:, ::1])"
)

MOVABLE_LOTS = 24


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
    for _ in range(4 * count + 4):
        rest = target
        for i in range(count):
            if params[i, LOT] > 0.0 and lots[i] > 0.0:
                amount = in_for_lots(levels, offsets, params, i, lots[i])
                rest -= out_for_in(levels, offsets, params, i, amount) if exact_out else amount
        if rest <= 1e-12 * target:
            return
        best = -1
        best_rate = 0.0
        best_lots = 0.0
        for i in range(count):
            if params[i, LOT] == 0.0 or modes[i] == OFF:
                continue
            held = in_for_lots(levels, offsets, params, i, lots[i])
            if exact_out:
                got = out_for_in(levels, offsets, params, i, held)
                more = lots_for_out(levels, offsets, params, i, got + rest) - lots[i]
            else:
                more = lots_for_in(levels, offsets, params, i, (held + rest) * (1.0 + 1e-13)) - lots[i]
            if exact_out and even and more > 1.0 and tradable(params, i, lots[i] + 1.0):
                more = 1.0
            if not more >= 1.0 or not tradable(params, i, lots[i] + more):
                continue
            cost = in_for_lots(levels, offsets, params, i, lots[i] + more) - held
            if np.isnan(cost) or cost <= 0.0:
                continue
            if exact_out and not even:
                rate = 1.0 / cost
            else:
                one = in_for_lots(levels, offsets, params, i, lots[i] + 1.0)
                rate = (out_for_in(levels, offsets, params, i, one) - out_for_in(levels, offsets, params, i, held)) / (
                    one - held
                )
                more = 1.0 if tradable(params, i, lots[i] + 1.0) else more
            if rate > best_rate:
                best, best_rate, best_lots = i, rate, more
        if best < 0:
            return
        lots[best] += best_lots


@compiled("float64(" + _STATE + ", float64[::1], int64, float64, boolean, float64)")
def counterpart(
    levels: Floats,
    offsets: Ints,
    params: Floats,
    lots: Floats,
    j: int,
    target: float,
    exact_out: bool,
    sign: float,
) -> float:
    """Find the lots of one market that make up for one lot more, or less, on another."""
    rest = target
    for i in range(params.shape[0]):
        if i != j and params[i, LOT] > 0.0 and lots[i] > 0.0:
            amount = in_for_lots(levels, offsets, params, i, lots[i])
            rest -= out_for_in(levels, offsets, params, i, amount) if exact_out else amount
    if np.isnan(rest):
        return -1.0
    fitting = (
        lots_for_out(levels, offsets, params, j, rest)
        if exact_out
        else lots_for_in(levels, offsets, params, j, rest * (1.0 + 1e-13))
    )
    return min(fitting, lots[j] - sign) if sign > 0.0 else fitting


@compiled(_SEARCH)
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
) -> float:
    """Round one choice of markets to whole lots; leaves the lots, and their fill in `out`."""
    count = params.shape[0]
    usable = modes.copy()
    whole = True
    even = True
    movable = 0
    lot = 0.0
    for i in range(count):
        if modes[i] == OFF:
            continue
        if params[i, LOT] == 0.0:
            whole = False
            continue
        movable += 1
        even = even and (lot == 0.0 or params[i, LOT] == lot)
        lot = params[i, LOT]
    for _ in range(16):
        fill(levels, offsets, params, modes, starts, target, exact_out, out)
        grew = False
        for i in range(count):
            if usable[i] == OFF or params[i, LOT] == 0.0:
                continue
            fitting = lots_for_in(levels, offsets, params, i, out[i, IN])
            if fitting > lots[i] and tradable(params, i, fitting):
                lots[i] = fitting
                starts[i] = in_for_lots(levels, offsets, params, i, fitting)
                modes[i] = FORCED
                grew = True
        if not grew or not whole:
            break
    if whole:
        top_up(levels, offsets, params, usable, lots, target, exact_out, even)
    best = value_lots(levels, offsets, params, modes, starts, fixed, lots, target, exact_out, max_legs, out)
    trial = lots.copy()
    # Whole lots of one size are filled best one after the other; only uneven ones are worth moving about.
    settled = whole and even and best > -np.inf
    for _pass in range(0 if settled or movable > MOVABLE_LOTS else 2):
        better = False
        for i in range(count):
            if usable[i] == OFF or params[i, LOT] == 0.0:
                continue
            for j in range(-1, count):
                if j >= 0 and (j == i or usable[j] == OFF or params[j, LOT] == 0.0):
                    continue
                for sign in (-1.0, 1.0):
                    trial[:] = lots
                    trial[i] += sign
                    if j >= 0:
                        trial[j] = counterpart(levels, offsets, params, trial, j, target, exact_out, sign)
                    if trial[i] < 0.0 or not trial[j if j >= 0 else i] >= 0.0:
                        continue
                    if whole and not exact_out:
                        top_up(levels, offsets, params, usable, trial, target, exact_out, even)
                    value = value_lots(
                        levels, offsets, params, modes, starts, fixed, trial, target, exact_out, max_legs, out
                    )
                    if value - best > 1e-13 * abs(value):
                        best = value
                        lots[:] = trial
                        better = True
        if not better:
            break
    return value_lots(levels, offsets, params, modes, starts, fixed, lots, target, exact_out, max_legs, out)


@compiled(_SEARCH)
def try_all_lots(
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
    """Try every combination of whole lots up to those given in `lots`; leaves the best one there."""
    count = params.shape[0]
    most = lots.copy()
    trial = np.zeros(count)
    best = -np.inf
    while True:
        value = value_lots(levels, offsets, params, modes, starts, fixed, trial, target, exact_out, max_legs, out)
        if value > best:
            best = value
            lots[:] = trial
        i = 0
        while i < count:
            if most[i] > 0.0:
                if trial[i] < most[i]:
                    trial[i] += 1.0
                    break
                trial[i] = 0.0
            i += 1
        if i == count:
            break
    return value_lots(levels, offsets, params, modes, starts, fixed, lots, target, exact_out, max_legs, out)
