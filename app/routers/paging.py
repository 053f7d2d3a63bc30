"""Pages of lists: `{items, next}`, where `next` is an opaque cursor."""

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import orjson
from fastapi import Query

from app.domain.errors import FieldError, Invalid
from app.routers.answers import Json

Cursor = Annotated[str | None, Query(max_length=1024, description="`next` of the page before")]
Limit = Annotated[int, Query(ge=1, le=1000, description="most items to answer")]


def page(items: Sequence[Any], place: tuple[Any, ...] | None) -> Json:
    """Answer a page; `place` is where it ended, or None on the last one."""
    following = None if place is None else base64.urlsafe_b64encode(orjson.dumps(place)).decode().rstrip("=")
    return Json({"items": items, "next": following})


def place_of(cursor: str | None, *kinds: type) -> tuple[Any, ...] | None:
    """Read where the page before ended, as values of the given kinds. Raises Invalid."""
    if not cursor:
        return None
    try:
        parts = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        return tuple(_read(kind, part) for kind, part in zip(kinds, parts, strict=True))
    except (ValueError, TypeError, binascii.Error) as error:
        raise Invalid(
            "the cursor is not valid", (FieldError("/query/cursor", "must be the `next` of the page before"),)
        ) from error


def _read(kind: type, part: Any) -> Any:
    if not isinstance(part, str) or "\x00" in part:
        raise TypeError("every part of a cursor is text")
    if kind is not datetime:
        return kind(part)
    moment = datetime.fromisoformat(part)
    if moment.tzinfo is None:
        raise ValueError("the cursor's time has no zone")
    return moment
