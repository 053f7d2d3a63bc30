"""What a client outside asked for, was told and was shown: the only memory the checker trusts."""

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Plan(StrEnum):
    """What the program does with a route, and thereby how the route has to end."""

    LEAVE = "leave"
    WAIT = "wait"
    CANCEL = "cancel"
    FILL = "fill"
    FILL_PARTLY = "fill_partly"
    EXPIRE = "expire"
    IMPOSSIBLE = "impossible"


OUTCOMES = {
    Plan.LEAVE: "ready",
    Plan.WAIT: "ready",
    Plan.CANCEL: "cancelled",
    Plan.FILL: "filled",
    Plan.FILL_PARTLY: "partially_filled",
    Plan.EXPIRE: "expired",
    Plan.IMPOSSIBLE: "infeasible",
}


@dataclass(slots=True)
class Order:
    """One route as its program sees it."""

    key: str
    body: dict[str, Any]
    plan: Plan
    impatience_s: float | None = None
    is_doubled: bool = False
    route_ids: set[str] = field(default_factory=set)
    acknowledged_at: float | None = None
    stored_answers: set[bytes] = field(default_factory=set)
    fills: dict[str, dict[str, Any]] = field(default_factory=dict)
    is_finished: bool = False
    is_over: bool = False

    @property
    def client_order_id(self) -> str:
        """The program's own name of the route."""
        return str(self.body["client_order_id"])

    @property
    def route_id(self) -> str | None:
        """The route that was acknowledged."""
        return min(self.route_ids, default=None)


@dataclass(frozen=True, slots=True)
class Push:
    """One message about a route that a socket delivered."""

    is_snapshot: bool
    route_id: str
    seq: int
    recovered: bool
    status: str
    revision: int
    event: tuple[str, str, str] | None
    epoch: str
    at: float


@dataclass(slots=True)
class Journal:
    """Everything, in the order in which it happened."""

    orders: list[Order] = field(default_factory=list)
    pushes: dict[str, dict[str, list[Push]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list)), repr=False
    )
    answers: Counter[str] = field(default_factory=Counter)
    sockets: Counter[str] = field(default_factory=Counter)
    surprises: list[str] = field(default_factory=list)

    def acknowledge(self, order: Order, route_id: str, *, stored: bytes | None) -> None:
        """Note that a route was promised."""
        order.route_ids.add(route_id)
        if stored is not None:
            order.stored_answers.add(stored)
        if order.acknowledged_at is None:
            order.acknowledged_at = time.monotonic()

    def push(self, watcher: str, push: Push) -> None:
        """Note what a socket delivered."""
        self.pushes[watcher][push.route_id].append(push)

    def surprise(self, what: str) -> None:
        """Note an answer that no client should ever get."""
        self.surprises.append(what)

    @property
    def acknowledged(self) -> dict[str, Order]:
        """The promised routes."""
        return {route_id: order for order in self.orders for route_id in order.route_ids}
