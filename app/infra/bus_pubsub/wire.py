"""Messages as Pub/Sub carries them, within its limits."""

from typing import Any

from google.pubsub_v1 import types

from app.domain.errors import Invalid, TooLarge
from app.domain.message import Delivery, Message

MAX_BATCH_MESSAGES = 1000
MAX_BATCH_BYTES = 9_000_000
_MAX_ATTRIBUTES = 100
_MAX_ATTRIBUTE_NAME_BYTES = 256
_MAX_ATTRIBUTE_VALUE_BYTES = 1024
_MAX_KEY_BYTES = 1024

# The generated wrappers copy and check each field, which costs more than sending; beneath them lie the bare messages.
_WireMessage = types.PubsubMessage.pb()
_WirePublish = types.PublishRequest.pb()


def to_wire(message: Message) -> Any:
    """Build what is sent. Raises TooLarge or Invalid, so that one message cannot fail the batch it travels in."""
    attributes = message.attributes
    if not message.body and not attributes:
        raise Invalid("Pub/Sub carries no message without a body and attributes")
    if len(message.key.encode()) > _MAX_KEY_BYTES:
        raise Invalid(f"a key is longer than the {_MAX_KEY_BYTES} bytes that Pub/Sub carries")
    if len(attributes) > _MAX_ATTRIBUTES or any(
        not name
        or name.startswith("goog")
        or len(name.encode()) > _MAX_ATTRIBUTE_NAME_BYTES
        or len(value.encode()) > _MAX_ATTRIBUTE_VALUE_BYTES
        for name, value in attributes.items()
    ):
        raise Invalid(
            f"Pub/Sub carries {_MAX_ATTRIBUTES} attributes, named in {_MAX_ATTRIBUTE_NAME_BYTES} bytes and not "
            f"as goog…, of {_MAX_ATTRIBUTE_VALUE_BYTES} bytes each"
        )
    wire = _WireMessage(data=message.body, ordering_key=message.key, attributes=attributes)
    if wire_bytes(wire) > MAX_BATCH_BYTES:
        raise TooLarge(f"a message is larger than {MAX_BATCH_BYTES} bytes; keep its content elsewhere and send a name")
    return wire


def wire_bytes(wire: Any) -> int:
    """Count the bytes a message takes in a request, its framing included."""
    size: int = wire.ByteSize()
    return size + 8


def publish_request(topic_path: str, messages: list[Any]) -> types.PublishRequest:
    """Build the request that publishes messages of one topic and key."""
    request: types.PublishRequest = types.PublishRequest.wrap(_WirePublish(topic=topic_path, messages=messages))
    return request


def received_messages(answer: types.PullResponse) -> list[Any]:
    """List what a pull brought."""
    return list(types.PullResponse.pb(answer).received_messages)


def to_delivery(received: Any, subscription: str, topic: str) -> Delivery:
    """Read what was received; the handle is the subscription and the acknowledgement id."""
    wire = received.message
    message = Message(topic=topic, body=wire.data, key=wire.ordering_key, attributes=dict(wire.attributes))
    return Delivery(message=message, attempt=max(1, received.delivery_attempt), handle=(subscription, received.ack_id))
