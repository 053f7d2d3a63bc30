"""Two to eight reserves with relative weights: `out = y * (1 - (x / (x + c)) ** (weight in / weight out))`."""

from bisect import bisect_left
from decimal import Context, Decimal, DivisionByZero, InvalidOperation
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate
from typing import Self

import numpy as np

from app.domain.market import Weighted
from app.domain.solver.exact import EXACT, ONE, ZERO
from app.domain.solver.kinds.base import POWERED, Floats
from app.domain.solver.kinds.pool import PoolExchange, PoolState, kept_of
from app.domain.solver.kinds.whole import Whole, WholePool, WholePower
from app.domain.solver.sides import Units, usable
from app.domain.values import Asset

_POWERS = Context(
    prec=72, rounding=EXACT.rounding, Emin=EXACT.Emin, Emax=EXACT.Emax, traps=[InvalidOperation, DivisionByZero]
)
"""An amount of 1e-36 of a reserve still leaves 36 correct digits after the subtraction from one."""
_LEAST_LEFT = Decimal("1e-80")
"""The share of a reserve that any trade leaves behind."""
_LARGEST_ROOT = 16
_TRUSTED = 1e-290
_REFINEMENTS = 3
"""Each doubles the digits of a float, of which there are at least fifteen."""
_SERIES = Context(
    prec=57, rounding=EXACT.rounding, Emin=EXACT.Emin, Emax=EXACT.Emax, traps=[InvalidOperation, DivisionByZero]
)
_MOST_TERMS = 28
_LEFT_OUT = 1e-54
"""The share of a sum that the terms left out of it may be worth."""


@lru_cache(maxsize=4096)
def _binomial(numerator: Decimal, denominator: Decimal) -> tuple[list[list[Decimal]], list[float]]:
    # `1 - (1 - share) ** power` over `share`, by powers of the share, highest first; and up to which share so many do.
    power = _SERIES.divide(numerator, denominator)
    terms, falling = [power], power
    for k in range(1, _MOST_TERMS + 1):
        falling = _SERIES.divide(_SERIES.multiply(falling, _SERIES.subtract(Decimal(k), power)), Decimal(k + 1))
        terms.append(falling)
    reach = []
    for k in range(1, _MOST_TERMS + 1):
        left_out = float(abs(terms[k] / power))
        most = 0.5 / max(1.0, abs(k - float(power)) / (k + 1.0))
        reach.append(min(most, (0.5 * _LEFT_OUT / left_out) ** (1.0 / k) if left_out > 0.0 else most))
    return [terms[k::-1] for k in range(_MOST_TERMS)], list(accumulate(reach, max))


def fallen(share: Decimal, numerator: Decimal, denominator: Decimal) -> Decimal | None:
    """Return `1 - (1 - share) ** (numerator / denominator)` without cancellation, where the share is small enough."""
    series, reach = _binomial(numerator, denominator)
    terms = bisect_left(reach, float(share))
    if terms == _MOST_TERMS:
        return None
    add, total = _SERIES.fma, ZERO
    for term in series[terms]:
        total = add(total, share, term)
    return _SERIES.multiply(total, share)


@lru_cache(maxsize=1024)
def _fraction(numerator: Decimal, denominator: Decimal) -> tuple[Decimal, int, Decimal] | None:
    exact = Fraction(numerator) / Fraction(denominator)
    if max(exact.numerator, exact.denominator) > _LARGEST_ROOT:
        return None
    halvings = (exact.denominator & -exact.denominator).bit_length() - 1
    return Decimal(exact.numerator), halvings, Decimal(exact.denominator >> halvings)


def raised(base: Decimal, numerator: Decimal, denominator: Decimal) -> Decimal:
    """Return a positive base to the power of a quotient, to all but the last digits of 72."""
    parts = _fraction(numerator, denominator)
    if parts is None:
        return _POWERS.power(base, numerator / denominator)
    times, halvings, root = parts
    power = _POWERS.plus(base) if times == ONE else _POWERS.power(base, times)
    for _ in range(halvings):
        power = _POWERS.sqrt(power)
    if root == ONE:
        return power
    guess = float(power) ** (1.0 / float(root))
    if not _TRUSTED < guess < 1.0 / _TRUSTED:
        return _POWERS.power(base, numerator / denominator)
    found = Decimal(guess)
    for _ in range(_REFINEMENTS):
        # Newton on the logarithm's equation: `found ** root = power`.
        found += found * (_POWERS.divide(power, _POWERS.power(found, root)) - ONE) / root
        found = _POWERS.plus(found)
    return found


class WeightedState(PoolState):
    """A weighted pool as the legs so far have left it."""

    __slots__ = ("weights",)

    def __init__(self, market: Weighted) -> None:
        """Start from the reserves as stated."""
        super().__init__(market)
        self.weights = market.weights

    def copy(self) -> Self:
        """Return the same state, to be changed on its own."""
        other = super().copy()
        other.weights = self.weights
        return other

    def forward(self, gives: Asset, takes: Asset, counted: Decimal) -> tuple[Decimal, Decimal]:
        """Return what an amount brings, fee already off, and the price afterwards, given per taken."""
        held, paid = self.reserves[gives], self.reserves[takes]
        into, out_of = self.weights[gives], self.weights[takes]
        full = held + counted
        if into == out_of:
            left = paid * held / full
            return paid * counted / full, full / left
        part = fallen(_SERIES.divide(counted, full), into, out_of)
        if part is not None:
            out = paid * part
            return out, full * out_of / ((paid - out) * into)
        left = paid * max(raised(held / full, into, out_of), _LEAST_LEFT)
        return paid - left, full * out_of / (left * into)

    def backward(self, gives: Asset, takes: Asset, out: Decimal) -> Decimal:
        """Return what must be counted in, fee off, for an amount to come out."""
        held, paid = self.reserves[gives], self.reserves[takes]
        into, out_of = self.weights[gives], self.weights[takes]
        if into == out_of:
            return held * out / (paid - out)
        part = fallen(_SERIES.divide(out, paid), -out_of, into)
        if part is not None:
            return -held * part
        return held * (raised(paid / (paid - out), out_of, into) - ONE)

    def given_per_taken(self, gives: Asset, takes: Asset) -> Decimal:
        """Return the price of an infinitesimal trade, fee excluded."""
        return self.reserves[gives] * self.weights[takes] / (self.reserves[takes] * self.weights[gives])


class WeightedExchange(PoolExchange):
    """A weighted pool arranged for the solver."""

    def __init__(self, market: Weighted) -> None:
        """Arrange every direction."""
        super().__init__(market)
        self.market = market
        self._start = WeightedState(market)

    def state(self) -> WeightedState:
        """Return the pool's state before any leg."""
        return self._start.copy()

    def whole(self, gives: Asset, takes: Asset, units: Units) -> Whole | None:
        """Return the direction reckoned in whole units where its power is of small integers, the root even."""
        reserves, kept = self.market.reserves, kept_of(self.market.fee_bps)
        held, paid, per_taken = reserves[gives], reserves[takes], self.base(gives, takes) == takes
        power = _fraction(self.market.weights[gives], self.market.weights[takes])
        if power is None or power[2] != ONE or paid % units.taken:
            return None
        if power[0] == ONE and not power[1]:
            return WholePool(held, paid, kept, units, per_taken=per_taken)
        return WholePower(held, paid, kept, int(power[0]), power[1], units, per_taken=per_taken)

    def edges(self, gives: Asset, takes: Asset) -> Floats:
        """Return the direction's one segment."""
        held, paid = float(self.market.reserves[gives]), float(self.market.reserves[takes])
        power = float(self.market.weights[gives] / self.market.weights[takes])
        kept = float(kept_of(self.market.fee_bps))
        return np.array([[POWERED, paid * power * kept / held, np.inf, paid, held, paid, kept, power, 0.0, 0.0, 0.0]])


def arrange_weighted(market: Weighted) -> WeightedExchange | None:
    """Arrange a weighted pool, or return None when it has no weight, no fee share or fewer than two reserves."""
    reserves, weights = market.reserves, market.weights
    if not usable(kept_of(market.fee_bps), *(weights.get(asset, ZERO) for asset in reserves)):
        return None
    exchange = WeightedExchange(market)
    return exchange if exchange.directions else None
