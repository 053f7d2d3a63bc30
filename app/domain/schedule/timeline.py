"""When slices are due, and which of them are left."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.domain.trade import Schedule

ALMOST_DUE_S = 1e-3
"""A timer may go off this much early; a slice that near is due."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """The slices of one schedule: slice k is due `k * interval_s` after the beginning.

    `due` is the latest slice whose time has come; those before it are gone. `elapsed_s` is the time since the
    beginning.
    """

    began_at: datetime | None
    slices: int
    interval_s: float
    elapsed_s: float
    due: int

    @classmethod
    def of(cls, schedule: Schedule, began_at: datetime | None, as_of: datetime | None) -> "Timeline":
        """Lay out a schedule as of a time; without a horizon it is one slice, all at once."""
        slices = schedule.slices if schedule.horizon_s > 0.0 else 1
        interval_s = schedule.horizon_s / slices
        beginning = began_at or as_of
        elapsed_s = (as_of - beginning).total_seconds() if as_of is not None and beginning is not None else 0.0
        elapsed_s = max(elapsed_s, 0.0)
        due = math.floor((elapsed_s + ALMOST_DUE_S) / interval_s) if interval_s > 0.0 else 0
        return cls(beginning, slices, interval_s, elapsed_s, min(due, slices - 1))

    @property
    def left(self) -> range:
        """The slices that are left, the one due now first."""
        return range(self.due, self.slices)

    def at(self, k: int) -> datetime | None:
        """Return when a slice is due; None when the beginning is not known."""
        return None if self.began_at is None else self.began_at + timedelta(seconds=k * self.interval_s)

    @property
    def next_at(self) -> datetime | None:
        """The time of the slice after the one due now, or of the horizon's end after the last; None after that."""
        following = self.at(self.due + 1)
        if self.interval_s <= 0.0 or self.elapsed_s >= self.slices * self.interval_s:
            return None
        return following

    def wait_s(self, k: int) -> float:
        """Return how long from now until a slice is due, zero when its time has come."""
        return max(k * self.interval_s - self.elapsed_s, 0.0)
