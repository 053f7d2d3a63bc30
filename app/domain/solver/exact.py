"""Decimal arithmetic wide enough that sums and products of stated amounts are exact."""

from decimal import (
    ROUND_CEILING,
    ROUND_FLOOR,
    ROUND_HALF_EVEN,
    ROUND_UP,
    Context,
    Decimal,
    DivisionByZero,
    InvalidOperation,
)
from fractions import Fraction
from functools import lru_cache
from math import gcd

ZERO = Decimal(0)
ONE = Decimal(1)
BASIS_POINTS = Decimal(10_000)

EXACT = Context(prec=112, rounding=ROUND_HALF_EVEN, Emin=-9999, Emax=9999, traps=[InvalidOperation, DivisionByZero])
"""The context every exact computation of this package runs in."""

MOST = Decimal("1e57")
"""What amounts, sums and prices stay below, so that they divide by any unit within the context's precision."""

LEAST = Decimal("1e-57")
"""What prices and reserves stay above, so that no kernel's float underflows."""

STATED = Context(prec=28, rounding=ROUND_HALF_EVEN, Emin=-9999, Emax=9999)
_SHORT_UP = Context(prec=17, rounding=ROUND_CEILING, Emin=-9999, Emax=9999)
_SHORT_DOWN = Context(prec=17, rounding=ROUND_FLOOR, Emin=-9999, Emax=9999)


@lru_cache(maxsize=256)
def unit(decimals: int) -> Decimal:
    """Return the smallest amount of an asset with so many decimals."""
    return Decimal(1).scaleb(-decimals)


@lru_cache(maxsize=4096)
def common_step(lot: Decimal, unit: Decimal) -> Decimal:
    """Return the least amount that is a multiple of both a lot and a unit, which is a power of ten below one."""
    parts = Fraction(lot)
    return Decimal(parts.numerator) / gcd(parts.denominator, int(ONE / unit))


def floor_to(value: Decimal, step: Decimal) -> Decimal:
    """Round an amount down to a multiple of any step."""
    return value // step * step


def ceil_to(value: Decimal, step: Decimal) -> Decimal:
    """Round an amount up to a multiple of any step."""
    floor = value // step * step
    return floor if floor == value else floor + step


def down(value: Decimal, grid: Decimal) -> Decimal:
    """Round down to a power of ten."""
    return value.quantize(grid, ROUND_FLOOR)


def up(value: Decimal, grid: Decimal) -> Decimal:
    """Round up to a power of ten."""
    return value.quantize(grid, ROUND_CEILING)


def fee_up(value: Decimal, grid: Decimal) -> Decimal:
    """Round a signed fee away from zero to a power of ten."""
    return value.quantize(grid, ROUND_UP)


def short_up(value: Decimal) -> Decimal:
    """Round up to 17 significant digits."""
    return _SHORT_UP.plus(value)


def short_down(value: Decimal) -> Decimal:
    """Round down to 17 significant digits."""
    return _SHORT_DOWN.plus(value)


def inverse_down(value: Decimal) -> Decimal:
    """Return one over a value, rounded down to 17 significant digits."""
    return _SHORT_DOWN.divide(ONE, value)


def ratio_up(numerator: Decimal, denominator: Decimal) -> Decimal:
    """Divide, rounding up to 17 significant digits."""
    return _SHORT_UP.divide(numerator, denominator)


def ratio_down(numerator: Decimal, denominator: Decimal) -> Decimal:
    """Divide, rounding down to 17 significant digits."""
    return _SHORT_DOWN.divide(numerator, denominator)


def ratio(numerator: Decimal, denominator: Decimal) -> Decimal:
    """Divide to 28 significant digits, as stated prices are."""
    return STATED.divide(numerator, denominator)
