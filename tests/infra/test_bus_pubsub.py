import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator

import pytest

from app.domain.errors import Invalid, TooLarge, Unavailable
from app.domain.message import Message
from app.infra.bus_pubsub import PubSubBus
from app.services.ports import Bus
from tests.infra.bus_suite import WITHIN_S, BusSuite, bodies, receive_all, receive_one
from tests.infra.pubsub_emulator import PubSubEmulator, running_emulator

pytestmark = pytest.mark.emulator

LEASE_S = 10
_numbers = itertools.count()


@pytest.fixture(scope="module")
def emulator() -> Iterator[PubSubEmulator]:
    with running_emulator() as emulator:
        yield emulator


@pytest.fixture
def topic() -> str:
    return f"topic_{next(_numbers)}"


@pytest.fixture
def subscription(topic: str) -> str:
    return f"stage_of_{topic}"


@pytest.fixture
async def bus(emulator: PubSubEmulator, topic: str, subscription: str) -> AsyncIterator[PubSubBus]:
    bus = PubSubBus("solver-test", emulator_host=emulator.host, lease_s=LEASE_S)
    await bus.ensure([topic], {subscription: topic})
    yield bus
    await bus.close()


class TestPubSubBus(BusSuite):
    @pytest.fixture
    def bus(self, bus: PubSubBus) -> Bus:
        return bus

    @pytest.fixture
    def redelivery_timeout_s(self) -> float:
        return LEASE_S + 10.0


async def test_declaring_twice_changes_nothing(bus: PubSubBus, topic: str, subscription: str) -> None:
    await bus.publish([Message(topic, b"before")])
    await bus.ensure([topic], {subscription: topic})

    assert bodies(await receive_all(bus, subscription, 1)) == [b"before"]


async def test_subscriptions_are_set_up_to_order_retry_and_dead_letter(
    bus: PubSubBus, topic: str, subscription: str
) -> None:
    path = f"projects/solver-test/subscriptions/{subscription}"
    made = await bus._subscriber.get_subscription(subscription=path)

    assert made.topic == f"projects/solver-test/topics/{topic}"
    assert made.enable_message_ordering
    assert made.ack_deadline_seconds == LEASE_S
    assert made.dead_letter_policy.max_delivery_attempts == 100
    assert made.dead_letter_policy.dead_letter_topic == "projects/solver-test/topics/topic_dead_letters"
    assert made.retry_policy.maximum_backoff.total_seconds() == 10


async def test_each_subscription_of_a_topic_gets_every_message(bus: PubSubBus, topic: str, subscription: str) -> None:
    await bus.ensure([], {f"other_{subscription}": topic})
    await bus.publish([Message(topic, b"news")])

    assert bodies(await receive_all(bus, subscription, 1)) == [b"news"]
    assert bodies(await receive_all(bus, f"other_{subscription}", 1)) == [b"news"]


async def test_a_subscription_declared_elsewhere_can_be_read(
    bus: PubSubBus, emulator: PubSubEmulator, topic: str, subscription: str
) -> None:
    await bus.publish([Message(topic, b"hello")])
    reader = PubSubBus("solver-test", emulator_host=emulator.host)

    (received,) = await receive_all(reader, subscription, 1)
    assert received.message.topic == topic
    await reader.close()


async def test_what_an_unfinished_wait_brings_is_given_back_at_close(
    bus: PubSubBus, emulator: PubSubEmulator, topic: str, subscription: str
) -> None:
    leaving = PubSubBus("solver-test", emulator_host=emulator.host)
    await bus.publish([Message(topic, b"%d" % number) for number in range(3)])
    assert await leaving.receive(subscription, limit=3, wait_s=0.0) == []
    await leaving.release([await receive_one(leaving, subscription)])
    await leaving.close()

    received = await receive_all(bus, subscription, 3, within_s=LEASE_S / 2)
    assert sorted(set(bodies(received))) == [b"0", b"1", b"2"]


async def test_a_message_that_can_never_be_carried_fails_alone(bus: PubSubBus, topic: str, subscription: str) -> None:
    outcomes = await asyncio.gather(
        bus.publish([Message(topic, b"fine")]),
        bus.publish([Message(topic, b"x" * 10_000_000)]),
        bus.publish([Message(topic, b"")]),
        bus.publish([Message(topic, b"x", key="k" * 1025)]),
        bus.publish([Message(topic, b"x", attributes={"long": "x" * 1025})]),
        return_exceptions=True,
    )

    assert [type(outcome) for outcome in outcomes] == [type(None), TooLarge, Invalid, Invalid, Invalid]
    assert bodies(await receive_all(bus, subscription, 1)) == [b"fine"]


async def test_large_messages_are_spread_over_requests(bus: PubSubBus, topic: str, subscription: str) -> None:
    sent = [b"%d" % number + b"x" * 3_000_000 for number in range(7)]
    await bus.publish([Message(topic, body, key="one") for body in sent])

    assert bodies(await receive_all(bus, subscription, 7)) == sent


async def test_an_undeclared_topic_is_unavailable(emulator: PubSubEmulator) -> None:
    bus = PubSubBus("solver-test", emulator_host=emulator.host)
    with pytest.raises(Unavailable, match="nowhere"):
        await bus.publish([Message("nowhere", b"lost")])
    with pytest.raises(Unavailable, match="nowhere"):
        await bus.receive("nowhere", limit=1, wait_s=1.0)
    await bus.close()


async def test_an_emulator_that_restarts_is_found_again_and_set_up_anew(
    bus: PubSubBus, emulator: PubSubEmulator, topic: str, subscription: str
) -> None:
    await bus.publish([Message(topic, b"forgotten")])
    held = await receive_one(bus, subscription)
    emulator.child.kill()
    try:
        with pytest.raises(Unavailable):
            await bus.publish([Message(topic, b"refused")])
        with pytest.raises(Unavailable):
            await bus.acknowledge([held])
    finally:
        emulator.child.start()

    async with asyncio.timeout(WITHIN_S):
        while True:
            try:
                await bus.receive(subscription, limit=1, wait_s=0.5)
                await bus.publish([Message(topic, b"back")])
                break
            except Unavailable:
                continue
    assert bodies(await receive_all(bus, subscription, 1)) == [b"back"]
