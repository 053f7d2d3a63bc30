"""When a newer solution of a route is worth saying."""

from decimal import Decimal
from typing import Any

from app.domain.trade import Schedule, ScheduleKind

MATERIAL = Decimal("0.01")
"""The share of a mean slice by which a slice's quantity must change for the plan to be another."""


def is_new(schedule: Schedule, before: dict[str, Any], now: dict[str, Any], *, is_due: bool) -> bool:
    """Say whether a solution differs from the one before in what its program would do.

    Of a schedule that is not due only the slice due now counts leg by leg: indicative legs are routed anew when their
    time has come, so what changes them is no news, and a plan is another only when its times or quantities are.
    """
    old, new = before["slices"], now["slices"]
    if schedule.kind is ScheduleKind.IMMEDIATE:
        return bool([part["legs"] for part in old] != [part["legs"] for part in new])
    if is_due:
        return _plan(old) != _plan(new) or _firm_legs(old) != _firm_legs(new)
    return _firm_legs(old) != _firm_legs(new) or _is_other_plan(old, new)


def _plan(slices: list[dict[str, Any]]) -> list[tuple[str, str, bool]]:
    return [(part["at"], part["quantity"], part["indicative"]) for part in slices]


def _firm_legs(slices: list[dict[str, Any]]) -> list[Any]:
    return [part["legs"] for part in slices if not part["indicative"]]


def _is_other_plan(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> bool:
    if [part["at"] for part in old] != [part["at"] for part in new]:
        return True
    quantities = [(Decimal(was["quantity"]), Decimal(now["quantity"])) for was, now in zip(old, new, strict=True)]
    mean = sum((now for _, now in quantities), Decimal(0)) / max(len(quantities), 1)
    return any(abs(now - was) > MATERIAL * mean for was, now in quantities)
