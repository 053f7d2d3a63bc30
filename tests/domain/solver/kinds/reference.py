"""The exchange functions once more, by other means: whole numbers, fractions and bisection."""

from collections.abc import Callable, Sequence
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from itertools import pairwise
from math import isqrt

from app.domain.market import Concentrated, Stable, Weighted
from app.domain.values import Asset

WIDE = Context(prec=80, Emin=-9999, Emax=9999)
SCALE = 10**90


def kept(fee_bps: Decimal) -> Fraction:
    """What a fee leaves."""
    return 1 - Fraction(fee_bps) / 10_000


def constant_product_out(reserve_in: Decimal, reserve_out: Decimal, counted: Fraction) -> Fraction:
    """What comes out so that the product stays."""
    return Fraction(reserve_out) - Fraction(reserve_in) * Fraction(reserve_out) / (Fraction(reserve_in) + counted)


def weighted_surplus(pool: Weighted, gives: Asset, takes: Asset, counted: Fraction, out: Fraction) -> Fraction:
    """Positive when the weighted product of the two reserves would rise: `out` is less than the pool owes."""
    into, out_of = int(pool.weights[gives]), int(pool.weights[takes])
    held, paid = Fraction(pool.reserves[gives]), Fraction(pool.reserves[takes])
    return (1 - out / paid) ** out_of - (held / (held + counted)) ** into


def bisect(rises: Callable[[Decimal], Decimal], low: Decimal, high: Decimal) -> Decimal:
    """Find the root of a rising function."""
    for _ in range(280):
        middle = (low + high) / 2
        if rises(middle) < 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def whole_power(value: Decimal, exponent: int) -> Decimal:
    """A whole power by multiplication."""
    result = Decimal(1)
    for _ in range(exponent):
        result *= value
    return result


def stable_invariant(balances: Sequence[Decimal], amplification: Decimal) -> Decimal:
    """D of the contract's equation."""
    with localcontext(WIDE):
        count = len(balances)
        amplified = amplification * count
        total = sum(balances, Decimal(0))
        product = Decimal(1)
        for balance in balances:
            product *= balance

        spread = whole_power(Decimal(count), count) * product

        def excess(whole: Decimal) -> Decimal:
            return amplified * whole + whole_power(whole, count + 1) / spread - amplified * total - whole

        return bisect(excess, Decimal(0), total)


def stable_out(pool: Stable, gives: Asset, takes: Asset, counted: Decimal) -> Decimal:
    """What comes out so that D stays."""
    with localcontext(WIDE):
        rates = {asset: pool.rates.get(asset, Decimal(1)) for asset in pool.reserves}
        scaled = {asset: amount * rates[asset] for asset, amount in pool.reserves.items()}
        whole = stable_invariant(list(scaled.values()), pool.amplification)
        count = len(scaled)
        amplified = pool.amplification * count
        scaled[gives] += counted * rates[gives]
        others = whole_power(Decimal(count), count)
        for asset, balance in scaled.items():
            if asset != takes:
                others *= balance
        rest = sum((balance for asset, balance in scaled.items() if asset != takes), Decimal(0))

        def excess(balance: Decimal) -> Decimal:
            bent = whole_power(whole, count + 1) / (others * balance)
            return amplified * (rest + balance) + whole - amplified * whole - bent

        return (scaled[takes] - bisect(excess, Decimal(0), scaled[takes])) / rates[takes]


def root_at(index: int, shift: int) -> Fraction:
    """The root of the price at a boundary, in whole numbers."""
    price = Fraction(10001, 10000) ** index * Fraction(10) ** shift
    return Fraction(isqrt(price.numerator * SCALE * SCALE // price.denominator), SCALE)


def concentrated_out(pool: Concentrated, shift: int, falls: bool, counted: Fraction) -> tuple[Fraction, Fraction]:
    """What comes out and what is not taken, by integrating the liquidity between two prices."""
    start = Fraction(pool.sqrt_price)
    marks = [root_at(tick.index, shift) for tick in pool.ticks]
    edges = sorted({start, *marks})
    profile = []
    for low, high in pairwise(edges):
        liquidity = Fraction(pool.liquidity)
        for mark, tick in zip(marks, pool.ticks, strict=True):
            if start < mark <= low:
                liquidity += Fraction(tick.liquidity_net)
            elif low < mark <= start:
                liquidity -= Fraction(tick.liquidity_net)
        profile.append((low, high, liquidity))
    out = Fraction(0)
    for low, high, liquidity in reversed(profile) if falls else profile:
        if (falls and low >= start) or (not falls and high <= start) or not liquidity:
            continue
        room = liquidity * (1 / low - 1 / high if falls else high - low)
        if counted < room:
            stop = 1 / (1 / high + counted / liquidity) if falls else low + counted / liquidity
            return out + liquidity * (high - stop if falls else 1 / low - 1 / stop), Fraction(0)
        counted -= room
        out += liquidity * (high - low if falls else 1 / low - 1 / high)
    return out, counted
