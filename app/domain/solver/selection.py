"""Which markets to use when using one is a decision: minimums, fixed costs, a cap on legs."""

import numpy as np

from app.domain.compiled import compiled
from app.domain.solver.kernels import (
    DEPTH_IN,
    DEPTH_OUT,
    FORCED,
    FREE,
    IN,
    KEPT,
    KIND,
    MIN_IN,
    OFF,
    POOL,
    SURPLUS,
    Flags,
    Floats,
    Ints,
    Modes,
    fill,
    out_for_in,
    surplus,
)
from app.domain.solver.lots import CLOSE_ENOUGH, dearest_lot, fit_lots
from app.domain.solver.scoring import appraise, score

_CHOICE = (
    "(float64[:, ::1], int64[::1], float64[:, ::1], int8[::1], float64[::1], float64[::1], int64[::1], float64, "
    "boolean, int64, float64[:, ::1])"
)


@compiled("void(float64[:, ::1], int8[::1], float64[::1], int64, boolean)")
def switch(params: Floats, modes: Modes, starts: Floats, i: int, on: bool) -> None:
    """Use a market, from its minimum on, or leave it."""
    starts[i] = params[i, MIN_IN]
    if on:
        modes[i] = FORCED if params[i, MIN_IN] > 0.0 else FREE
    else:
        modes[i] = OFF


@compiled("void(float64[:, ::1], int8[::1], float64[::1], int64[::1], int64, boolean[::1])")
def switch_all(params: Floats, modes: Modes, starts: Floats, choices: Ints, subset: int, chosen: Flags) -> None:
    """Use the choices in a subset, numbered by its bits, and leave the others."""
    for bit in range(len(choices)):
        chosen[choices[bit]] = (subset >> bit) & 1 == 1
        switch(params, modes, starts, choices[bit], chosen[choices[bit]])


@compiled("float64(float64[:, ::1], int64[::1], float64[:, ::1], int64, float64)")
def most_above(levels: Floats, offsets: Ints, params: Floats, i: int, rate: float) -> float:
    """Find the most that a market, used from its minimum on, can pay above a rate."""
    least = params[i, MIN_IN]
    if params[i, KIND] == POOL:
        first = params[i, KEPT] * params[i, DEPTH_OUT] / params[i, DEPTH_IN]
        return float(params[i, DEPTH_OUT] * (1.0 - np.sqrt(rate / first)) ** 2) if first > rate else 0.0
    low, high = offsets[i], offsets[i + 1]
    while low < high:
        middle = (low + high) >> 1
        if levels[middle, 0] > rate:
            low = middle + 1
        else:
            high = middle
    paid, spent = 0.0, 0.0
    if low > offsets[i]:
        paid = levels[low - 1, 4] + levels[low - 1, 2]
        spent = levels[low - 1, 3] + levels[low - 1, 1]
    if spent < least:
        # Without enough liquidity for its minimum a market is of no use; that is found when the subset is filled.
        received = out_for_in(levels, offsets, params, i, least)
        if not np.isnan(received):
            paid, spent = received, least
    return float(paid - rate * spent)


@compiled(
    "void(float64[:, ::1], int64[::1], float64[:, ::1], int8[::1], float64[::1], int64[::1], float64, boolean, "
    "float64, boolean[::1], float64[::1])"
)
def tighten(
    levels: Floats,
    offsets: Ints,
    params: Floats,
    modes: Modes,
    fixed: Floats,
    open_choices: Ints,
    target: float,
    exact_out: bool,
    rate: float,
    valued: Flags,
    worth: Floats,
) -> None:
    """Lower what each subset not yet valued can be worth to its dual bound at a rate.

    No fill of a subset receives more than the rate pays for its tender and each market in it pays above the rate; a
    market used from its minimum on pays no more than that, less its fixed cost.
    """
    count = params.shape[0]
    # `modes` are those of the markets that are no matter of choice.
    unit = 1.0 / rate if exact_out else 1.0
    begins = -target * unit if exact_out else rate * target
    adds = np.zeros(count)
    for i in range(count):
        adds[i] = most_above(levels, offsets, params, i, rate) * unit - fixed[i]
        if params[i, MIN_IN] == 0.0:
            adds[i] = max(adds[i], 0.0)
    is_choice = np.zeros(count, np.bool_)
    for i in open_choices:
        is_choice[i] = True
    for i in range(count):
        if not is_choice[i] and modes[i] != OFF:
            begins += max(adds[i], 0.0)
    begins += 1e-11 * abs(begins)
    sums = np.empty(len(worth))
    sums[0] = begins
    for bit in range(len(open_choices)):
        added = adds[open_choices[bit]]
        for subset in range(1 << bit):
            sums[subset + (1 << bit)] = sums[subset] + added
    for subset in range(len(worth)):
        if not valued[subset] and sums[subset] < worth[subset]:
            worth[subset] = sums[subset]


@compiled(
    "Tuple((float64, int64, int64, boolean))(float64[:, ::1], int64[::1], float64[:, ::1], int8[::1], float64[::1], "
    "float64[::1], int64[::1], float64, boolean, int64, float64, boolean, float64[::1], boolean[::1], float64, "
    "int64, float64[:, ::1])"
)
def best_subset(
    levels: Floats,
    offsets: Ints,
    params: Floats,
    modes: Modes,
    starts: Floats,
    fixed: Floats,
    open_choices: Ints,
    target: float,
    exact_out: bool,
    max_legs: int,
    rate: float,
    in_lots: bool,
    worth: Floats,
    valued: Flags,
    best: float,
    most_fitted: int,
    out: Floats,
) -> tuple[float, int, int, bool]:
    """Fill the best subset of the open choices; return its value, its number by bits, last book, and if this is all.

    `worth` bounds what each subset can be worth, `valued` says which bounds are the value itself, both kept from call
    to call; a subset once fitted is worth -inf. The subset is -1 where none tried is better than `best`. `rate` is a
    first guess of the marginal rate.
    """
    count = params.shape[0]
    chosen = np.zeros(count, np.bool_)
    begin = modes.copy()
    switch_all(params, modes, starts, open_choices, len(worth) - 1, chosen)
    slack = dearest_lot(levels, offsets, params, modes, exact_out) if in_lots else 0.0
    for subset in range(len(worth) if len(open_choices) > max_legs else 0):
        on = 0
        for bit in range(len(open_choices)):
            on += (subset >> bit) & 1
        if on > max_legs:
            # A market that is used for nothing is left out by another subset.
            worth[subset] = -np.inf
    rate_is_new = rate > 0.0
    trial = np.empty_like(out)
    lots = np.zeros(count)
    found = -1
    fitted = 0
    in_trial = -1
    while True:
        subset = int(np.argmax(worth))
        # Whole lots can only lower a subset's value.
        enough = best + CLOSE_ENOUGH * abs(best) if best > -np.inf else best
        if not worth[subset] > enough:
            return best, found, -1, True
        if rate_is_new and not valued[subset]:
            tighten(levels, offsets, params, begin, fixed, open_choices, target, exact_out, rate, valued, worth)
            rate_is_new = False
            continue
        modes[:] = begin
        starts[:] = 0.0
        switch_all(params, modes, starts, open_choices, subset, chosen)
        if not valued[subset] or not in_lots:
            remaining, rate, ended_in = fill(levels, offsets, params, modes, starts, target, exact_out, trial)
            if valued[subset]:
                best = worth[subset]
                worth[subset] = -np.inf
                out[:] = trial
                return best, subset, ended_in, True
            worth[subset] = appraise(params, fixed, remaining, target, exact_out, max_legs, slack, trial)
            valued[subset] = True
            in_trial = subset
            rate_is_new = remaining <= 0.0 and rate > 0.0
            continue
        if fitted >= most_fitted:
            return best, found, -1, False
        fitted += 1
        value = fit_lots(
            levels, offsets, params, modes, starts, fixed, lots, target, exact_out, max_legs, trial, best, chosen,
            slack, worth[subset] if in_trial == subset else np.nan,
        )  # fmt: skip
        worth[subset] = -np.inf
        in_trial = -1
        if value > best:
            best = value
            found = subset
            out[:] = trial


@compiled("float64" + _CHOICE)
def narrow(
    levels: Floats,
    offsets: Ints,
    params: Floats,
    modes: Modes,
    starts: Floats,
    fixed: Floats,
    open_choices: Ints,
    target: float,
    exact_out: bool,
    max_legs: int,
    out: Floats,
) -> float:
    """Use every open choice, then leave the least useful ones until all bounds hold; or use the best one alone."""
    for i in open_choices:
        modes[i] = FREE
    best = -np.inf
    while True:
        _remaining, rate, _ended_in = fill(levels, offsets, params, modes, starts, target, exact_out, out)
        surplus(levels, offsets, params, modes, rate, out)
        on = 0
        legs = 0
        for i in range(params.shape[0]):
            if modes[i] != OFF and out[i, IN] > 0.0:
                legs += 1
        for i in open_choices:
            if modes[i] == OFF:
                continue
            if out[i, IN] <= 0.0:
                modes[i] = OFF
                continue
            on += 1
            if out[i, IN] < params[i, MIN_IN]:
                out[i, SURPLUS] *= out[i, IN] / params[i, MIN_IN]
            out[i, SURPLUS] -= fixed[i] * rate if exact_out else fixed[i]
            switch(params, modes, starts, i, True)
        best = score(levels, offsets, params, modes, starts, fixed, target, exact_out, max_legs, 0.0, out)
        if best > -np.inf or on == 0:
            break
        for _drop in range(max(1, (legs - max_legs) // 2)):
            worst = -1
            for i in open_choices:
                if modes[i] != OFF and (worst < 0 or out[i, SURPLUS] < out[worst, SURPLUS]):
                    worst = i
            if worst >= 0:
                modes[worst] = OFF
        for i in open_choices:
            if modes[i] != OFF:
                modes[i] = FREE
    kept = modes.copy()
    for i in open_choices:
        modes[i] = OFF
    alone = -1
    for i in open_choices:
        switch(params, modes, starts, i, True)
        value = score(levels, offsets, params, modes, starts, fixed, target, exact_out, max_legs, 0.0, out)
        switch(params, modes, starts, i, False)
        if value > best:
            best = value
            alone = i
    if alone >= 0:
        switch(params, modes, starts, alone, True)
    else:
        modes[:] = kept
    return best


@compiled("float64" + _CHOICE[:-1] + ", float64, int64)")
def improve(
    levels: Floats,
    offsets: Ints,
    params: Floats,
    modes: Modes,
    starts: Floats,
    fixed: Floats,
    open_choices: Ints,
    target: float,
    exact_out: bool,
    max_legs: int,
    out: Floats,
    best: float,
    max_swaps: int,
) -> float:
    """Take each single switch, then each exchange of two, that makes the choice better."""
    for i in open_choices:
        switch(params, modes, starts, i, modes[i] == OFF)
        value = score(levels, offsets, params, modes, starts, fixed, target, exact_out, max_legs, 0.0, out)
        if value > best:
            best = value
        else:
            switch(params, modes, starts, i, modes[i] == OFF)
    swaps = 0
    for j in open_choices:
        if modes[j] != OFF:
            continue
        for i in open_choices:
            if modes[i] == OFF:
                continue
            if swaps >= max_swaps:
                return best
            swaps += 1
            switch(params, modes, starts, i, False)
            switch(params, modes, starts, j, True)
            value = score(levels, offsets, params, modes, starts, fixed, target, exact_out, max_legs, 0.0, out)
            if value > best:
                best = value
                break
            switch(params, modes, starts, j, False)
            switch(params, modes, starts, i, True)
    return best
