"""Where a route stands, and where it may go from there."""

from enum import StrEnum


class RouteStatus(StrEnum):
    """Where a route stands, as programs see it."""

    REQUESTED = "requested"
    DATA_READY = "data_ready"
    FEATURES_READY = "features_ready"
    INFERENCE_READY = "inference_ready"
    READY = "ready"
    EXECUTING = "executing"
    FILLED = "filled"
    PARTIALLY_FILLED = "partially_filled"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    INFEASIBLE = "infeasible"
    FAILED = "failed"


TERMINAL = frozenset(
    {
        RouteStatus.FILLED,
        RouteStatus.PARTIALLY_FILLED,
        RouteStatus.EXPIRED,
        RouteStatus.CANCELLED,
        RouteStatus.INFEASIBLE,
        RouteStatus.FAILED,
    }
)
PENDING = frozenset(
    {RouteStatus.REQUESTED, RouteStatus.DATA_READY, RouteStatus.FEATURES_READY, RouteStatus.INFERENCE_READY}
)
LIVE = frozenset({RouteStatus.READY, RouteStatus.EXECUTING})
SETTLED = TERMINAL | {RouteStatus.READY}

_STOPPED = {RouteStatus.CANCELLED, RouteStatus.FAILED, RouteStatus.EXPIRED}
TRANSITIONS: dict[RouteStatus, frozenset[RouteStatus]] = {
    RouteStatus.REQUESTED: frozenset({RouteStatus.DATA_READY} | _STOPPED),
    RouteStatus.DATA_READY: frozenset({RouteStatus.FEATURES_READY} | _STOPPED),
    RouteStatus.FEATURES_READY: frozenset({RouteStatus.INFERENCE_READY} | _STOPPED),
    RouteStatus.INFERENCE_READY: frozenset({RouteStatus.READY, RouteStatus.INFEASIBLE} | _STOPPED),
    RouteStatus.READY: frozenset({RouteStatus.READY, RouteStatus.EXECUTING, RouteStatus.FILLED} | _STOPPED),
    RouteStatus.EXECUTING: frozenset({RouteStatus.EXECUTING, RouteStatus.FILLED, RouteStatus.PARTIALLY_FILLED}),
    **{status: frozenset() for status in TERMINAL},
    # Only an operator's replay of a dead letter takes a failed route up again.
    RouteStatus.FAILED: frozenset({RouteStatus.DATA_READY, RouteStatus.FEATURES_READY, RouteStatus.INFERENCE_READY}),
}


def may_become(current: RouteStatus, following: RouteStatus) -> bool:
    """Say whether a route may go from one status to another."""
    return following in TRANSITIONS[current]
