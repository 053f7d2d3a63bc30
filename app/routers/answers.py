"""Answers in JSON."""

from typing import Any

import orjson
from starlette.responses import Response


class Json(Response):
    """Anything orjson writes, stored fragments included."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Write the body."""
        return orjson.dumps(content)
