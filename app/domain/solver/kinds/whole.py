"""Exact fills reckoned in whole units of both assets: integers, which take a fraction of the time of decimals.

Only for a market that no earlier leg has used, and only where a fill is a matter of integers; `State` does the rest.
"""

from bisect import bisect_left, bisect_right
from decimal import Decimal
from math import gcd, isqrt
from typing import Protocol

from app.domain.solver.exact import ONE, ceil_to, fee_up, floor_to, ratio_down, ratio_up
from app.domain.solver.sides import BookSide, Fill, Units

MOST_DIGITS = 90
"""Sums of numbers with fewer digits are exact in the exact context."""
PRECISE = 10**24
SETTLED = 10**21
"""A reserve of so many units tells the price to all digits that are stated."""
PAID_IN_FULL = 10**12
"""What is left of an amount is paid as well when it is less than one part in so many."""


class Whole(Protocol):
    """One direction of a market as stated; amounts are in whole units."""

    def send(self, amount: int) -> tuple[int, int, int] | None:
        """Return what of an amount goes in, what comes out, and what `fill` is to know of it.

        None where only the market's state can tell.
        """
        ...

    def fill(self, sends: int, receives: int, known: int) -> Fill:
        """State a fill that `send` found; runs in the exact context."""
        ...


def parts(unit: Decimal) -> int:
    """Return how many of an asset's smallest amounts one of it is."""
    return unit.as_integer_ratio()[1]


class WholePool:
    """A pool of two reserves that the fee stays in: `out = y * (1 - (x / (x + c)) ** power)`."""

    __slots__ = ("_above", "_below", "_counts", "_fee", "_held", "_kept", "_per_taken", "_product", "_units")

    def __init__(self, held: Decimal, paid: Decimal, kept: Decimal, units: Units, *, per_taken: bool) -> None:
        """Take both reserves; `per_taken` says that prices are stated per unit of the asset taken."""
        self._held, self._product, self._kept, self._fee = held, held * paid, kept, ONE - kept
        self._units, self._per_taken = units, per_taken
        (held_n, held_d), (paid_n, paid_d), (kept_n, kept_d) = (each.as_integer_ratio() for each in (held, paid, kept))
        above = paid_n * parts(units.taken) * kept_n * held_d
        below = paid_d * held_n * parts(units.given) * kept_d
        counts = paid_d * kept_n * held_d
        common = gcd(above, below, counts)
        self._above, self._below, self._counts = above // common, below // common, counts // common

    def send(self, amount: int) -> tuple[int, int, int] | None:
        """Send all of an amount."""
        receives = self._above * amount // (self._below + self._counts * amount)
        return (amount, receives, 0) if receives > 0 else None

    def fill(self, sends: int, receives: int, known: int) -> Fill:
        """State a fill."""
        units = self._units
        given = sends * units.given
        full = self._held + given * self._kept
        above, below = full * full, self._product
        limit = ratio_up(above, below) if self._per_taken else ratio_down(below, above)
        return Fill(given, receives * units.taken, fee_up(given * self._fee, units.given), limit)


class WholePower:
    """A pool whose power is `times / 2 ** halvings` and whose reserve is a whole number of units."""

    __slots__ = (
        "_counts", "_fee", "_finer", "_halvings", "_held", "_kept", "_per_taken", "_power", "_roots", "_scaled",
        "_smallest", "_times", "_units", "_whole",
    )  # fmt: skip

    def __init__(
        self, held: Decimal, paid: Decimal, kept: Decimal, times: int, halvings: int, units: Units, *, per_taken: bool
    ) -> None:
        """Take both reserves; the amount taken has to divide the reserve."""
        self._held, self._kept, self._fee = held, kept, ONE - kept
        self._units, self._per_taken = units, per_taken
        self._times, self._halvings = times, halvings
        (held_n, held_d), (kept_n, kept_d) = held.as_integer_ratio(), kept.as_integer_ratio()
        scaled, counts = held_n * parts(units.given) * kept_d, kept_n * held_d
        common = gcd(scaled, counts)
        self._scaled, self._counts = scaled // common, counts // common
        whole = int(paid * parts(units.taken))
        self._finer = 1
        while whole * self._finer < PRECISE:
            self._finer *= 10
        self._whole = whole * self._finer
        self._power = self._whole ** (1 << halvings) * self._scaled**times
        self._roots, self._smallest = 1 << halvings, units.taken * times / self._finer

    def send(self, amount: int) -> tuple[int, int, int] | None:
        """Send all of an amount; what is left of the other reserve is for its fill."""
        full = self._scaled + self._counts * amount
        left = (self._power - 1) // (full if self._times == 1 else full**self._times)
        for _ in range(self._halvings):
            left = isqrt(left)
        # Rounded up: the largest number whose power is below, and one more.
        left += 1
        receives = (self._whole - left) // self._finer
        return (amount, receives, left) if receives > 0 and left > SETTLED else None

    def fill(self, sends: int, receives: int, left: int) -> Fill:
        """State a fill."""
        units = self._units
        given = sends * units.given
        above = (self._held + given * self._kept) * self._roots
        # The reserve is rounded up to whole units: one less is what it is at least.
        below = (left - 1) * self._smallest
        limit = ratio_up(above, below) if self._per_taken else ratio_down(below, above)
        return Fill(given, receives * units.taken, fee_up(given * self._fee, units.given), limit)


class WholeBook:
    """One side of a book without lots and minimums."""

    __slots__ = (
        "_base", "_begin", "_buys", "_charge", "_finer", "_limits", "_most", "_multiple", "_notional", "_per",
        "_prices", "_scale", "_start", "_units",
    )  # fmt: skip

    def __init__(self, side: BookSide, units: Units) -> None:
        """Arrange a side that `can_be_whole`; runs in the exact context."""
        self._buys, self._units = side.buys, units
        base_unit, money_unit = (units.taken, units.given) if side.buys else (units.given, units.taken)
        multiple_n, multiple_d = side.multiple.as_integer_ratio()
        base = max(_decimals(base_unit), _decimals(side.cum_base[-1]))
        price = max(_decimals(sum(side.prices)), _decimals(money_unit) - base)
        # Money in units, fee included, is `notional * multiple / scale`.
        self._multiple = multiple_n
        self._scale = 10 ** (base + price - _decimals(money_unit)) * multiple_d
        self._finer = 10 ** (base - _decimals(base_unit))
        self._base = [int(each.scaleb(base)) for each in side.cum_base]
        self._notional = [int(each.scaleb(base + price)) for each in side.cum_notional]
        self._prices = [int(each.scaleb(price)) for each in side.prices]
        self._charge = side.fee.scaleb(-base - price)
        self._most = self._base[-1] // self._finer
        tick = side.tick
        rounded = ceil_to if side.buys else floor_to
        self._limits = side.prices if tick is None else [rounded(each, tick) for each in side.prices]
        self._begin, self._start, self._per = [], [], []
        if side.buys:
            self._begin = [-(-each * multiple_n // self._scale) for each in self._notional]
            for at, paid, each in zip(self._base, self._notional, self._prices, strict=False):
                self._start.append((at * each - paid) * multiple_n)
                self._per.append(each * multiple_n * self._finer)

    def send(self, amount: int) -> tuple[int, int, int] | None:
        """Send what of an amount the side can use; what it is worth without the fee is for its fill."""
        base = self._most
        if not self._buys:
            base = min(amount, base)
        elif amount < self._begin[-1]:
            reached = bisect_right(self._begin, amount) - 1
            base = (self._start[reached] + self._scale * amount) // self._per[reached]
        if base <= 0:
            return None
        finely = base * self._finer
        touched = bisect_left(self._base, finely) - 1
        notional = self._notional[touched] + (finely - self._base[touched]) * self._prices[touched]
        if not self._buys:
            receives = notional * self._multiple // self._scale
            return (base, receives, notional) if receives > 0 else None
        sends = -(-notional * self._multiple // self._scale)
        # A remainder that buys nothing at the asset's precision is paid, so that sums come out round.
        if 0 < (amount - sends) * PAID_IN_FULL <= amount:
            sends = amount
        return (sends, base, notional) if sends > 0 else None

    def fill(self, sends: int, receives: int, notional: int) -> Fill:
        """State a fill."""
        units = self._units
        fee = fee_up(notional * self._charge, units.given if self._buys else units.taken)
        limit = self._limits[bisect_left(self._notional, notional) - 1]
        return Fill(sends * units.given, receives * units.taken, fee, limit)


def can_be_whole(side: BookSide) -> bool:
    """Say whether a side trades any number of units, and its sums are exact in integers."""
    if not side.prices or side.blocked is not None or side.lot is not None or side.min_base > 0:
        return False
    digits = _decimals(side.cum_base[-1]) + _decimals(sum(side.prices)) + _decimals(side.multiple)
    return digits < MOST_DIGITS and side.cum_notional[-1].adjusted() + digits < MOST_DIGITS


def _decimals(value: Decimal | int) -> int:
    exponent = Decimal(value).as_tuple().exponent
    return max(-exponent, 0) if isinstance(exponent, int) else 0
