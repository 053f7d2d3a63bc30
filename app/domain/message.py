"""What travels on a bus."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Message:
    """What travels on a bus: one CloudEvent in JSON, with the attributes a broker may route by."""

    topic: str
    body: bytes
    key: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message handed to one receiver for a while; `handle` belongs to the bus that made it."""

    message: Message
    attempt: int
    handle: Any


def pack(message: Message) -> bytes:
    """Write a message, whatever bytes its body has, as JSON."""
    return json.dumps(
        {
            "topic": message.topic,
            "key": message.key,
            "attributes": dict(message.attributes),
            "body": message.body.decode("utf-8", "surrogateescape"),
        }
    ).encode()


def unpack(content: bytes) -> Message:
    """Read what `pack` wrote."""
    stored = json.loads(content)
    return Message(
        topic=stored["topic"],
        body=stored["body"].encode("utf-8", "surrogateescape"),
        key=stored["key"],
        attributes=stored["attributes"],
    )
