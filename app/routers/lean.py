"""Operations whose requests outnumber all others."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response


class LeanRoute(APIRoute):
    """A route whose function takes the request and nothing else, and reads from it what it needs.

    Solving dependencies and parameters would cost it about as much as checking the key and the body.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Call the function itself."""
        endpoint: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return endpoint


def documented_header(name: str, description: str) -> dict[str, Any]:
    """Describe an optional header that an operation reads itself: one of `parameters` in `openapi_extra`."""
    return {"name": name, "in": "header", "required": False, "description": description, "schema": {"type": "string"}}
