"""The checker itself: it accepts what is right, and names each kind of wrong."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.chaos.checker import terminal_twice, violations
from tests.chaos.journal import Journal, Order, Plan, Push
from tests.chaos.truth import TrailEvent, Truth

ROUTE = "01890a5d-ac96-774b-bcce-b302099a8057"
WATCHERS = ("all", "all, cut", "routes 0")
AMOUNTS = {"sends": {"asset": "USD", "amount": "10"}, "receives": {"asset": "BTC", "amount": "1"}}
STEPS = (
    ("solver-api", "route_request.trade_route", "requested", 0),
    ("solver-api", "route_data.insertion_ok", "data_ready", 0),
    ("solver-features", "features_data.insertion_ok", "features_ready", 0),
    ("solver-inference", "inference_data.insertion_ok", "inference_ready", 0),
    ("solver-solve", "route_update.solution_ok", "ready", 1),
    ("solver-api", "route_update.fill", "filled", 1),
)


def story() -> tuple[Journal, Truth]:
    """One route that went well, as seen from both sides."""
    order = Order(key="key-1", body={"client_order_id": "order-1", "quantity": "1"}, plan=Plan.FILL)
    order.fills["fill-1"] = dict(AMOUNTS)
    order.is_finished = True
    journal = Journal(orders=[order])
    journal.acknowledge(order, ROUTE, stored=b"{}")
    trail = [
        TrailEvent(seq, source, f"id-{seq}", kind, status, revision)
        for seq, (source, kind, status, revision) in enumerate(STEPS, 1)
    ]
    for watcher in WATCHERS:
        for event in trail:
            journal.push(watcher, pushed(event))
    row = {
        "id": ROUTE,
        "client_order_id": "order-1",
        "trade": dict(order.body),
        "status": "filled",
        "next_due_at": None,
    }
    truth = Truth(
        routes={ROUTE: {**row, "revision": 1, "event_count": len(trail), "late_fills": 0}},
        trails={ROUTE: trail},
        keys={"key-1": ROUTE},
        fills={ROUTE: {"fill-1": dict(AMOUNTS)}},
        solutions={ROUTE: 1},
        dead_letters=[],
    )
    return journal, truth


def pushed(event: TrailEvent) -> Push:
    """The message that shows an event."""
    names = (event.source, event.id, event.type)
    return Push(False, ROUTE, event.seq, True, event.status, event.revision, names, "epoch", 0.0)


Spoil = Callable[[Journal, Truth], object]


def lose(journal: Journal, truth: Truth) -> None:
    del truth.routes[ROUTE]


def add_phantom(journal: Journal, truth: Truth) -> None:
    truth.routes["other"] = {**truth.routes[ROUTE], "client_order_id": "order-2", "event_count": 0}


def answer_twice(journal: Journal, truth: Truth) -> None:
    journal.acknowledge(journal.orders[0], "other", stored=None)


def replay_other_bytes(journal: Journal, truth: Truth) -> None:
    journal.acknowledge(journal.orders[0], ROUTE, stored=b"[]")


def forget_answer(journal: Journal, truth: Truth) -> None:
    journal.orders[0].route_ids.clear()


def change_trade(journal: Journal, truth: Truth) -> None:
    truth.routes[ROUTE]["trade"]["quantity"] = "2"


def lose_fill(journal: Journal, truth: Truth) -> None:
    truth.fills[ROUTE].clear()


def change_fill(journal: Journal, truth: Truth) -> None:
    truth.fills[ROUTE]["fill-1"]["receives"] = {"asset": "BTC", "amount": "2"}


def end_otherwise(journal: Journal, truth: Truth) -> None:
    truth.routes[ROUTE]["status"] = "expired"


def drop_event(journal: Journal, truth: Truth) -> None:
    truth.trails[ROUTE].pop(2)


def say_twice(journal: Journal, truth: Truth) -> None:
    truth.trails[ROUTE][3] = replace(truth.trails[ROUTE][3], id="id-4", source="solver-solve")
    truth.trails[ROUTE][4] = replace(truth.trails[ROUTE][4], id="id-4")


def solve_twice(journal: Journal, truth: Truth) -> None:
    truth.solutions[ROUTE] = 2


def revise_for_nothing(journal: Journal, truth: Truth) -> None:
    truth.routes[ROUTE]["revision"] = truth.solutions[ROUTE] = 2


def leave_slices(journal: Journal, truth: Truth) -> None:
    journal.orders[0].body["schedule"] = {"slices": 3}
    truth.routes[ROUTE] |= {"status": "ready", "slices_left": 2}


def end_twice(journal: Journal, truth: Truth) -> None:
    truth.trails[ROUTE][4] = replace(truth.trails[ROUTE][4], status="cancelled")


def skip_push(journal: Journal, truth: Truth) -> None:
    journal.pushes["all"][ROUTE].pop(1)


def repeat_push(journal: Journal, truth: Truth) -> None:
    journal.pushes["all"][ROUTE].append(journal.pushes["all"][ROUTE][-1])


def stop_pushing(journal: Journal, truth: Truth) -> None:
    journal.pushes["all"][ROUTE].pop()


def show_nothing(journal: Journal, truth: Truth) -> None:
    del journal.pushes["all"]


def show_other_status(journal: Journal, truth: Truth) -> None:
    pushes = journal.pushes["all"][ROUTE]
    pushes[3] = replace(pushes[3], status="expired")


def show_other_event(journal: Journal, truth: Truth) -> None:
    pushes = journal.pushes["all"][ROUTE]
    pushes[3] = replace(pushes[3], event=("solver-api", "other", "route_update.fill"))


def bury(journal: Journal, truth: Truth) -> None:
    truth.dead_letters.append("solve: internal: it broke")


def answer_500(journal: Journal, truth: Truth) -> None:
    journal.surprise("POST /v1/routes: 500")


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lose, "lost"),
        (add_phantom, "phantom"),
        (answer_twice, "duplicate"),
        (replay_other_bytes, "replay"),
        (forget_answer, "unanswered"),
        (change_trade, "was asked as"),
        (lose_fill, "were reported"),
        (change_fill, "other amounts"),
        (end_otherwise, "its program wanted"),
        (drop_event, "its trail has seq"),
        (say_twice, "was said 2 times"),
        (solve_twice, "solutions"),
        (revise_for_nothing, "revisions for 1 slices"),
        (leave_slices, "2 slices are left"),
        (end_twice, "went from"),
        (skip_push, "gap"),
        (repeat_push, "repeated"),
        (stop_pushing, "ended at seq"),
        (show_nothing, "only shown to"),
        (show_other_status, "was shown as"),
        (show_other_event, "was shown as event"),
        (bury, "dead letter"),
        (answer_500, "answer"),
    ],
)
def test_each_broken_promise_is_named(spoil: Spoil, named: str) -> None:
    journal, truth = story()
    spoil(journal, truth)
    assert any(named in violation for violation in violations(journal, truth))


def test_a_kept_promise_is_not_blamed() -> None:
    journal, truth = story()
    assert list(violations(journal, truth)) == []
    assert terminal_twice(truth) == []


def test_two_ends_of_one_route_are_found() -> None:
    journal, truth = story()
    end_twice(journal, truth)
    assert terminal_twice(truth) == [ROUTE]


def test_an_honest_snapshot_restarts_the_count() -> None:
    journal, truth = story()
    pushes = journal.pushes["all"][ROUTE]
    del pushes[1:4]
    pushes[1] = replace(pushes[1], is_snapshot=True, recovered=False, event=None)
    assert list(violations(journal, truth)) == []
