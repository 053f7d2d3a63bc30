from itertools import pairwise, product

import pytest

from app.domain.route import PENDING, SETTLED, TERMINAL, TRANSITIONS, RouteStatus, may_become

HAPPY = ("requested", "data_ready", "features_ready", "inference_ready", "ready", "executing", "filled")


def test_every_status_says_where_it_leads() -> None:
    assert TRANSITIONS.keys() == set(RouteStatus)


def test_the_way_of_a_route_that_is_filled() -> None:
    for current, following in pairwise(HAPPY):
        assert may_become(RouteStatus(current), RouteStatus(following))


@pytest.mark.parametrize("status", sorted(TERMINAL - {RouteStatus.FAILED}))
def test_an_end_is_an_end(status: RouteStatus) -> None:
    assert not any(may_become(status, following) for following in RouteStatus)


def test_a_failed_route_is_taken_up_only_where_a_stage_takes_it() -> None:
    assert TRANSITIONS[RouteStatus.FAILED] == PENDING - {RouteStatus.REQUESTED}


def test_no_way_leads_back() -> None:
    order = {RouteStatus(name): number for number, name in enumerate(HAPPY)}
    for current, following in product(order, order):
        if may_become(current, following):
            assert order[following] > order[current] or current is following


def test_pending_settled_and_executing_are_all_there_is() -> None:
    assert PENDING | SETTLED | {RouteStatus.EXECUTING} == set(RouteStatus)
    assert not PENDING & SETTLED
    assert TERMINAL < SETTLED
