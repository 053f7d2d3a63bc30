"""The topics and subscriptions this product declares, and how they are set up."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from google.api_core import exceptions as google_errors
from google.protobuf.duration_pb2 import Duration
from google.pubsub_v1 import types
from google.pubsub_v1.services.publisher import PublisherAsyncClient
from google.pubsub_v1.services.subscriber import SubscriberAsyncClient

from app.infra.bus_pubsub.calls import CALL_TIMEOUT_S, insist

MAX_DELIVERY_ATTEMPTS = 100
_FIRST_BACKOFF_S = 0.1
_LONGEST_BACKOFF_S = 10
_ATTEMPTS = 5


@dataclass(slots=True)
class Topology:
    """What was declared so far: topics, and subscriptions by name with their topic."""

    project: str
    dead_letter_topic: str
    lease_s: int
    topics: set[str] = field(default_factory=set)
    subscriptions: dict[str, str] = field(default_factory=dict)

    def declare(self, topics: Sequence[str], subscriptions: Mapping[str, str]) -> None:
        """Add to what is declared. Dead letters get a subscription too: without one Pub/Sub drops them."""
        self.topics |= {*topics, *subscriptions.values(), self.dead_letter_topic}
        self.subscriptions |= {**subscriptions, self.dead_letter_topic: self.dead_letter_topic}

    def topic_path(self, topic: str) -> str:
        """Write the full name of a topic."""
        return f"projects/{self.project}/topics/{topic}"

    def subscription_path(self, subscription: str) -> str:
        """Write the full name of a subscription."""
        return f"projects/{self.project}/subscriptions/{subscription}"

    async def create(self, publisher: PublisherAsyncClient, subscriber: SubscriberAsyncClient) -> None:
        """Create what is missing; what exists is left as it is."""

        async def create_topic(topic: str) -> None:
            call = partial(publisher.create_topic, name=self.topic_path(topic), retry=None, timeout=CALL_TIMEOUT_S)
            with suppress(google_errors.AlreadyExists):
                await insist(call, attempts=_ATTEMPTS)

        async def create_subscription(subscription: str, topic: str) -> None:
            request = self._request(subscription, topic)
            call = partial(subscriber.create_subscription, request=request, retry=None, timeout=CALL_TIMEOUT_S)
            with suppress(google_errors.AlreadyExists):
                await insist(call, attempts=_ATTEMPTS)

        await asyncio.gather(*(create_topic(topic) for topic in self.topics))
        await asyncio.gather(*(create_subscription(*pair) for pair in self.subscriptions.items()))

    def _request(self, subscription: str, topic: str) -> types.Subscription:
        request = types.Subscription(
            name=self.subscription_path(subscription),
            topic=self.topic_path(topic),
            ack_deadline_seconds=self.lease_s,
            enable_message_ordering=True,
            # Set and empty: a subscription that nobody read for a month stays.
            expiration_policy=types.ExpirationPolicy(),
            retry_policy=types.RetryPolicy(
                minimum_backoff=Duration(nanos=int(_FIRST_BACKOFF_S * 1e9)),
                maximum_backoff=Duration(seconds=_LONGEST_BACKOFF_S),
            ),
        )
        if topic != self.dead_letter_topic:
            request.dead_letter_policy = types.DeadLetterPolicy(
                dead_letter_topic=self.topic_path(self.dead_letter_topic),
                max_delivery_attempts=MAX_DELIVERY_ATTEMPTS,
            )
        return request
