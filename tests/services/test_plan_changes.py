from typing import Any

import pytest

from app.domain.trade import Schedule, ScheduleKind
from app.services.plan_changes import is_new

NOW = Schedule()
TWAP = Schedule(ScheduleKind.TWAP, 60.0, 2)


def part(quantity: str = "1", at: str = "10:00", *, indicative: bool = False, legs: str = "a") -> dict[str, Any]:
    return {"at": at, "quantity": quantity, "indicative": indicative, "legs": [{"market_id": legs}]}


def plan(*slices: dict[str, Any]) -> dict[str, Any]:
    return {"slices": list(slices)}


LATER = part(at="10:30", indicative=True)


def test_an_immediate_route_is_its_legs() -> None:
    assert not is_new(NOW, plan(part(at="10:00")), plan(part(at="10:01")), is_due=False)
    assert is_new(NOW, plan(part()), plan(part(legs="b")), is_due=False)


@pytest.mark.parametrize("is_due", [True, False])
def test_legs_of_later_slices_are_no_news(is_due: bool) -> None:
    other = part(at="10:30", indicative=True, legs="b")
    assert not is_new(TWAP, plan(part(), LATER), plan(part(), other), is_due=is_due)


@pytest.mark.parametrize("is_due", [True, False])
def test_legs_of_the_slice_due_now_are_news(is_due: bool) -> None:
    assert is_new(TWAP, plan(part(), LATER), plan(part(legs="b"), LATER), is_due=is_due)


def test_a_slice_that_came_due_is_news() -> None:
    assert is_new(TWAP, plan(part(), LATER), plan({**LATER, "indicative": False}), is_due=True)
    assert is_new(TWAP, plan(LATER), plan({**LATER, "indicative": False}), is_due=True)


def test_small_changes_of_a_plan_wait_until_it_is_due() -> None:
    slightly = part("1.005", at="10:30", indicative=True)
    assert not is_new(TWAP, plan(part(), LATER), plan(part(), slightly), is_due=False)
    assert is_new(TWAP, plan(part(), LATER), plan(part(), slightly), is_due=True)
    clearly = part("1.05", at="10:30", indicative=True)
    assert is_new(TWAP, plan(part(), LATER), plan(part(), clearly), is_due=False)
