"""The best way to trade one amount over one pair: water-filling, then what makes it a matter of choice."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

import numpy as np

from app.domain.solver.kernels import (
    IN,
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
from app.domain.solver.lots import dearest_lot, fit_lots
from app.domain.solver.pair import Pair
from app.domain.solver.realise import DUST, Execution, Rows, realise
from app.domain.solver.selection import best_subset, improve, narrow
from app.domain.solver.sides import Units

ENUMERATED_CHOICES = 8
"""Up to so many every subset is bounded, 256 at most; beyond, single switches and exchanges improve one."""

IMPROVING_PASSES = 16
SWAPS_PER_PASS = 2048
"""How many exchanges are tried before the clock is looked at."""

FITTED_AT_A_TIME = 8
"""How many subsets are fitted to whole lots before the clock is looked at."""

_UNBOUNDED: Floats = np.full(1 << ENUMERATED_CHOICES, np.inf)


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


class Settled(NamedTuple):
    """One subset of the choices, numbered by its bits: its fill, and the book that ended in."""

    subset: int
    rows: Rows
    ended_in: int


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
    usable = len(pair.sides) if bounds.modes is pair.free else int(np.count_nonzero(bounds.modes))
    crowded = relaxed.legs > bounds.max_legs
    # What lots and minimums leave over may need another market than those that water-filling uses.
    may_crowd = not crowded and usable > bounds.max_legs
    execution = None
    if not may_crowd or usable > ENUMERATED_CHOICES:
        execution = _choose(pair, relaxed, bounds, target, exact_out, should_stop, crowded=crowded)
    if execution is None and may_crowd:
        execution = _choose(pair, relaxed, bounds, target, exact_out, should_stop, crowded=True)
    return execution


def _choose(
    pair: Pair, relaxed: Relaxed, bounds: Bounds, target: Decimal, exact_out: bool, should_stop: Callable[[], bool],
    *, crowded: bool,
) -> Execution | None:  # fmt: skip
    choices = _choices(pair, relaxed, bounds, crowded=crowded)
    matters = len(choices) and (crowded or _choice_matters(pair, relaxed, bounds))
    if matters and len(choices) <= ENUMERATED_CHOICES:
        return _best_subset(pair, bounds, choices, relaxed.rate, target, exact_out, should_stop)
    modes, starts = bounds.modes.copy(), pair.unstarted.copy()
    if not matters:
        return _settled(pair, bounds, modes, starts, target, exact_out)
    if _search(pair, bounds, choices, modes, starts, float(target), exact_out, should_stop) == -np.inf:
        return None
    return _settled(pair, bounds, modes, starts, target, exact_out)


def _settled(
    pair: Pair, bounds: Bounds, modes: Modes, starts: Floats, target: Decimal, exact_out: bool
) -> Execution | None:
    count = len(pair.sides)
    out = np.empty((count, RESULTS))
    ended_in = -1
    if pair.has_lots:
        value = fit_lots(
            pair.levels, pair.offsets, pair.params, modes, starts, bounds.fixed, np.zeros(count), float(target),
            exact_out, bounds.max_legs, out, -np.inf, np.zeros(count, np.bool_),
            dearest_lot(pair.levels, pair.offsets, pair.params, modes, exact_out), np.nan,
        )  # fmt: skip
        if value == -np.inf:
            return None
    else:
        _remaining, _rate, ended_in = fill(
            pair.levels, pair.offsets, pair.params, modes, starts, float(target), exact_out, out
        )
    return realise(pair, out.tolist(), ended_in, target, exact_out, bounds.units)


def _best_subset(
    pair: Pair,
    bounds: Bounds,
    choices: Ints,
    rate: float,
    target: Decimal,
    exact_out: bool,
    should_stop: Callable[[], bool],
) -> Execution | None:
    impossible: list[int] = []
    while True:
        settled = _search_subsets(pair, bounds, choices, rate, target, exact_out, should_stop, impossible)
        if settled is None:
            return None
        subset, rows, ended_in = settled
        execution = realise(pair, rows, ended_in, target, exact_out, bounds.units)
        if execution is not None or should_stop():
            return execution
        # A float's rounding may have made the best impossible: then the next one.
        impossible.append(subset)


def _search_subsets(
    pair: Pair, bounds: Bounds, choices: Ints, rate: float, target: Decimal, exact_out: bool,
    should_stop: Callable[[], bool], impossible: list[int],
) -> Settled | None:  # fmt: skip
    out = np.empty((len(pair.sides), RESULTS))
    worth = _UNBOUNDED[: 1 << len(choices)].copy()
    valued = np.zeros(len(worth), np.bool_)
    if impossible:
        worth[impossible] = -np.inf
        valued[impossible] = True
    settled, best, finished = None, -np.inf, False
    while not finished:
        best, subset, ended_in, finished = best_subset(
            pair.levels, pair.offsets, pair.params, bounds.modes.copy(), pair.unstarted.copy(), bounds.fixed, choices,
            float(target), exact_out, bounds.max_legs, rate, pair.has_lots, worth, valued, best, FITTED_AT_A_TIME, out,
        )  # fmt: skip
        if subset >= 0:
            settled = Settled(subset, out.tolist(), ended_in)
        if settled is not None and should_stop():
            break
    return settled


def _choices(pair: Pair, relaxed: Relaxed, bounds: Bounds, *, crowded: bool) -> Ints:
    ranked = [
        (-row[SURPLUS], i)
        for i, (row, mode, least, cost) in enumerate(
            zip(relaxed.rows, bounds.modes.tolist(), pair.minimums, bounds.fixed.tolist(), strict=True)
        )
        if mode != OFF and (crowded or least > 0.0 or cost != 0.0)
    ]
    ranked.sort()
    return np.array([i for _, i in ranked], np.int64)


def _choice_matters(pair: Pair, relaxed: Relaxed, bounds: Bounds) -> bool:
    if pair.has_fixed_costs and any(bounds.fixed.tolist()):
        return True
    if pair.has_lots and pair.has_minimums:
        # What lots leave over may go to a market that was not used before.
        return True
    return any(0.0 < row[IN] < minimum for row, minimum in zip(relaxed.rows, pair.minimums, strict=True))


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
