"""Read JSON as the contract has it: finite numbers only."""

import json
import math
from typing import Any

import orjson

from app.domain.errors import FieldError, Invalid


def parse_json(raw: bytes) -> Any:
    """Parse a body. Raises Invalid with the pointers of numbers that are not finite, or where it is no JSON."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Invalid("the body is not JSON", tuple(_wrong_in(raw)) or (FieldError("", str(error)),)) from error


def _wrong_in(raw: bytes) -> list[FieldError]:
    try:
        return _not_finite(json.loads(raw, parse_int=float), "")
    except (ValueError, RecursionError):
        return []


def _not_finite(value: Any, pointer: str) -> list[FieldError]:
    if isinstance(value, float) and not math.isfinite(value):
        return [FieldError(pointer, "must be a finite number; JSON has no NaN and no Infinity")]
    if isinstance(value, dict):
        return [error for name, each in value.items() for error in _not_finite(each, f"{pointer}/{name}")]
    if isinstance(value, list):
        return [error for number, each in enumerate(value) for error in _not_finite(each, f"{pointer}/{number}")]
    return []
