"""How the market's volume falls on the slices of a schedule."""

import math

import numpy as np

from app.domain.bars import FloatArray
from app.domain.schedule.outlook import Outlook


def relative_volumes(outlook: Outlook, slices: int) -> FloatArray:
    """Spread the profile over slices, 1 on average; a profile that says nothing usable is flat.

    The profile covers the whole horizon from the schedule's beginning and need not have a part per slice.
    """
    profile: FloatArray = np.array(outlook.profile, np.float64)
    if not len(profile) or not np.isfinite(profile).all() or (profile < 0.0).any() or not profile.sum() > 0.0:
        return np.ones(slices)
    if len(profile) == slices:
        return profile * (slices / float(profile.sum()))
    passed = np.concatenate([[0.0], np.cumsum(profile)]) / profile.sum()
    parts = np.linspace(0.0, 1.0, len(passed))
    relative: FloatArray = np.diff(np.interp(np.linspace(0.0, 1.0, slices + 1), parts, passed)) * slices
    return np.maximum(relative, 0.0)


def expected_volumes(outlook: Outlook, slices: int, interval_s: float) -> FloatArray | None:
    """Return the base that everybody is expected to trade in each slice, None when that is unknown."""
    rate = outlook.volume_per_s
    if rate is None or not math.isfinite(rate) or rate < 0.0 or not interval_s > 0.0:
        return None
    return relative_volumes(outlook, slices) * (rate * interval_s)
