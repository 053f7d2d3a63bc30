"""Compare what a client saw with what is stored. Every line it returns is a broken promise."""

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from tests.chaos.journal import OUTCOMES, Journal, Order, Push
from tests.chaos.truth import TrailEvent, Truth

WATCHERS_PER_ROUTE = 3
"""Each route is followed by two watchers of everything, and by one that names it."""

TERMINAL = frozenset({"filled", "partially_filled", "expired", "cancelled", "infeasible", "failed"})
_STOPPED = {"cancelled", "expired", "failed"}
_MAY_FOLLOW: dict[str | None, set[str]] = {
    None: {"requested"},
    "requested": {"data_ready", *_STOPPED},
    "data_ready": {"features_ready", *_STOPPED},
    "features_ready": {"inference_ready", *_STOPPED},
    "inference_ready": {"ready", "infeasible", *_STOPPED},
    "ready": {"executing", "filled", *_STOPPED},
    "executing": {"filled", "partially_filled"},
}


def violations(journal: Journal, truth: Truth) -> Iterator[str]:
    """Name every way in which the two differ."""
    yield from (f"answer: {surprise}" for surprise in journal.surprises)
    yield from _lost_and_phantom(journal, truth)
    for route_id, order in journal.acknowledged.items():
        row = truth.routes.get(route_id)
        if row is not None:
            yield from _route(route_id, order, row, truth)
    for route_id in truth.routes:
        yield from _trail(route_id, truth)
    yield from _unique_events(truth)
    yield from _unseen(journal, truth)
    for watcher, routes in journal.pushes.items():
        for route_id, pushes in routes.items():
            yield from (f"socket {watcher}, route {route_id}: {fault}" for fault in _stream(pushes, truth))
    yield from (f"dead letter: {letter}" for letter in truth.dead_letters)


def _lost_and_phantom(journal: Journal, truth: Truth) -> Iterator[str]:
    asked = {order.client_order_id: order for order in journal.orders}
    for order in journal.orders:
        if len(order.route_ids) > 1:
            yield f"duplicate: key {order.key} was answered with {len(order.route_ids)} routes"
        if len(order.stored_answers) > 1:
            yield f"replay: key {order.key} was answered 202 with {len(order.stored_answers)} different bodies"
        if not order.route_ids:
            yield f"unanswered: order {order.client_order_id} was never acknowledged"
        if order.route_ids and truth.keys.get(order.key) not in order.route_ids:
            yield f"key {order.key} names route {truth.keys.get(order.key)}, not {order.route_id}"
    yield from (f"lost: route {route_id}" for route_id in journal.acknowledged if route_id not in truth.routes)
    names = Counter(row["client_order_id"] for row in truth.routes.values())
    yield from (f"duplicate: order {name} has {count} routes" for name, count in names.items() if count > 1)
    yield from (f"phantom: nobody asked for order {name}" for name in names if name not in asked)


def _route(route_id: str, order: Order, row: dict[str, Any], truth: Truth) -> Iterator[str]:
    for name, value in order.body.items():
        stored = row["trade"].get(name)
        if isinstance(value, dict) and isinstance(stored, dict):
            stored = {field: stored.get(field) for field in value}
        if stored != value and not (isinstance(value, int | float) and stored == float(value)):
            yield f"route {route_id}: {name} was asked as {value!r} and is stored as {stored!r}"
    if order.is_finished and row["status"] != OUTCOMES[order.plan]:
        yield f"route {route_id}: is {row['status']} but its program wanted {order.plan} = {OUTCOMES[order.plan]}"
    yield from _schedule(route_id, order, row)
    stored_fills = truth.fills.get(route_id, {})
    if set(stored_fills) != set(order.fills):
        yield f"route {route_id}: fills {sorted(stored_fills)} are stored, {sorted(order.fills)} were reported"
    for fill_id, fill in order.fills.items():
        if fill_id in stored_fills and not _same_amounts(fill, stored_fills[fill_id]):
            yield f"route {route_id}: fill {fill_id} is stored with other amounts"


def _schedule(route_id: str, order: Order, row: dict[str, Any]) -> Iterator[str]:
    # Nothing else makes a revision here: markets stand still, and forecasts without prices do too.
    slices = order.body.get("schedule", {}).get("slices", 1)
    fills = len(order.fills) if slices > 1 else 0
    if row["revision"] > slices + fills:
        yield f"route {route_id}: has {row['revision']} revisions for {slices} slices and {fills} fills"
    if slices > 1 and row["status"] == "ready" and (row["next_due_at"] is not None or row["slices_left"] != 1):
        yield f"route {route_id}: {row['slices_left']} slices are left after its horizon"


def _same_amounts(said: dict[str, Any], stored: dict[str, Any]) -> bool:
    return all(
        said[side]["asset"] == stored[side]["asset"]
        and Decimal(said[side]["amount"]) == Decimal(stored[side]["amount"])
        for side in ("sends", "receives")
    )


def _trail(route_id: str, truth: Truth) -> Iterator[str]:
    row, trail = truth.routes[route_id], truth.trails.get(route_id, [])
    seqs = [event.seq for event in trail]
    if seqs != list(range(1, row["event_count"] + 1)):
        yield f"route {route_id}: its trail has seq {seqs}, not 1 to {row['event_count']}"
    status: str | None = None
    for event in trail:
        if event.status == status:
            continue
        if event.status not in _MAY_FOLLOW.get(status, set()):
            yield f"route {route_id}: went from {status} to {event.status} at seq {event.seq}"
        status = event.status
    if status != row["status"]:
        yield f"route {route_id}: is {row['status']} but its trail ends {status}"
    solutions = truth.solutions.get(route_id, 0)
    if solutions != row["revision"]:
        yield f"route {route_id}: revision {row['revision']} but {solutions} solutions"
    for kind in ("route_request.trade_route", "features_data.insertion_ok", "inference_data.insertion_ok"):
        if sum(event.type == kind for event in trail) > 1:
            yield f"route {route_id}: {kind} was said more than once"


def _unique_events(truth: Truth) -> Iterator[str]:
    said = Counter((event.source, event.id) for trail in truth.trails.values() for event in trail)
    yield from (f"event {name} was said {count} times" for name, count in said.items() if count > 1)


def _unseen(journal: Journal, truth: Truth) -> Iterator[str]:
    for route_id in truth.routes:
        by = [watcher for watcher, routes in journal.pushes.items() if route_id in routes]
        if len(by) < WATCHERS_PER_ROUTE:
            yield f"route {route_id}: only shown to {', '.join(by) or 'nobody'}"


def _stream(pushes: list[Push], truth: Truth) -> Iterator[str]:
    trail: dict[int, TrailEvent] = {event.seq: event for event in truth.trails.get(pushes[0].route_id, [])}
    last = 0
    for push in pushes:
        if push.is_snapshot:
            if push.recovered and push.seq < last:
                yield f"a snapshot went back from seq {last} to {push.seq}"
        elif push.seq != last + 1:
            yield f"{'repeated' if push.seq <= last else 'gap'}: seq {push.seq} came after {last}"
        last = max(last, push.seq)
        stored = trail.get(push.seq)
        if stored is None:
            yield f"seq {push.seq} is not in the trail"
        elif push.status != stored.status or push.revision != stored.revision:
            yield f"seq {push.seq} was shown as {push.status} r{push.revision}, stored as {stored.status}"
        elif push.event is not None and push.event != (stored.source, stored.id, stored.type):
            yield f"seq {push.seq} was shown as event {push.event}, stored as {stored.source} {stored.id}"
    if last < len(trail):
        yield f"ended at seq {last} of {len(trail)}"


def terminal_twice(truth: Truth) -> list[str]:
    """List routes that reached two different terminal states."""
    return [
        route_id for route_id, trail in truth.trails.items() if len({event.status for event in trail} & TERMINAL) > 1
    ]


def unrecovered(journal: Journal) -> int:
    """Count the times that a resumed socket was honestly told that it lost its place."""
    return sum(
        push.is_snapshot and not push.recovered
        for routes in journal.pushes.values()
        for pushes in routes.values()
        for push in pushes
    )
