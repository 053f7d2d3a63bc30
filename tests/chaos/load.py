"""Programs that want routes: they retry what got no answer, with the same key, until it is answered."""

import asyncio
import random
import uuid
from collections.abc import Collection
from decimal import Decimal
from typing import Any

import httpx

from tests.chaos.installation import Installation
from tests.chaos.journal import Journal, Order, Plan

PENDING = frozenset({"requested", "data_ready", "features_ready", "inference_ready"})
_PLANS = {
    Plan.LEAVE: 42,
    Plan.WAIT: 14,
    Plan.CANCEL: 12,
    Plan.FILL: 16,
    Plan.FILL_PARTLY: 6,
    Plan.EXPIRE: 5,
    Plan.IMPOSSIBLE: 5,
}
_CONNECTIONS = 4
_AT_ONCE = 64
_GIVE_UP_S = 120.0
_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 2.0
_TTL_S = 1800
_SHORT_TTL_S = 1.5
_SCHEDULED = 0.25
_SHORT_HORIZON_S = 6.0


class Unanswered(Exception):
    """A request that no retry got an answer to."""


class Load:
    """Posts orders at a bounded rate and sees each of them through."""

    def __init__(self, installation: Installation, journal: Journal, chance: random.Random) -> None:
        self._installation = installation
        self._journal = journal
        self._chance = chance
        self._clients: list[httpx.AsyncClient] = []
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def run(self, count: int, *, over_s: float) -> None:
        """Post orders spread evenly over a time, and return once each is finished or given up."""
        orders = [self._order() for _ in range(count)]
        self._clients = [self._installation.client() for _ in range(_CONNECTIONS)]
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.TaskGroup() as tasks:
                for number, order in enumerate(orders):
                    await asyncio.sleep(max(0.0, began + over_s * number / count - loop.time()))
                    await self._room.acquire()
                    self._journal.orders.append(order)
                    tasks.create_task(self._see_through(order, self._clients[number % _CONNECTIONS]))
        finally:
            for client in self._clients:
                await client.aclose()

    def _order(self) -> Order:
        chance = self._chance
        plan = chance.choices(list(_PLANS), weights=list(_PLANS.values()))[0]
        name = uuid.UUID(int=chance.getrandbits(128), version=4)
        body = trade(chance, client_order_id=f"order-{name}")
        if chance.random() < _SCHEDULED:
            # Fills must find the horizon open; what is left alone sees all its slices come due.
            horizon_s = 900.0 if plan in (Plan.FILL, Plan.FILL_PARTLY) else _SHORT_HORIZON_S
            body["schedule"] = {"kind": chance.choice(("twap", "is")), "horizon_s": horizon_s, "slices": 4}
        if plan is Plan.EXPIRE:
            body["ttl_s"] = _SHORT_TTL_S
        if plan is Plan.IMPOSSIBLE:
            body["quantity"] = "1000000000"
        return Order(
            key=f"key-{name}",
            body=body,
            plan=plan,
            impatience_s=chance.uniform(0.001, 0.03) if chance.random() < 0.15 else None,
            is_doubled=chance.random() < 0.1,
        )

    async def _see_through(self, order: Order, client: httpx.AsyncClient) -> None:
        try:
            await asyncio.gather(*(self._post(order, client) for _ in range(2 if order.is_doubled else 1)))
            if order.route_id is None:
                return
            if order.plan is Plan.CANCEL:
                await self._cancel(order, client)
            elif order.plan in (Plan.FILL, Plan.FILL_PARTLY):
                await self._fill(order, client)
                if order.plan is Plan.FILL_PARTLY:
                    await self._cancel(order, client)
            order.is_finished = True
        except Unanswered as error:
            self._journal.surprise(str(error))
        finally:
            order.is_over = True
            self._room.release()

    async def _post(self, order: Order, client: httpx.AsyncClient) -> None:
        headers = {"Idempotency-Key": order.key}
        if order.plan is Plan.WAIT:
            headers["Prefer"] = "wait=5"
        answer = await self._persist(
            client, "POST", "/v1/routes", {201, 202}, json=order.body, headers=headers, impatience_s=order.impatience_s
        )
        if answer.status_code in (201, 202):
            stored = answer.content if answer.status_code == 202 else None
            self._journal.acknowledge(order, answer.json()["id"], stored=stored)

    async def _cancel(self, order: Order, client: httpx.AsyncClient) -> None:
        await self._persist(client, "DELETE", f"/v1/routes/{order.route_id}", {200})

    async def _fill(self, order: Order, client: httpx.AsyncClient) -> None:
        route = await self._ready(order, client)
        if route["status"] != "ready":
            self._journal.surprise(f"route {order.route_id} became {route['status']}, which cannot be filled")
            return
        parts = self._chance.randint(1, 3)
        count = parts if order.plan is Plan.FILL else 1
        shares = parts if order.plan is Plan.FILL else 2
        for number in range(count):
            fill_id = f"{order.client_order_id}-{number}"
            fill = {
                "fill_id": fill_id,
                "sends": _share(route["solution"]["sends"], shares, number),
                "receives": _share(route["solution"]["receives"], shares, number),
            }
            order.fills[fill_id] = fill
            impatience_s = self._chance.uniform(0.001, 0.02) if self._chance.random() < 0.2 else None
            await self._persist(
                client, "POST", f"/v1/routes/{order.route_id}/fills", {200, 201}, json=fill, impatience_s=impatience_s
            )

    async def _ready(self, order: Order, client: httpx.AsyncClient) -> dict[str, Any]:
        for _ in range(int(_GIVE_UP_S)):
            answer = await self._persist(client, "GET", f"/v1/routes/{order.route_id}?wait=5", {200})
            route: dict[str, Any] = answer.json()
            if route["status"] not in PENDING:
                return route
        raise Unanswered(f"route {order.route_id} was never solved")

    async def _persist(
        self,
        client: httpx.AsyncClient,
        method: str,
        path: str,
        wanted: Collection[int],
        *,
        impatience_s: float | None = None,
        **request: Any,
    ) -> httpx.Response:
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + _GIVE_UP_S
        answers = self._journal.answers
        while loop.time() < give_up_at:
            timeout_s, impatience_s = impatience_s or 15.0, None
            pause_s = _PAUSE_S
            try:
                answer = await client.request(method, path, timeout=timeout_s, **request)
            except httpx.HTTPError as error:
                answers[type(error).__name__] += 1
            else:
                answers[str(answer.status_code)] += 1
                if answer.status_code in wanted:
                    return answer
                if not _may_retry(answer):
                    self._journal.surprise(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
                    return answer
                if answer.status_code == 503 and "Retry-After" not in answer.headers:
                    self._journal.surprise(f"{method} {path}: 503 without Retry-After")
                pause_s = min(float(answer.headers.get("Retry-After", _PAUSE_S)), _LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s)
        raise Unanswered(f"{method} {path} got no answer within {_GIVE_UP_S:.0f} s")


def trade(chance: random.Random, **fields: Any) -> dict[str, Any]:
    """Make up a trade that the markets can serve."""
    base, most = chance.choice((("BTC", 20.0), ("ETH", 400.0)))
    is_in_quote = chance.random() < 0.3
    quantity = chance.uniform(0.001, 0.1) * most
    body: dict[str, Any] = {
        "instrument": f"{base}-USD",
        "side": chance.choice(("buy", "sell")),
        "quantity": f"{quantity * (64_000 if base == 'BTC' else 3_200):.2f}" if is_in_quote else f"{quantity:.6f}",
        "ttl_s": _TTL_S,
    }
    if is_in_quote:
        body["quantity_asset"] = "USD"
    return {**body, **fields}


def _share(amount: dict[str, str], parts: int, number: int) -> dict[str, str]:
    whole = Decimal(amount["amount"])
    part = (whole / parts).quantize(Decimal(1).scaleb(-12))
    return {"asset": amount["asset"], "amount": f"{whole - part * (parts - 1) if number == 0 else part:f}"}


def _may_retry(answer: httpx.Response) -> bool:
    if answer.status_code in (429, 503):
        return True
    return answer.status_code == 409 and answer.json().get("type", "").endswith(":conflict")
