"""The best way to trade one amount over one pair: water-filling, then what makes it a matter of choice."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from app.domain.solver.kernels import (
    FORCED,
    FREE,
    IN,
    LOT,
    MIN_IN,
    OFF,
    OUT,
    RESULTS,
    SURPLUS,
    Floats,
    Ints,
    Modes,
    fill,
    quote,
)
from app.domain.solver.lots import fit_lots, lots_for_in, lots_for_out, try_all_lots
from app.domain.solver.pair import Pair
from app.domain.solver.realise import DUST, Execution, Rows, realise
from app.domain.solver.selection import improve, narrow, switch, value_subsets
from app.domain.solver.sides import Units

ENUMERATED_CHOICES = 8
ENUMERATED_LOTS = 4096.0
IMPROVING_PASSES = 16
SWAPS_PER_PASS = 2048


@dataclass(slots=True)
class Relaxed:
    """Water-filling without lots, minimums, fixed costs and the cap on legs: what the certificate rests on."""

    rows: Rows
    remaining: float
    rate: float
    ended_in: int
    surplus: float
    error: float
    best_alone: int
    legs: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one slice must respect; `fixed` is the cost of using each market, in the asset of the objective."""

    modes: Modes
    fixed: Floats
    max_legs: int
    units: Units


def relax(pair: Pair, modes: Modes, target: Decimal, exact_out: bool) -> Relaxed:
    """Fill a target with every bound but liquidity left out."""
    out = np.empty((len(pair.sides), RESULTS))
    amount = float(target)
    remaining, rate, ended_in, surplus, error, best_alone = quote(
        pair.levels, pair.offsets, pair.params, modes, pair.unstarted, amount, exact_out, out
    )
    rows = out.tolist()
    column = OUT if exact_out else IN
    dust = DUST * amount
    legs = sum(1 for row in rows if row[column] > dust)
    return Relaxed(rows, remaining, rate, ended_in, surplus, error, best_alone, legs)


def execute(
    pair: Pair,
    relaxed: Relaxed,
    bounds: Bounds,
    target: Decimal,
    exact_out: bool,
    should_stop: Callable[[], bool],
) -> Execution | None:
    """Trade a target within all bounds, or return None when that is impossible."""
    if pair.plain and relaxed.legs <= bounds.max_legs:
        return realise(pair, relaxed.rows, relaxed.ended_in, target, exact_out, bounds.units)
    choices = _choices(pair, relaxed, bounds)
    modes, starts = bounds.modes.copy(), pair.unstarted.copy()
    if pair.has_lots:
        exhausted = _try_every_combination(pair, bounds, choices, target, exact_out)
        if exhausted is not None:
            rows = exhausted.tolist()
            return realise(pair, rows, -1, target, exact_out, bounds.units) if rows else None
    if not len(choices) or not _choice_matters(pair, relaxed, bounds):
        return _settle(pair, bounds, modes, starts, target, exact_out)[1]
    if len(choices) <= ENUMERATED_CHOICES:
        return _best_subset(pair, bounds, choices, modes, starts, target, exact_out, should_stop)
    if _search(pair, bounds, choices, modes, starts, float(target), exact_out, should_stop) == -np.inf:
        return None
    return _settle(pair, bounds, modes, starts, target, exact_out)[1]


def _settle(
    pair: Pair, bounds: Bounds, modes: Modes, starts: Floats, target: Decimal, exact_out: bool
) -> tuple[float, Execution | None]:
    out = np.empty((len(pair.sides), RESULTS))
    ended_in = -1
    if pair.has_lots:
        lots = np.zeros(len(pair.sides))
        value = fit_lots(
            pair.levels, pair.offsets, pair.params, modes, starts, bounds.fixed, lots, float(target), exact_out,
            bounds.max_legs, out,
        )  # fmt: skip
        if value == -np.inf:
            return value, None
    else:
        value = 0.0
        _remaining, _rate, ended_in = fill(
            pair.levels, pair.offsets, pair.params, modes, starts, float(target), exact_out, out
        )
    return value, realise(pair, out.tolist(), ended_in, target, exact_out, bounds.units)


def _best_subset(
    pair: Pair,
    bounds: Bounds,
    choices: Ints,
    modes: Modes,
    starts: Floats,
    target: Decimal,
    exact_out: bool,
    should_stop: Callable[[], bool],
) -> Execution | None:
    out = np.empty((len(pair.sides), RESULTS))
    values = value_subsets(
        pair.levels, pair.offsets, pair.params, modes, starts, bounds.fixed, choices, float(target), exact_out,
        bounds.max_legs, out,
    )  # fmt: skip
    best, best_value = None, -np.inf
    # Whole lots can only lower a subset's value, so the order of the values tells when to stop.
    for subset in np.argsort(-values, kind="stable").tolist():
        if values[subset] <= best_value or values[subset] == -np.inf or (best is not None and should_stop()):
            break
        for bit, i in enumerate(choices):
            switch(pair.params, modes, starts, i, bool(subset >> bit & 1))
        value, execution = _settle(pair, bounds, modes.copy(), starts.copy(), target, exact_out)
        if execution is None:
            continue
        if not pair.has_lots:
            return execution
        if value > best_value:
            best, best_value = execution, value
    return best


def _choices(pair: Pair, relaxed: Relaxed, bounds: Bounds) -> Ints:
    crowded = relaxed.legs > bounds.max_legs
    chosen = [
        i
        for i, side in enumerate(pair.sides)
        if bounds.modes[i] != OFF and (crowded or side.min_base > 0 or bounds.fixed[i] != 0.0)
    ]
    chosen.sort(key=lambda i: (-(relaxed.rows[i][SURPLUS]), i))
    return np.array(chosen, np.int64)


def _choice_matters(pair: Pair, relaxed: Relaxed, bounds: Bounds) -> bool:
    if relaxed.legs > bounds.max_legs or bool(bounds.fixed.any()):
        return True
    minimums = pair.params[:, MIN_IN].tolist()
    return any(0.0 < row[IN] < minimum for row, minimum in zip(relaxed.rows, minimums, strict=True))


def _search(
    pair: Pair,
    bounds: Bounds,
    choices: Ints,
    modes: Modes,
    starts: Floats,
    target: float,
    exact_out: bool,
    should_stop: Callable[[], bool],
) -> float:
    out = np.empty((len(pair.sides), RESULTS))
    arguments = (
        pair.levels, pair.offsets, pair.params, modes, starts, bounds.fixed, choices, target, exact_out,
        bounds.max_legs, out,
    )  # fmt: skip
    best = narrow(*arguments)
    for _ in range(IMPROVING_PASSES):
        if should_stop():
            break
        better = improve(*arguments, best, SWAPS_PER_PASS)
        if not better > best:
            break
        best = better
    return best


def _try_every_combination(
    pair: Pair,
    bounds: Bounds,
    choices: Ints,
    target: Decimal,
    exact_out: bool,
) -> Floats | None:
    amount = float(target)
    most = np.zeros(len(pair.sides))
    combinations = 1.0
    for i in range(len(pair.sides)):
        if bounds.modes[i] == OFF or pair.params[i, LOT] == 0.0:
            continue
        held = lots_for_in(pair.levels, pair.offsets, pair.params, i, np.inf if exact_out else amount)
        if exact_out:
            needed = lots_for_out(pair.levels, pair.offsets, pair.params, i, amount)
            held = held if np.isnan(needed) else min(held, needed)
        most[i] = held
        combinations *= held + 1.0
        if not combinations <= ENUMERATED_LOTS:
            return None
    others = [int(i) for i in choices if pair.params[i, LOT] == 0.0]
    if not combinations * 2.0 ** len(others) <= ENUMERATED_LOTS:
        return None
    best_value, best = -np.inf, np.empty((0, RESULTS))
    for subset in range(1 << len(others)):
        modes, starts = bounds.modes.copy(), pair.unstarted.copy()
        for bit, i in enumerate(others):
            starts[i] = pair.params[i, MIN_IN]
            on = FORCED if starts[i] > 0.0 else FREE
            modes[i] = on if subset >> bit & 1 else OFF
        lots, out = most.copy(), np.empty((len(pair.sides), RESULTS))
        value = try_all_lots(
            pair.levels, pair.offsets, pair.params, modes, starts, bounds.fixed, lots, amount, exact_out,
            bounds.max_legs, out,
        )  # fmt: skip
        if value > best_value:
            best_value, best = value, out
    return best
