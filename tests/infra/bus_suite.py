"""What every bus must do. Subclass `BusSuite` in a test module that provides its fixtures.

Fixtures: `bus`, freshly made; `topic` and `subscription`, declared, empty and used by no other test; and
`redelivery_timeout_s`, within which the bus delivers again what was neither acknowledged nor released.
"""

import asyncio
from collections.abc import Sequence

import pytest

from app.domain.errors import Unavailable
from app.domain.message import Delivery, Message
from app.services.ports import Bus

WITHIN_S = 15.0
BRIEFLY_S = 0.2


async def receive_all(bus: Bus, subscription: str, count: int, *, within_s: float = WITHIN_S) -> list[Delivery]:
    """Receive and acknowledge until `count` deliveries have come. Raises TimeoutError."""
    received: list[Delivery] = []
    async with asyncio.timeout(within_s):
        while len(received) < count:
            deliveries = await bus.receive(subscription, limit=count, wait_s=within_s)
            await bus.acknowledge(deliveries)
            received += deliveries
    return received


async def receive_one(bus: Bus, subscription: str, *, within_s: float = WITHIN_S) -> Delivery:
    """Receive a single delivery without acknowledging it. Raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while True:
            for delivery in await bus.receive(subscription, limit=1, wait_s=within_s):
                return delivery


def bodies(deliveries: Sequence[Delivery]) -> list[bytes]:
    """List what was delivered."""
    return [delivery.message.body for delivery in deliveries]


class BusSuite:
    """The contract of the `Bus` port."""

    async def test_what_is_received_equals_what_was_published(self, bus: Bus, topic: str, subscription: str) -> None:
        sent = Message(topic, b'{"price": "\xe2\x82\xac1"}', key="route-1", attributes={"type": "a.b", "é": "ü"})
        await bus.publish([sent])

        (received,) = await receive_all(bus, subscription, 1)
        assert received.message == sent
        assert received.attempt == 1

    async def test_a_message_without_key_and_attributes_arrives(self, bus: Bus, topic: str, subscription: str) -> None:
        await bus.publish([Message(topic, b"{}")])

        (received,) = await receive_all(bus, subscription, 1)
        assert received.message == Message(topic, b"{}")

    async def test_publishing_nothing_and_settling_nothing_is_allowed(self, bus: Bus) -> None:
        await bus.publish([])
        await bus.acknowledge([])
        await bus.release([])

    async def test_an_empty_subscription_answers_nothing_after_the_wait(self, bus: Bus, subscription: str) -> None:
        async with asyncio.timeout(WITHIN_S):
            assert await bus.receive(subscription, limit=10, wait_s=BRIEFLY_S) == []
            assert await bus.receive(subscription, limit=10, wait_s=0.0) == []

    async def test_a_waiting_receiver_gets_what_is_published_meanwhile(
        self, bus: Bus, topic: str, subscription: str
    ) -> None:
        waiting = asyncio.create_task(receive_one(bus, subscription))
        assert await bus.receive(subscription, limit=1, wait_s=0.0) == []
        await bus.publish([Message(topic, b"late")])

        assert (await waiting).message.body == b"late"
        await bus.acknowledge([await waiting])

    async def test_no_more_than_the_limit_is_received(self, bus: Bus, topic: str, subscription: str) -> None:
        await bus.publish([Message(topic, b"%d" % number) for number in range(10)])

        received: list[Delivery] = []
        async with asyncio.timeout(WITHIN_S):
            while len(received) < 10:
                deliveries = await bus.receive(subscription, limit=3, wait_s=WITHIN_S)
                assert len(deliveries) <= 3
                await bus.acknowledge(deliveries)
                received += deliveries
        assert sorted(bodies(received)) == [b"%d" % number for number in range(10)]

    async def test_what_is_acknowledged_never_comes_back(
        self, bus: Bus, topic: str, subscription: str, redelivery_timeout_s: float
    ) -> None:
        # Of two keys, since a bus may deliver again whatever follows on the key of what it delivers again.
        await bus.publish([Message(topic, b"kept", key="one"), Message(topic, b"done", key="other")])
        kept = []
        for delivery in [await receive_one(bus, subscription) for _ in range(2)]:
            if delivery.message.body == b"done":
                await bus.acknowledge([delivery])
            else:
                kept.append(delivery)
        assert bodies(kept) == [b"kept"]

        # The one comes back when its lease is over, by when the other would have come back too.
        returned = await receive_one(bus, subscription, within_s=redelivery_timeout_s)
        assert returned.message.body == b"kept"
        assert returned.attempt > kept[0].attempt
        await bus.acknowledge([returned])
        assert await bus.receive(subscription, limit=10, wait_s=BRIEFLY_S) == []

    async def test_what_is_released_is_delivered_again(self, bus: Bus, topic: str, subscription: str) -> None:
        sent = Message(topic, b"again", key="k", attributes={"a": "b"})
        await bus.publish([sent])
        first = await receive_one(bus, subscription)
        await bus.release([first])

        second = await receive_one(bus, subscription)
        assert second.message == sent
        assert second.attempt == first.attempt + 1
        await bus.acknowledge([second])

    async def test_what_is_released_with_a_delay_waits_for_it(self, bus: Bus, topic: str, subscription: str) -> None:
        await bus.publish([Message(topic, b"later")])
        now = asyncio.get_running_loop().time
        first = await receive_one(bus, subscription)
        released_at = now()
        await bus.release([first], delay_s=1.0)
        assert await bus.receive(subscription, limit=1, wait_s=BRIEFLY_S) == []

        second = await receive_one(bus, subscription)
        assert now() - released_at >= 0.9
        assert second.message.body == b"later"
        await bus.acknowledge([second])

    async def test_messages_of_a_key_arrive_in_order(self, bus: Bus, topic: str, subscription: str) -> None:
        keys = ("red", "green", "blue")
        for start in range(0, 20, 5):
            await bus.publish(
                [Message(topic, b"%d" % number, key=key) for number in range(start, start + 5) for key in keys]
            )

        received = await receive_all(bus, subscription, 60)
        for key in keys:
            of_key = [delivery.message.body for delivery in received if delivery.message.key == key]
            assert of_key == [b"%d" % number for number in range(20)]

    async def test_two_receivers_share_the_work_without_overlap(self, bus: Bus, topic: str, subscription: str) -> None:
        sent = [b"%d" % number for number in range(100)]
        await bus.publish([Message(topic, body) for body in sent])
        received: list[bytes] = []
        complete = asyncio.Event()

        async def work() -> None:
            while not complete.is_set():
                deliveries = await bus.receive(subscription, limit=5, wait_s=BRIEFLY_S)
                await bus.acknowledge(deliveries)
                received.extend(bodies(deliveries))
                if len(received) >= len(sent):
                    complete.set()

        async with asyncio.timeout(WITHIN_S):
            await asyncio.gather(work(), work())
        assert sorted(received) == sorted(sent)

    async def test_concurrent_publishers_lose_nothing(self, bus: Bus, topic: str, subscription: str) -> None:
        async def publish_ten(publisher: int) -> None:
            for number in range(10):
                await bus.publish([Message(topic, b"%d" % number, key=f"publisher-{publisher}")])

        await asyncio.gather(*(publish_ten(publisher) for publisher in range(30)))

        received = await receive_all(bus, subscription, 300)
        for publisher in range(30):
            of_key = [each.message.body for each in received if each.message.key == f"publisher-{publisher}"]
            assert of_key == [b"%d" % number for number in range(10)]

    async def test_a_thousand_messages_in_one_call_all_arrive(self, bus: Bus, topic: str, subscription: str) -> None:
        sent = [b"%04d" % number for number in range(1000)]
        await bus.publish([Message(topic, body) for body in sent])

        assert sorted(bodies(await receive_all(bus, subscription, 1000))) == sent

    async def test_a_cancelled_receive_loses_nothing(self, bus: Bus, topic: str, subscription: str) -> None:
        waiting = asyncio.create_task(bus.receive(subscription, limit=10, wait_s=WITHIN_S))
        assert await bus.receive(subscription, limit=1, wait_s=BRIEFLY_S) == []
        waiting.cancel()
        await asyncio.wait({waiting})
        await bus.publish([Message(topic, b"safe")])

        assert bodies(await receive_all(bus, subscription, 1)) == [b"safe"]

    async def test_a_closed_bus_ends_waiting_receivers_and_refuses_more(
        self, bus: Bus, topic: str, subscription: str
    ) -> None:
        waiting = asyncio.create_task(bus.receive(subscription, limit=10, wait_s=600.0))
        assert await bus.receive(subscription, limit=10, wait_s=BRIEFLY_S) == []
        await bus.close()
        await bus.close()

        async with asyncio.timeout(WITHIN_S):
            try:
                assert await waiting == []
            except Unavailable:
                assert waiting.done()
            with pytest.raises(Unavailable):
                await bus.receive(subscription, limit=10, wait_s=600.0)
            with pytest.raises(Unavailable):
                await bus.publish([Message(topic, b"too late")])
