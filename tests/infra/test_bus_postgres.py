import itertools
from collections.abc import AsyncIterator

import pytest

from app.domain.message import Message
from app.infra.bus_postgres import PostgresBus
from app.infra.db import Database
from app.infra.listener import Listener
from app.services.ports import Bus
from tests.infra.bus_suite import BRIEFLY_S, BusSuite, bodies, receive_all

_numbers = itertools.count()


@pytest.fixture
def topic() -> str:
    return f"topic_{next(_numbers)}"


@pytest.fixture
def subscription(topic: str) -> str:
    return f"stage_of_{topic}"


@pytest.fixture
async def listener(database: Database) -> AsyncIterator[Listener]:
    listener = Listener(database)
    await listener.open()
    yield listener
    await listener.close()


@pytest.fixture
async def bus(database: Database, listener: Listener, subscription: str) -> AsyncIterator[PostgresBus]:
    bus = PostgresBus(database, listener, lambda message: [f"stage_of_{message.topic}"], owner="tests", lease_s=1.0)
    yield bus
    await bus.close()


class TestPostgresBus(BusSuite):
    @pytest.fixture
    def bus(self, bus: PostgresBus) -> Bus:
        return bus

    @pytest.fixture
    def redelivery_timeout_s(self) -> float:
        return 10.0


async def test_a_named_message_is_delivered_once_however_often_it_is_published(
    bus: PostgresBus, topic: str, subscription: str
) -> None:
    sent = Message(topic, b"once", attributes={"source": "desk", "id": topic})
    await bus.publish([sent, sent])
    await bus.publish([sent])

    assert bodies(await receive_all(bus, subscription, 1)) == [b"once"]
    await bus.publish([sent])
    assert await bus.receive(subscription, limit=10, wait_s=BRIEFLY_S) == []


async def test_what_is_given_back_twice_is_given_back_once(bus: PostgresBus, topic: str, subscription: str) -> None:
    await bus.publish([Message(topic, b"again")])
    (first,) = await bus.receive(subscription, limit=1, wait_s=BRIEFLY_S)
    await bus.release([first], delay_s=600.0)
    await bus.release([first])

    assert await bus.receive(subscription, limit=1, wait_s=0.0) == []


async def test_a_late_receiver_settles_nothing(bus: PostgresBus, topic: str, subscription: str) -> None:
    await bus.publish([Message(topic, b"slow")])
    (late,) = await bus.receive(subscription, limit=1, wait_s=BRIEFLY_S)
    (taken_over,) = await bus.receive(subscription, limit=1, wait_s=10.0)
    await bus.acknowledge([late])
    await bus.release([taken_over])

    assert bodies(await receive_all(bus, subscription, 1)) == [b"slow"]
