"""The bus over Google Pub/Sub: unary pull on demand, and publishing in micro-batches."""

import asyncio
import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from typing import Any, TypeVar

from google.api_core import exceptions as google_errors
from google.pubsub_v1 import types

from app.domain.errors import Unavailable
from app.domain.message import Delivery, Message
from app.infra.bus_pubsub import wire
from app.infra.bus_pubsub.calls import CALL_TIMEOUT_S, VENDOR_ERRORS, insist, open_channel, open_clients, translated
from app.infra.bus_pubsub.lanes import Lanes
from app.infra.bus_pubsub.topology import Topology

Result = TypeVar("Result")

MIN_LEASE_S = 10
MAX_LEASE_S = 20
_MAX_DELAY_S = 600
_KEYLESS_LANES = 4
_MAX_ACK_ID_BYTES = 400_000
# A pull that is cut off may already have taken messages, which then wait for the end of their lease: so it is left
# to end by itself, and the next receiver gets what it brings.
_PULL_TIMEOUT_S = 10.0

_PublishLane = tuple[str, str, int]
_LeaseLane = tuple[str, int | None]


@dataclass(slots=True)
class _Inbox:
    topic: str
    leased: deque[tuple[float, Any]] = field(default_factory=deque)
    pull: asyncio.Task[None] | None = None


class PubSubBus:
    """At-least-once delivery by Pub/Sub. Make one within a running loop.

    A lease lasts `lease_s` in all and is never extended: slower work is delivered again.
    """

    def __init__(
        self,
        project: str,
        *,
        emulator_host: str | None = None,
        dead_letter_topic: str = "topic_dead_letters",
        lease_s: int = MAX_LEASE_S,
        max_in_flight: int = 32,
    ) -> None:
        if not MIN_LEASE_S <= lease_s <= MAX_LEASE_S:
            raise ValueError(f"lease_s must lie within {MIN_LEASE_S} and {MAX_LEASE_S}, not {lease_s}")
        self._lease_s = lease_s
        self._topology = Topology(project, dead_letter_topic, lease_s)
        self._channel = open_channel(emulator_host)
        self._publisher, self._subscriber = open_clients(self._channel)
        self._publishing: Lanes[_PublishLane, Any] = Lanes(
            self._send_messages,
            max_items=wire.MAX_BATCH_MESSAGES,
            max_weight=wire.MAX_BATCH_BYTES,
            weigh=wire.wire_bytes,
            max_in_flight=max_in_flight,
        )
        self._settling: Lanes[_LeaseLane, str] = Lanes(
            self._send_settled,
            max_items=wire.MAX_BATCH_MESSAGES,
            max_weight=_MAX_ACK_ID_BYTES,
            weigh=len,
            max_in_flight=max_in_flight,
        )
        self._keyless_lanes = itertools.cycle(range(_KEYLESS_LANES))
        self._inboxes: dict[str, _Inbox] = {}
        self._closed = False

    async def ensure(self, topics: Sequence[str], subscriptions: Mapping[str, str]) -> None:
        """Create what is missing; `subscriptions` maps each one to its topic. Raises Unavailable.

        What was declared is created again should it vanish, as it does when the emulator restarts.
        """
        self._refuse_closed()
        self._topology.declare(topics, subscriptions)
        await self._translating("create topics and subscriptions", self._create_declared)

    async def publish(self, messages: Sequence[Message]) -> None:
        """Store messages durably. Raises Unavailable; what Pub/Sub can never carry raises TooLarge or Invalid."""
        self._refuse_closed()
        lanes: dict[_PublishLane, list[Any]] = {}
        keyless_lane = next(self._keyless_lanes)
        for message in messages:
            # A request carries a single ordering key, and the requests of one key must not overtake each other.
            lane = (message.topic, message.key, 0 if message.key else keyless_lane)
            lanes.setdefault(lane, []).append(wire.to_wire(message))
        await _all_sent([sent for lane, batch in lanes.items() for sent in self._publishing.add(lane, batch)])

    async def receive(self, subscription: str, *, limit: int, wait_s: float) -> list[Delivery]:
        """Take up to `limit` messages, waiting up to `wait_s` for the first. Raises Unavailable."""
        self._refuse_closed()
        now = asyncio.get_running_loop().time
        until = now() + wait_s
        inbox = await self._inbox(subscription)
        while not self._closed:
            if inbox.pull is not None and inbox.pull.done():
                ended, inbox.pull = inbox.pull, None
                ended.result()
            taken = self._take(subscription, inbox, limit)
            if taken:
                return taken
            if inbox.pull is None:
                inbox.pull = asyncio.create_task(self._pull(subscription, inbox, limit))
            if until <= now():
                break
            await asyncio.wait({inbox.pull}, timeout=until - now())
        return []

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Never deliver these again. Raises Unavailable.

        The promise holds while their lease lasts, and as long as no earlier message of their key is delivered again:
        Pub/Sub then repeats all that follow it on that key.
        """
        await self._settle(deliveries, None)

    async def release(self, deliveries: Sequence[Delivery], *, delay_s: float = 0.0) -> None:
        """Deliver these again after a delay, in whole seconds up to 600. Raises Unavailable."""
        await self._settle(deliveries, min(ceil(delay_s), _MAX_DELAY_S))

    async def close(self) -> None:
        """Send what waits, give back what nobody took, and disconnect."""
        if self._closed:
            return
        self._closed = True
        pulls = [inbox.pull for inbox in self._inboxes.values() if inbox.pull is not None]
        for pull in pulls:
            pull.cancel()
        await asyncio.gather(*pulls, return_exceptions=True)
        given_back = [
            sent
            for subscription, inbox in self._inboxes.items()
            for sent in self._settling.add((subscription, 0), [received.ack_id for _, received in inbox.leased])
        ]
        await asyncio.gather(*given_back, return_exceptions=True)
        await self._publishing.drained()
        await self._settling.drained()
        await self._channel.close()

    def _refuse_closed(self) -> None:
        if self._closed:
            raise Unavailable("the bus is closed")

    async def _inbox(self, subscription: str) -> _Inbox:
        if subscription not in self._inboxes:
            topic = self._topology.subscriptions.get(subscription) or await self._find_topic(subscription)
            self._inboxes.setdefault(subscription, _Inbox(topic))
        return self._inboxes[subscription]

    async def _find_topic(self, subscription: str) -> str:
        path = self._topology.subscription_path(subscription)
        call = partial(self._subscriber.get_subscription, subscription=path, retry=None, timeout=CALL_TIMEOUT_S)
        found: types.Subscription = await self._translating(f"find the subscription {subscription}", call)
        return found.topic.rpartition("/")[2]

    async def _pull(self, subscription: str, inbox: _Inbox, limit: int) -> None:
        request = types.PullRequest(
            subscription=self._topology.subscription_path(subscription),
            max_messages=min(limit, wire.MAX_BATCH_MESSAGES),
        )

        async def pull() -> types.PullResponse:
            try:
                return await self._subscriber.pull(request=request, retry=None, timeout=_PULL_TIMEOUT_S)
            except google_errors.DeadlineExceeded:
                return types.PullResponse()

        answer = await self._translating(f"pull from {subscription}", pull)
        lease_ends_at = asyncio.get_running_loop().time() + self._lease_s
        inbox.leased.extend((lease_ends_at, received) for received in wire.received_messages(answer))

    def _take(self, subscription: str, inbox: _Inbox, limit: int) -> list[Delivery]:
        now = asyncio.get_running_loop().time()
        taken: list[Delivery] = []
        while inbox.leased and len(taken) < limit:
            lease_ends_at, received = inbox.leased.popleft()
            if lease_ends_at > now:
                taken.append(wire.to_delivery(received, subscription, inbox.topic))
        return taken

    async def _settle(self, deliveries: Sequence[Delivery], delay_s: int | None) -> None:
        self._refuse_closed()
        lanes: dict[_LeaseLane, list[str]] = {}
        for delivery in deliveries:
            subscription, ack_id = delivery.handle
            lanes.setdefault((subscription, delay_s), []).append(ack_id)
        await _all_sent([sent for lane, ack_ids in lanes.items() for sent in self._settling.add(lane, ack_ids)])

    async def _send_messages(self, lane: _PublishLane, messages: list[Any]) -> None:
        topic = lane[0]
        request = wire.publish_request(self._topology.topic_path(topic), messages)
        call = partial(self._publisher.publish, request=request, retry=None, timeout=CALL_TIMEOUT_S)
        await self._translating(f"publish to {topic}", call)

    async def _send_settled(self, lane: _LeaseLane, ack_ids: list[str]) -> None:
        subscription, delay_s = lane
        path = self._topology.subscription_path(subscription)
        settle = partial(self._subscriber.acknowledge, subscription=path, ack_ids=ack_ids)
        if delay_s is not None:
            settle = partial(
                self._subscriber.modify_ack_deadline,
                subscription=path,
                ack_ids=ack_ids,
                ack_deadline_seconds=delay_s,
            )
        call = partial(settle, retry=None, timeout=CALL_TIMEOUT_S)
        await self._translating(f"settle messages of {subscription}", partial(insist, call, attempts=3))

    async def _create_declared(self) -> None:
        await self._topology.create(self._publisher, self._subscriber)

    async def _translating(self, doing: str, call: Callable[[], Awaitable[Result]]) -> Result:
        try:
            try:
                return await call()
            except google_errors.NotFound:
                if not self._topology.topics:
                    raise
            await self._create_declared()
            return await call()
        except VENDOR_ERRORS as error:
            raise translated(error, doing) from error


async def _all_sent(waiting: Sequence[asyncio.Future[None]]) -> None:
    for outcome in await asyncio.gather(*waiting, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
