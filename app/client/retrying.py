"""When to ask again, and how long to wait before."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

RETRYABLE_STATUSES = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Retrying:
    """How patient a client is; `attempts` counts the first one too."""

    attempts: int = 5
    backoff_initial_s: float = 0.1
    backoff_max_s: float = 5.0
    retry_after_max_s: float = 60.0

    def pause_s(self, attempt: int, retry_after_s: float | None) -> float | None:
        """Choose the pause after a failed attempt (1, 2, …); None when it is time to give up."""
        if attempt >= self.attempts:
            return None
        if retry_after_s is not None:
            return retry_after_s if retry_after_s <= self.retry_after_max_s else None
        return self.backoff_s(attempt)

    def backoff_s(self, attempt: int) -> float:
        """Draw a pause that doubles with each attempt, so that clients do not come back all at once."""
        longest = min(self.backoff_max_s, self.backoff_initial_s * 2.0 ** min(attempt - 1, 30))
        return longest * random.uniform(0.5, 1.0)


def read_retry_after(header: str | None, *, now: datetime | None = None) -> float | None:
    """Read a Retry-After header, in seconds from now; None when there is none that makes sense."""
    if not header:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())
