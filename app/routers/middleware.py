"""What every request passes: trace, draining, the last catch, the log line and the metrics."""

import asyncio
import os
import re
from time import perf_counter
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import telemetry
from app.domain.limit import Verdict
from app.routers import errors

CLIENT_WENT_AWAY = 499
SERVICE_RESTART = 1012
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_NO_TRACE = b"0" * 32
_NO_SPAN = b"0" * 16
_METHODS = frozenset({"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"})
_PROBES = ("/health/live", "/health/ready", "/metrics")
PROBE_PATHS = frozenset({*_PROBES, *(f"/v1{path}" for path in _PROBES)})


class Edge:
    """The outermost layer of the application. Once draining is set, only probes are answered."""

    def __init__(self, app: ASGIApp, *, draining: asyncio.Event) -> None:
        self._app = app
        self._draining = draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or one socket."""
        kind = scope["type"]
        if kind != "http" and kind != "websocket":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        trace = _adopt_trace(scope, state)
        token = telemetry.trace_id.set(trace)
        try:
            if kind == "http":
                await self._serve(scope, receive, send, state, trace.encode())
            elif self._draining.is_set():
                await receive()
                await send({"type": "websocket.close", "code": SERVICE_RESTART, "reason": "restarting"})
            else:
                await self._app(scope, receive, send)
        finally:
            telemetry.trace_id.reset(token)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, state: dict[str, Any], trace: bytes) -> None:
        status = 0
        started = perf_counter()

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message["headers"]
                headers.append((b"x-trace-id", trace))
                verdict: Verdict | None = state.get("allowance")
                if verdict is not None and status != 429:
                    headers.append((b"ratelimit", b'"program";r=%d;t=%d' % (verdict.remaining, verdict.reset_s + 1)))
            await send(message)

        try:
            if self._draining.is_set() and scope["path"] not in PROBE_PATHS:
                await _refuse_while_draining(scope)(scope, receive, answer)
            else:
                await self._app(scope, receive, answer)
        except ClientDisconnect:
            status = status or CLIENT_WENT_AWAY
        except Exception as error:
            if status:
                telemetry.unexpected_error(scope["path"], error)
                raise
            await errors.failure(scope, error)(scope, receive, answer)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "OTHER"
            code, detail = state.get("refusal") or (None, None)
            telemetry.request_answered(
                method,
                _template(scope),
                status or CLIENT_WENT_AWAY,
                perf_counter() - started,
                code=code,
                detail=detail,
            )


def _refuse_while_draining(scope: Scope) -> ASGIApp:
    return errors.problem(
        scope,
        status=503,
        code="unavailable",
        title="Restarting",
        detail="this process is about to end; try again, another one answers",
        headers={"Retry-After": str(errors.RETRY_AFTER_S), "Connection": "close"},
    )


def _adopt_trace(scope: Scope, state: dict[str, Any]) -> str:
    flags = b"01"
    trace = b""
    for name, value in scope["headers"]:
        if name == b"traceparent":
            match = _TRACEPARENT.fullmatch(value)
            if match and match[1] != _NO_TRACE and match[2] != _NO_SPAN:
                trace, flags = match[1], match[3]
            break
    fresh = os.urandom(24).hex()
    identifier = trace.decode() or fresh[:32]
    state["trace_id"] = identifier
    state["traceparent"] = f"00-{identifier}-{fresh[32:]}-{flags.decode()}"
    return identifier


def _template(scope: Scope) -> str:
    route = scope.get("route")
    if route is None:
        return "unmatched"
    # A router's own path lacks the prefix it was included under.
    included = scope.get("fastapi", {}).get("effective_route_context")
    return str(getattr(included, "path_format", None) or getattr(route, "path", "unmatched"))
