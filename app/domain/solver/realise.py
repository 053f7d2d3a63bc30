"""From the kernels' floats to stated amounts: every leg simulated exactly, the sums exact too."""

from dataclasses import dataclass
from decimal import Decimal

from app.domain.solver.exact import ZERO
from app.domain.solver.kernels import FRACTION, IN, OUT, REACHED
from app.domain.solver.pair import Pair
from app.domain.solver.sides import BookSide, Fill, Side, Units

Rows = list[list[float]]

DUST = 1e-14


@dataclass(slots=True)
class Execution:
    """Fills by side, and what they add up to."""

    fills: dict[int, Fill]
    sends: Decimal
    receives: Decimal


def total(fills: dict[int, Fill]) -> Execution:
    """Add fills up."""
    sends = receives = ZERO
    for fill in fills.values():
        sends += fill.sends
        receives += fill.receives
    return Execution(fills, sends, receives)


def realise(pair: Pair, rows: Rows, ended_in: int, target: Decimal, exact_out: bool, units: Units) -> Execution | None:
    """Simulate what the kernels chose and let one leg absorb the rounding; None when the target is not reached."""
    column = OUT if exact_out else IN
    dust = DUST * float(target)
    used = [i for i, row in enumerate(rows) if row[IN] > 0.0 and row[column] > dust]
    free = [i for i in used if pair.sides[i].lot is None]
    if not free:
        return _whole_lots(pair, rows, used, target, exact_out, units)
    if (
        ended_in in free
        and _has_room(pair.sides[ended_in], rows[ended_in])
        and rows[ended_in][column] > 1e-6 * dust / DUST
    ):
        absorber = ended_in
    else:
        absorber = max(free, key=lambda i: (_has_room(pair.sides[i], rows[i]), rows[i][column]))
    fills: dict[int, Fill] = {}
    covered = ZERO
    for i in used:
        if i != absorber:
            fill = _simulate(pair.sides[i], rows[i], units)
            if fill is not None:
                fills[i] = fill
                covered += fill.receives if exact_out else fill.sends
    while True:
        last = _complete(pair.sides[absorber], target - covered, exact_out, units)
        if last is not None:
            fills[absorber] = last
            return total(fills)
        # The absorber is exhausted: fill it and let the next leg that is not whole lots take the difference.
        if not exact_out:
            return _within(pair, fills, target, exact_out, units)
        free.remove(absorber)
        fill = _simulate(pair.sides[absorber], rows[absorber], units)
        if fill is not None:
            fills[absorber] = fill
            covered += fill.receives
        if not free:
            return total(fills) if covered >= target else None
        absorber = free[0]
        removed = fills.pop(absorber, None)
        covered -= removed.receives if removed is not None else ZERO


def _has_room(side: Side, row: list[float]) -> bool:
    if not isinstance(side, BookSide):
        return True
    return row[REACHED] < len(side.prices) and (side.min_in == 0.0 or row[IN] > side.min_in * (1.0 + 1e-9))


def _simulate(side: Side, row: list[float], units: Units) -> Fill | None:
    if isinstance(side, BookSide):
        return side.take(int(row[REACHED]), row[FRACTION], units)
    return side.send(row[IN], units)


def _complete(side: Side, rest: Decimal, exact_out: bool, units: Units) -> Fill | None:
    if rest <= 0:
        return None
    fill = side.obtain(rest, units) if exact_out else side.spend(rest, units)
    if fill is not None and isinstance(side, BookSide) and side.min_base:
        base = fill.receives if side.buys else fill.sends
        if base < side.min_base:
            return None
    return fill


def _whole_lots(
    pair: Pair, rows: Rows, used: list[int], target: Decimal, exact_out: bool, units: Units
) -> Execution | None:
    fills: dict[int, Fill] = {}
    for i in used:
        fill = _simulate(pair.sides[i], rows[i], units)
        if fill is not None:
            fills[i] = fill
    return _within(pair, fills, target, exact_out, units)


def _within(pair: Pair, fills: dict[int, Fill], target: Decimal, exact_out: bool, units: Units) -> Execution | None:
    for _ in range(len(fills) + 1):
        execution = total(fills)
        if execution.receives >= target if exact_out else execution.sends <= target:
            return execution if fills else None
        # Only a float's rounding can have tipped the sum: a lot or so on one leg puts it right.
        amiss = target - execution.receives if exact_out else execution.sends - target
        if not any(_nudge(pair.sides[i], i, fills, amiss, exact_out, units) for i in list(fills)):
            return None
    return None


def _nudge(side: Side, i: int, fills: dict[int, Fill], amiss: Decimal, exact_out: bool, units: Units) -> bool:
    if not isinstance(side, BookSide) or side.lot is None:
        return False
    before = fills[i]
    after = side.obtain(before.receives + amiss, units) if exact_out else side.spend(before.sends - amiss, units)
    if after is None:
        if not exact_out:
            del fills[i]
        return not exact_out
    if (after.receives if side.buys else after.sends) < side.min_base:
        return False
    fills[i] = after
    return True
