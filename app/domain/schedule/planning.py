"""What each slice of a trade does: by its kind, its limits, and what was done before."""

import math
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np

from app.domain.bars import FloatArray
from app.domain.schedule.impact import Impact
from app.domain.schedule.outlook import Outlook
from app.domain.schedule.pacing import Expectation, divide, shares
from app.domain.schedule.timeline import Timeline
from app.domain.schedule.volume import expected_volumes, relative_volumes
from app.domain.trade import ScheduleKind, Side, Trade

NEAR = Decimal("0.00001")
"""How near its limit, relatively, a slice counts as limited."""


@dataclass(frozen=True, slots=True)
class Paced:
    """Amounts of the slices left, what the limits leave undone, and whether the slice due now was begun before."""

    amounts: tuple[Decimal, ...]
    undone: Decimal
    is_begun: bool
    is_limited: bool


class Planning:
    """Plans the slices of one trade, in its quantity asset; runs in the exact context.

    `ceiling` is the most that a slice may do whatever the volume.
    """

    def __init__(self, trade: Trade, outlook: Outlook, time: Timeline, arrival: Decimal, grid: Decimal) -> None:
        """Take what is expected; `grid` is what amounts are multiples of, `arrival` the price now."""
        self.trade, self.outlook, self.time, self.grid = trade, outlook, time, grid
        self.price = float(arrival)
        self.base_per_unit = 1.0 if trade.quantity_asset == trade.instrument.base else 1.0 / self.price
        self.impact = Impact(0.0, 0.0)
        self.spread = 0.0
        self.is_measured = False
        self.ceiling: Decimal | None = None
        self.relative = relative_volumes(outlook, time.slices)
        self.volumes = expected_volumes(outlook, time.slices, time.interval_s)
        schedule = trade.schedule
        self.follows_volume = schedule.kind is ScheduleKind.POV and self.volumes is not None
        self.is_capped = self.volumes is not None and (schedule.max_participation < 1.0 or self.follows_volume)

    def limits(self, first: int) -> list[Decimal] | None:
        """Return the most that each slice may do, None where nothing limits them."""
        limits, ceiling = self._participation(first), self.ceiling
        if ceiling is None:
            return limits
        if limits is None:
            return [ceiling] * (self.time.slices - first)
        return [min(limit, ceiling) for limit in limits]

    def _participation(self, first: int) -> list[Decimal] | None:
        if not self.is_capped or self.volumes is None:
            return None
        share = self.trade.schedule.max_participation / self.base_per_unit
        # Short of the last digits of a float, so that a tenth of ten is one.
        limits = [Decimal(f"{share * volume:.14g}") for volume in self.volumes[first:].tolist()]
        return [limit // self.grid * self.grid for limit in limits]

    def most(self, first: int) -> FloatArray:
        """Return the limits in base."""
        limits = self.limits(first)
        if limits is None:
            return np.full(self.time.slices - first, np.inf)
        return np.array([float(limit) for limit in limits]) * self.base_per_unit

    def expectation(self, time: Timeline) -> Expectation:
        """Return what the slices left are expected to cost."""
        price, sigma, drift = self.price, self.outlook.sigma, self.outlook.drift_bps_per_s / 1e4
        if not (math.isfinite(sigma) and math.isfinite(drift)):
            raise ValueError("volatility and drift must be finite")
        return Expectation(
            self.impact,
            price,
            drift * price if self.trade.side is Side.BUY else -drift * price,
            (sigma * price) ** 2,
            np.array([time.wait_s(k) for k in time.left]),
            self.relative[time.due :],
        )

    def paced(self, total: Decimal, time: Timeline) -> list[Decimal]:
        """Spread an amount over the slices left; sums to less where the limits leave no more."""
        schedule = self.trade.schedule
        kind = schedule.kind
        if kind is ScheduleKind.IS and not self.is_measured:
            kind = ScheduleKind.TWAP
        base = float(total) * self.base_per_unit
        parts = shares(
            kind, self.expectation(time), base, schedule.risk_aversion, self.most(time.due), limited=self.follows_volume
        )
        return divide(total, parts, self.grid, self.limits(time.due))

    def plan(self, quantity: Decimal, executed: Decimal) -> Paced:
        """Plan what is left of a quantity.

        What was executed beyond the plan's own pace counts as done of the slice due now and those after it, so that a
        fill does not make its slice due again; what is behind it is spread over all slices left.
        """
        ahead = executed
        if executed and self.time.due:
            start = replace(self.time, elapsed_s=0.0, due=0)
            ahead = max(executed - sum(self.paced(quantity, start)[: self.time.due], Decimal(0)), Decimal(0))
        total = quantity - executed + ahead
        amounts = self.paced(total, self.time)
        undone = total - sum(amounts, Decimal(0))
        limits = self._participation(self.time.due)
        is_limited = limits is not None and any(
            amount and limit - amount <= max(self.grid, limit * NEAR)
            for amount, limit in zip(amounts, limits, strict=True)
        )
        due = amounts[0]
        for k, amount in enumerate(amounts):
            done = min(ahead, amount)
            amounts[k], ahead = amount - done, ahead - done
        # A limit may have left less than is ahead of it: what is done can only be less to do.
        return Paced(tuple(amounts), max(undone - ahead, Decimal(0)), amounts[0] < due, is_limited)

    def needed_share(self, total: Decimal) -> float | None:
        """Return the participation at which the slices left could do an amount, None without volume."""
        if self.volumes is None:
            return None
        volume = float(self.volumes[self.time.due :].sum())
        return float(total) * self.base_per_unit / volume if volume > 0.0 else None
