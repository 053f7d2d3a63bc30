"""Times in their two forms: datetimes of UTC, and numbers since 1970."""

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST, LATEST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)
"""Of what prices may be; no time zone moves these out of the years 1 to 9999."""

_MICROSECOND = timedelta(microseconds=1)


def moment_of(seconds: float) -> datetime:
    """Turn seconds since 1970 into a time."""
    return datetime.fromtimestamp(seconds, UTC)


def micros_since_epoch(moment: datetime) -> int:
    """Turn a time into whole microseconds since 1970."""
    return (moment - EPOCH) // _MICROSECOND


def clamped(moment: datetime) -> datetime:
    """Return a time, or the nearest that a price may be of."""
    return min(max(moment, EARLIEST), LATEST)
