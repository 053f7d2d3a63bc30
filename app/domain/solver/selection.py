"""Which markets to use when using one is a decision: minimums, fixed costs, a cap on legs."""

import numpy as np

from app.domain.solver.compiled import compiled
from app.domain.solver.kernels import (
    FORCED,
    FREE,
    IN,
    MIN_IN,
    OFF,
    SURPLUS,
    Floats,
    Ints,
    Modes,
    fill,
    score,
    surplus,
)
from app.domain.solver.lots import Flags, dearest_lot

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


@compiled("float64[::1]" + _CHOICE)
def value_subsets(
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
) -> Floats:
    """Value every subset of the open choices, numbered by their bits; lots count as any amounts, a lot amiss."""
    values = np.empty(1 << len(open_choices))
    slack = dearest_lot(levels, offsets, params, modes, exact_out)
    for subset in range(len(values)):
        on = 0
        for bit in range(len(open_choices)):
            on += (subset >> bit) & 1
        if on > max_legs:
            # A market that is used for nothing is left out by another subset.
            values[subset] = -np.inf
            continue
        for bit in range(len(open_choices)):
            switch(params, modes, starts, open_choices[bit], (subset >> bit) & 1 == 1)
        values[subset] = score(levels, offsets, params, modes, starts, fixed, target, exact_out, max_legs, slack, out)
    return values


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
