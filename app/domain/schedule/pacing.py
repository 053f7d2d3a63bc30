"""How much of an order each slice does."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from app.domain.bars import FloatArray
from app.domain.schedule.impact import Impact
from app.domain.schedule.trajectory import optimise
from app.domain.trade import ScheduleKind

QUIETEST = 0.01
"""The least relative volume that impact is divided by."""

HASTIEST = 1e14
"""The most that risk may outweigh impact."""

TIE_BREAK = 1e-9
"""Impact assumed where none was measured, as a share of the order's worth: slices that cost nothing are even."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What slices of q base each are expected to cost, in quote.

    `drift` is what a base traded a second later costs more, `variance` that of the price per second; `wait_s` are the
    times of the slices from now, `relative` their share of the volume (1 on average).
    """

    impact: Impact
    price: float
    drift: float
    variance: float
    wait_s: FloatArray
    relative: FloatArray

    @property
    def gaps_s(self) -> FloatArray:
        """The time between slices."""
        gaps: FloatArray = np.diff(self.wait_s)
        return gaps

    def _steepness(self) -> FloatArray:
        steepness: FloatArray = self.impact.quadratic / np.maximum(self.relative, QUIETEST)
        return steepness

    def cost(self, amounts: FloatArray) -> float:
        """Return the expected cost of slices, drift included."""
        return float(
            self.impact.linear * amounts.sum()
            + (self._steepness() * amounts * amounts).sum()
            + self.drift * (self.wait_s * amounts).sum()
        )

    def volume_effect(self, amounts: FloatArray, costs: FloatArray, spread: float) -> float:
        """Return how much more than on markets as they are now slices cost for the volume expected at their times.

        What a base costs however little is traded, the `spread`, does not depend on volume.
        """
        beyond = costs - spread * amounts
        return float((beyond * (1.0 / np.maximum(self.relative, QUIETEST) - 1.0)).sum())

    def variance_of(self, amounts: FloatArray) -> float:
        """Return the variance of the cost: what waits is exposed to the price."""
        waiting = np.concatenate([[amounts.sum()], amounts.sum() - np.cumsum(amounts)[:-1]])
        return float(self.variance * (waiting * waiting * np.diff(self.wait_s, prepend=0.0)).sum())

    def best(self, total: float, risk_aversion: float, most: FloatArray) -> FloatArray:
        """Return each slice's share that minimises expected cost plus risk aversion times variance."""
        floor = TIE_BREAK * self.price / total
        quadratic = np.maximum(self._steepness(), floor) * (total * total)
        # All is done at once long before this; beyond it numbers overflow.
        risk = min(risk_aversion * self.variance * total * total, HASTIEST * float(quadratic.max())) * self.gaps_s
        return optimise(quadratic, self.drift * total * self.wait_s, risk, most / total)

    def natural_risk_aversion(self, total: float) -> float:
        """Return the risk aversion at which risk and impact weigh about the same over the horizon."""
        horizon_s = float(self.wait_s[-1] - self.wait_s[0])
        slices = len(self.wait_s)
        risk = self.variance * total * total * horizon_s
        impact = max(self.impact.quadratic, TIE_BREAK * self.price / total) * total * total / slices
        return min(impact / risk if risk > impact * 1e-250 else 1.0 / (self.price * total), 1e250)


def even(weights: FloatArray, most: FloatArray) -> FloatArray:
    """Return shares in proportion to weights as far as limits (in shares too) allow; what they cut off is spread.

    Where all weights are zero slices are equal: what is left has to be done all the same.
    """
    shares = np.zeros(len(weights))
    if not weights.any():
        weights = np.ones(len(weights))
    free = (weights > 0.0) & (most > 0.0)
    left = 1.0
    while left > 1e-15 and free.any():
        level = left / weights[free].sum()
        tight = free & (most <= level * weights)
        if not tight.any():
            shares[free] = level * weights[free]
            break
        shares[tight] = most[tight]
        left = 1.0 - shares.sum()
        free &= ~tight
    return shares


def in_order(most: FloatArray) -> FloatArray:
    """Return shares that fill each slice to its limit until all is done."""
    before = np.concatenate([[0.0], np.cumsum(most)[:-1]])
    shares: FloatArray = np.clip(1.0 - before, 0.0, most)
    return shares


def shares(
    kind: ScheduleKind, expected: Expectation, total: float, risk_aversion: float, most: FloatArray, *, limited: bool
) -> FloatArray:
    """Return each slice's share of an order of `total` base by the rule of its kind, limits in base.

    They sum to less than one where the limits leave no more. `pov` that no volume limits follows the profile.
    """
    if kind is ScheduleKind.IS:
        return expected.best(total, risk_aversion, most)
    if kind is ScheduleKind.POV and limited:
        return in_order(most / total)
    if kind is ScheduleKind.TWAP:
        return even(np.ones(len(most)), most / total)
    return even(expected.relative, most / total)


def divide(total: Decimal, parts: FloatArray, grid: Decimal, most: Sequence[Decimal] | None) -> list[Decimal]:
    """Turn shares into amounts on a grid that sum exactly to the total, or to what the limits leave of it.

    Runs in the exact context; `parts` that sum to less than one are limits themselves.
    """
    amounts: list[Decimal] = []
    done, passed = Decimal(0), 0.0
    whole = float(parts.sum())
    complete = whole >= 1.0 - 1e-9
    last = int(np.flatnonzero(parts)[-1]) if parts.any() else -1
    equal = bool(np.ptp(parts) == 0.0)
    for k, share in enumerate(parts.tolist()):
        passed += share
        upto = total
        if not complete or k < last:
            # Equal slices in exact arithmetic: their amounts are alike to the last digit.
            exact = total * (k + 1) / len(parts) if complete and equal else total * Decimal(min(passed, 1.0))
            upto = min((exact / grid).to_integral_value() * grid, total)
        if share and not k:
            # What is due now is not put off because it is finer than the grid.
            upto = max(upto, min(grid, total))
        amount = upto - done
        if most is not None:
            amount = min(amount, most[k])
        amount = max(amount, Decimal(0))
        amounts.append(amount)
        done += amount
    if most is not None and complete and done < total:
        # The grid took a little off slices at their limit; those with room make up for it.
        for k in range(len(amounts)):
            more = min(total - done, most[k] - amounts[k])
            if more > 0:
                amounts[k] += more
                done += more
    return amounts


def joined(
    amounts: Sequence[Decimal], least: Decimal, most: Sequence[Decimal] | None, *, is_begun: bool
) -> list[Decimal]:
    """Join amounts below `least` with those after them, at the time of the first.

    The rest of a first slice that was begun before is done with the next one instead: it must not draw later slices
    near. A rest at the end joins what went before it, unless that would then be over its limit (of `most`).
    """
    fewer = [Decimal(0)] * len(amounts)
    gathered = Decimal(0)
    start: int | None = None
    filled: int | None = None
    for k, amount in enumerate(amounts):
        if not amount:
            continue
        if start is None:
            start = k
        gathered += amount
        if gathered >= least:
            fewer[start], filled = gathered, start
            start, gathered = None, Decimal(0)
        elif is_begun and k == 0 and any(amounts[1:]):
            start = None
    if gathered:
        fits = filled is not None and (most is None or fewer[filled] + gathered <= most[filled])
        at = filled if fits else start
        fewer[len(amounts) - 1 if at is None else at] += gathered
    return fewer
