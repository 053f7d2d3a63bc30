"""The event names of the contract, and which stage each of them triggers."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

TOPIC_ROUTE_EVENTS = "topic_route_events"
TOPIC_ROUTE_LOGS = "topic_route_logs"
TOPIC_METRICS = "metrics"
METRICS_GENERATED = "metrics.generation_ok"
SPEC_VERSION = "1.0"
SCHEMA_VERSION = 1


class EventType(StrEnum):
    """What can happen to a route; `{name}.{payload}`."""

    ROUTE_REQUESTED = "route_request.trade_route"
    DATA_GENERATED = "route_data.generation_ok"
    DATA_INSERTED = "route_data.insertion_ok"
    DATA_EXISTS = "route_data.existence_ok"
    FEATURES_GENERATED = "features_data.generation_ok"
    FEATURES_INSERTED = "features_data.insertion_ok"
    FEATURES_EXIST = "features_data.existence_ok"
    INFERENCE_GENERATED = "inference_data.generation_ok"
    INFERENCE_INSERTED = "inference_data.insertion_ok"
    INFERENCE_EXISTS = "inference_data.existence_ok"
    ROUTE_SOLVED = "route_update.solution_ok"
    ROUTE_EXISTS = "route_update.existence_ok"
    ROUTE_INFEASIBLE = "route_update.infeasible"
    ROUTE_FAILED = "route_update.failed"
    ROUTE_EXPIRED = "route_update.expired"
    ROUTE_CANCELLED = "route_update.cancelled"
    ROUTE_FILLED = "route_update.fill"
    ROUTE_ENDED = "route_update.horizon_over"
    ROUTE_REPLAYED = "route_update.replayed"


class Stage(StrEnum):
    """The steps of the pipeline, in their order."""

    INTAKE = "intake"
    FEATURES = "features"
    INFERENCE = "inference"
    SOLVE = "solve"


RELAY = "relay"
"""The consumer that hands events to a broker outside."""

API_SOURCE = "solver-api"
TRIGGERS: dict[str, Stage] = {
    EventType.DATA_INSERTED: Stage.FEATURES,
    EventType.FEATURES_INSERTED: Stage.INFERENCE,
    EventType.INFERENCE_INSERTED: Stage.SOLVE,
}


def source_of(stage: str) -> str:
    """Name the component that says a stage's events."""
    return f"solver-{stage}"


SWEEPER_SOURCE = "solver-sweeper"
OWN_SOURCES = frozenset({API_SOURCE, SWEEPER_SOURCE, *(source_of(stage) for stage in Stage)})


def consumer_of(event_type: str, source: str) -> Stage | None:
    """Find the stage that an event triggers, if any."""
    if event_type == EventType.ROUTE_REQUESTED:
        return None if source in OWN_SOURCES else Stage.INTAKE
    return TRIGGERS.get(event_type)


@dataclass(frozen=True, slots=True)
class Event:
    """One CloudEvent of the trail."""

    source: str
    id: str
    type: str
    subject: str
    time: datetime
    data: dict[str, Any]
    traceparent: str | None = None

    def envelope(self) -> dict[str, Any]:
        """Write it as CloudEvents 1.0 in JSON."""
        name = self.type.split(".", 1)[0]
        document: dict[str, Any] = {
            "specversion": SPEC_VERSION,
            "id": self.id,
            "source": self.source,
            "type": self.type,
            "subject": self.subject,
            "time": self.time.isoformat().replace("+00:00", "Z"),
            "datacontenttype": "application/json",
            "dataschema": f"urn:solver:event:{name}:v{SCHEMA_VERSION}",
            "data": self.data,
        }
        if self.traceparent:
            document["traceparent"] = self.traceparent
        return document


def route_id_of(source: str, event_id: str) -> UUID:
    """Derive the id of a route from the event that requests it: the same event, the same route, whenever it comes."""
    digest = hashlib.sha256(f"{source}\0{event_id}".encode()).digest()
    number = int.from_bytes(digest[:16], "big")
    number = number & ~(0xF << 76) | 0x7 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=number)


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """A place in the feed."""

    xid: int = 0
    position: int = 0

    def __str__(self) -> str:
        return f"{self.xid}-{self.position}"

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Read a cursor. Raises ValueError."""
        xid, _, position = text.partition("-")
        return cls(int(xid), int(position))
