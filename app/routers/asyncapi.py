"""The AsyncAPI document: the WebSocket, and the topics with their events."""

from functools import cache
from typing import Any

import orjson

from app.domain.event import (
    METRICS_GENERATED,
    SCHEMA_VERSION,
    TOPIC_METRICS,
    TOPIC_ROUTE_EVENTS,
    TOPIC_ROUTE_LOGS,
    EventType,
)
from app.services.event_check import event_schemas
from app.telemetry import Level

_SOCKET_CHANNELS = ("routes",)
_FRAMES = ("subscribed", "snapshot", "update", "heartbeat", "error", "closing")


@cache
def asyncapi_document(version: str) -> bytes:
    """Write the document from the event types and the JSON schemas of their payloads."""
    schemas = _payload_schemas()
    messages = {name: _event(name, schemas) for name in EventType}
    return orjson.dumps(
        {
            "asyncapi": "3.0.0",
            "info": {
                "title": "solver-api",
                "version": version,
                "description": "What is said over the WebSocket and on the topics.",
            },
            "defaultContentType": "application/json",
            "channels": {
                "stream": {
                    "address": "/v1/stream",
                    "description": "Authenticate with the Authorization header or an `auth` frame, then subscribe.",
                    "messages": {"request": {"$ref": "#/components/messages/request"},
                                 "frame": {"$ref": "#/components/messages/frame"}},
                    "bindings": {"ws": {"method": "GET"}},
                },
                "routeEvents": {
                    "address": TOPIC_ROUTE_EVENTS,
                    "description": "CloudEvents 1.0, ordered by `subject`, the route id.",
                    "messages": {_key(name): {"$ref": f"#/components/messages/{_key(name)}"} for name in messages},
                },
                "routeLogs": {
                    "address": TOPIC_ROUTE_LOGS,
                    "description": "What the service says of itself, level WARNING and above.",
                    "messages": {"log": {"$ref": "#/components/messages/log"}},
                },
                "metrics": {
                    "address": TOPIC_METRICS,
                    "description": "CloudEvents 1.0, ordered by `subject`, the instrument; each stored row at least "
                                   "once, with the same `id` whenever it is said.",
                    "messages": {_key(METRICS_GENERATED): {
                        "$ref": f"#/components/messages/{_key(METRICS_GENERATED)}"}},
                },
            },
            "operations": {
                "request": _operation("receive", "stream", "request", "A client asks"),
                "push": _operation("send", "stream", "frame", "The service answers and pushes"),
                "sayEvent": {"action": "send", "channel": {"$ref": "#/channels/routeEvents"},
                             "summary": "Each step of each route"},
                "requestRoute": _operation(
                    "receive", "routeEvents", _key(EventType.ROUTE_REQUESTED), "A program asks for a route"
                ),
                "sayMetrics": _operation("send", "metrics", _key(METRICS_GENERATED), "Metrics as bars close"),
                "sayLog": _operation("send", "routeLogs", "log", "The log"),
            },
            "components": {
                "messages": {
                    "request": {"summary": "What a client sends", "payload": _REQUEST},
                    "frame": {"summary": "What the service sends", "payload": _FRAME},
                    "log": {"summary": "One log record", "payload": _LOG},
                    _key(METRICS_GENERATED): _event(METRICS_GENERATED, schemas, subject="the instrument"),
                    **{_key(name): message for name, message in messages.items()},
                },
                "schemas": schemas,
            },
        }
    )  # fmt: skip


def _key(name: str) -> str:
    return name.replace(".", "_")


def _operation(action: str, channel: str, message: str, summary: str) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{message}"}],
        "summary": summary,
    }


def _payload_schemas() -> dict[str, Any]:
    return {f"{name.split(':')[3]}_{name.split(':')[4]}": schema for name, schema in sorted(event_schemas().items())}


def _event(name: str, schemas: dict[str, Any], *, subject: str = "the route id") -> dict[str, Any]:
    schema = f"{name.split('.', 1)[0]}_v{SCHEMA_VERSION}"
    data = {"$ref": f"#/components/schemas/{schema}"} if schema in schemas else {"type": "object"}
    return {
        "name": name,
        "contentType": "application/cloudevents+json",
        "payload": {
            "type": "object",
            "required": ["specversion", "id", "source", "type", "subject", "time", "data"],
            "properties": {
                "specversion": {"const": "1.0"},
                "id": {"type": "string", "description": "unique per source"},
                "source": {"type": "string", "description": "the component or program"},
                "type": {"const": str(name)},
                "subject": {"type": "string", "description": f"{subject}, which is the ordering key"},
                "time": {"type": "string", "format": "date-time"},
                "datacontenttype": {"const": "application/json"},
                "dataschema": {"type": "string"},
                "traceparent": {"type": "string"},
                "data": data,
            },
        },
    }


_REQUEST: dict[str, Any] = {
    "type": "object",
    "required": ["op"],
    "properties": {
        "op": {"enum": ["auth", "subscribe", "unsubscribe", "ping"]},
        "token": {"type": "string", "description": "of `auth`: the key"},
        "channel": {"enum": list(_SOCKET_CHANNELS)},
        "subscription": {"type": "string", "description": "of `unsubscribe`"},
        "route_ids": {"type": "array", "items": {"type": "string", "format": "uuid"}},
        "all": {"type": "boolean", "description": "every route of the program"},
        "cursor": {"type": "string", "description": "of `all`: where to resume"},
        "from": {
            "type": "object",
            "description": "where to resume each route",
            "properties": {
                "epoch": {"type": "string"},
                "seq": {"type": "object", "additionalProperties": {"type": "integer"}},
            },
        },
    },
    "examples": [
        {"op": "subscribe", "channel": "routes", "route_ids": ["01890a5d-ac96-774b-bcce-b302099a8057"]},
    ],
}
_FRAME: dict[str, Any] = {
    "type": "object",
    "required": ["type"],
    "properties": {
        "type": {"enum": list(_FRAMES)},
        "channel": {"enum": list(_SOCKET_CHANNELS)},
        "subscription": {"type": "string"},
        "route_id": {"type": "string", "format": "uuid"},
        "epoch": {"type": "string", "description": "changes when the store was restored"},
        "seq": {"type": "integer", "description": "1, 2, 3… per route without a gap"},
        "cursor": {"type": "string", "description": "resumes `all`"},
        "recovered": {"type": "boolean", "description": "false: what was missed could not be replayed"},
        "data": {"description": "the route, the quote or the event"},
    },
}
_LOG: dict[str, Any] = {
    "type": "object",
    "required": ["at", "level", "event"],
    "properties": {
        "at": {"type": "string", "format": "date-time"},
        "level": {"enum": [level.name for level in Level]},
        "event": {"type": "string"},
        "trace_id": {"type": "string"},
    },
}
