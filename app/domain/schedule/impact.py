"""What trading costs by size, as schedules see it."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Impact:
    """The cost of one slice of q base: `linear * q + quadratic * q²` in quote, recovered by the next slice."""

    linear: float
    quadratic: float

    @classmethod
    def fit(cls, costs: Sequence[tuple[float, float]]) -> "Impact":
        """Fit sizes and their costs; the quadratic part is never negative, and zero where one size is all there is."""
        rates = [(size, cost / size) for size, cost in costs if size > 0.0]
        if not rates:
            return cls(0.0, 0.0)
        size_mean = sum(size for size, _ in rates) / len(rates)
        rate_mean = sum(rate for _, rate in rates) / len(rates)
        spread = sum((size - size_mean) ** 2 for size, _ in rates)
        joint = sum((size - size_mean) * (rate - rate_mean) for size, rate in rates)
        slope = max(joint / spread, 0.0) if spread > 0.0 else 0.0
        return cls(rate_mean - slope * size_mean, slope)
