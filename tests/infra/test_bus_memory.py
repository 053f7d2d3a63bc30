from collections.abc import AsyncIterator

import pytest

from app.services.ports import Bus
from tests.infra.bus_suite import BusSuite
from tests.twins import MemoryBus


class TestMemoryBus(BusSuite):
    @pytest.fixture
    async def bus(self, topic: str, subscription: str) -> AsyncIterator[Bus]:
        bus = MemoryBus(lease_s=0.3)
        await bus.ensure([topic], {subscription: topic})
        yield bus
        await bus.close()

    @pytest.fixture
    def topic(self) -> str:
        return "topic_route_events"

    @pytest.fixture
    def subscription(self) -> str:
        return "features"

    @pytest.fixture
    def redelivery_timeout_s(self) -> float:
        return 10.0
