"""Google Pub/Sub as the bus."""

from app.infra.bus_pubsub.bus import PubSubBus

__all__ = ["PubSubBus"]
