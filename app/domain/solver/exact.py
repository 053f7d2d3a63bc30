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
from functools import lru_cache

ZERO = Decimal(0)
ONE = Decimal(1)
BASIS_POINTS = Decimal(10_000)

EXACT = Context(prec=96, rounding=ROUND_HALF_EVEN, Emin=-9999, Emax=9999, traps=[InvalidOperation, DivisionByZero])
"""The context every exact computation of this package runs in."""

STATED = Context(prec=28, rounding=ROUND_HALF_EVEN, Emin=-9999, Emax=9999)
_SHORT_UP = Context(prec=17, rounding=ROUND_CEILING, Emin=-9999, Emax=9999)
_SHORT_DOWN = Context(prec=17, rounding=ROUND_FLOOR, Emin=-9999, Emax=9999)


@lru_cache(maxsize=256)
def unit(decimals: int) -> Decimal:
    """Return the smallest amount of an asset with so many decimals."""
    return Decimal(1).scaleb(-decimals)


def floor_to(value: Decimal, step: Decimal) -> Decimal:
    """Round down to a multiple of any step."""
    return value // step * step


def ceil_to(value: Decimal, step: Decimal) -> Decimal:
    """Round up to a multiple of any step."""
    return -(-value / step).to_integral_value(ROUND_FLOOR) * step


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


def ratio(numerator: Decimal, denominator: Decimal) -> Decimal:
    """Divide to 28 significant digits, as stated prices are."""
    return STATED.divide(numerator, denominator)
