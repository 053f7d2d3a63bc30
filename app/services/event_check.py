"""Check events that came from outside against the versioned schemas kept beside this file."""

import json
import re
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

from app.domain.errors import Malformed
from app.domain.event import SPEC_VERSION

MAX_NAME = 256
_SCHEMA_NAME = re.compile(r"^urn:solver:event:(?P<name>[a-z_]+):v(?P<version>\d+)$")


def event_schemas() -> dict[str, dict[str, Any]]:
    """Read all schemas by their id."""
    folder = files("app.services") / "event_schemas"
    schemas = [json.loads(file.read_text()) for file in folder.iterdir() if file.name.endswith(".json")]
    return {schema["$id"]: schema for schema in schemas}


@cache
def _validators() -> dict[str, Draft202012Validator]:
    return {
        name: Draft202012Validator(schema, format_checker=FormatChecker()) for name, schema in event_schemas().items()
    }


def check_event(body: bytes) -> dict[str, Any]:
    """Read a CloudEvent. Raises Malformed saying what is wrong with it."""
    try:
        event = json.loads(body, parse_constant=_refuse_constant)
        _refuse_unstorable(event)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"the message is not JSON: {error}") from error
    if not isinstance(event, dict):
        raise Malformed("the message is not a JSON object; send one CloudEvent 1.0")
    if event.get("specversion") != SPEC_VERSION:
        raise Malformed(f"specversion is {event.get('specversion')!r}; this product speaks CloudEvents {SPEC_VERSION}")
    for name in ("id", "source", "type"):
        if not isinstance(event.get(name), str) or not event[name] or len(event[name]) > MAX_NAME:
            raise Malformed(f"{name} must be a string of 1 to {MAX_NAME} characters")
    if not isinstance(event.get("data"), dict):
        raise Malformed("data must be a JSON object")
    family = event["type"].split(".", 1)[0]
    schema = event.get("dataschema", f"urn:solver:event:{family}:v1")
    match = _SCHEMA_NAME.match(schema) if isinstance(schema, str) else None
    if match is None or match["name"] != family:
        raise Malformed(f"dataschema {schema!r} is not urn:solver:event:{family}:v1")
    validator = _validators().get(schema)
    if validator is None:
        known = ", ".join(sorted(name for name in _validators() if f":{family}:" in name)) or "none of this type"
        raise Malformed(f"{schema} is an unknown version; known here: {known}")
    problem = next(iter(validator.iter_errors(event["data"])), None)
    if problem is not None:
        pointer = "".join(f"/{part}" for part in problem.absolute_path)
        raise Malformed(f"data{pointer}: {problem.message}")
    return event


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number in JSON")


def _refuse_unstorable(value: Any) -> None:
    if isinstance(value, str):
        if "\x00" in value:
            raise ValueError("text with a NUL cannot be stored")
        value.encode()
    elif isinstance(value, dict):
        for name, each in value.items():
            _refuse_unstorable(name)
            _refuse_unstorable(each)
    elif isinstance(value, list):
        for each in value:
            _refuse_unstorable(each)
