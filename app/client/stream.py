"""Watch routes over a WebSocket that reconnects and goes on where it was cut."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from app.client.connection import is_loopback
from app.client.credentials import Credentials
from app.client.errors import SolverApiError, SolverUnreachable
from app.client.retrying import RETRYABLE_STATUSES, Retrying

PATH = "/v1/stream"
SILENCE_S = 10.0
"""The service sends a heartbeat after each second of silence: a longer silence means that nobody is there."""

_MAX_MESSAGE_BYTES = 64 << 20
_OPEN_TIMEOUT_S = 5.0
_CLOSE_TIMEOUT_S = 1.0
_UNAUTHENTICATED = 4401
_STATUSES = {"unauthenticated": 401, "not-found": 404}


@dataclass(frozen=True, slots=True)
class Position:
    """Where a watch stands: enough for another one to go on from there."""

    epoch: str | None = None
    seq: dict[str, int] = field(default_factory=dict)
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class RouteChange:
    """One thing the stream said.

    `subscribed` comes first after each connection, and its `recovered` says whether nothing was lost before it.
    A `snapshot` holds a whole route; an `update` one event of it, numbered by `seq` without a gap.
    """

    kind: Literal["subscribed", "snapshot", "update"]
    epoch: str
    route_id: str | None = None
    seq: int | None = None
    recovered: bool | None = None
    data: dict[str, Any] = field(default_factory=dict)


class RouteWatch:
    """An endless asynchronous iterator of RouteChange; `close()` or leaving `async with` ends it.

    Once it was connected it comes back after every interruption, however long. It raises SolverApiError when the
    service refuses it, and SolverUnreachable when even the first connection fails.
    """

    def __init__(
        self, credentials: Credentials, route_ids: Sequence[str] | None, *, resume: Position | None, retrying: Retrying
    ) -> None:
        self._credentials = credentials
        self._route_ids = None if route_ids is None else list(dict.fromkeys(route_ids))
        self._retrying = retrying
        resume = resume or Position()
        self._epoch, self._seq, self._cursor = resume.epoch, dict(resume.seq), resume.cursor
        self._socket: ClientConnection | None = None
        self._was_connected = False
        self._is_closed = False
        self._failures = 0

    @property
    def position(self) -> Position:
        """Where this watch stands."""
        return Position(self._epoch, dict(self._seq), self._cursor)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> RouteChange:
        while not self._is_closed:
            try:
                socket = self._socket or await self._open()
                async with asyncio.timeout(SILENCE_S):
                    content = await socket.recv()
                change = self._read(json.loads(content))
            except (OSError, TimeoutError, ConnectionClosed, InvalidHandshake, _Interrupted) as error:
                await self._recover(error)
                continue
            if change is not None:
                return change
        raise StopAsyncIteration

    async def close(self) -> None:
        """End the watch; again changes nothing."""
        self._is_closed = True
        await self._drop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _open(self) -> ClientConnection:
        url = self._credentials.url
        socket = await connect(
            "ws" + url.removeprefix("http") + PATH,
            additional_headers={"Authorization": f"Bearer {self._credentials.key}"},
            compression=None,
            max_size=_MAX_MESSAGE_BYTES,
            open_timeout=_OPEN_TIMEOUT_S,
            close_timeout=_CLOSE_TIMEOUT_S,
            proxy=None if is_loopback(url) else True,
        )
        self._socket = socket
        await socket.send(json.dumps(self._subscription()))
        return socket

    def _subscription(self) -> dict[str, Any]:
        message: dict[str, Any] = {"op": "subscribe", "channel": "routes"}
        if self._route_ids is None:
            message["all"] = True
            if self._cursor is not None:
                message["cursor"] = self._cursor
            return message
        message["route_ids"] = self._route_ids
        if self._epoch is not None:
            message["from"] = {"epoch": self._epoch, "seq": self._seq}
        return message

    def _read(self, message: dict[str, Any]) -> RouteChange | None:
        match message.get("type"):
            case "subscribed":
                return self._subscribed(message)
            case "snapshot" | "update" as kind:
                return self._changed(kind, message)
            case "error":
                self._refused(message)
            case "closing":
                raise _Interrupted(str(message.get("reason") or "the service is closing"))
        return None

    def _subscribed(self, message: dict[str, Any]) -> RouteChange:
        epoch = str(message["epoch"])
        recovered = bool(message.get("recovered"))
        if epoch != self._epoch:
            # Other history: what was counted in the old one means nothing here.
            recovered = recovered and self._epoch is None
            self._epoch, self._seq = epoch, {}
        self._cursor = message.get("cursor", self._cursor)
        self._failures, self._was_connected = 0, True
        return RouteChange("subscribed", epoch, recovered=recovered)

    def _changed(self, kind: Literal["snapshot", "update"], message: dict[str, Any]) -> RouteChange | None:
        route_id, seq = str(message["route_id"]), int(message["seq"])
        if self._route_ids is not None:
            last = self._seq.get(route_id)
            if kind == "update" and last is not None:
                if seq <= last:
                    return None
                if seq > last + 1:
                    raise _Interrupted(f"event {last + 1} of route {route_id} is missing")
            self._seq[route_id] = seq
        self._cursor = message.get("cursor", self._cursor)
        return RouteChange(kind, str(message["epoch"]), route_id, seq, message.get("recovered"), message["data"])

    def _refused(self, message: dict[str, Any]) -> None:
        code, detail = str(message.get("code", "error")), str(message.get("detail", ""))
        if code == "unavailable":
            raise _Interrupted(detail)
        raise SolverApiError(
            {
                "type": f"urn:solver:problem:{code}",
                "title": "The stream was refused",
                "status": _STATUSES.get(code, 400),
                "detail": detail,
            }
        )

    async def _recover(self, error: Exception) -> None:
        await self._drop()
        reason = str(error) or type(error).__name__
        if isinstance(error, InvalidStatus) and error.response.status_code not in RETRYABLE_STATUSES:
            status = error.response.status_code
            raise SolverApiError({"title": "The stream was refused", "status": status, "detail": reason}) from error
        if isinstance(error, ConnectionClosed) and error.rcvd is not None and error.rcvd.code == _UNAUTHENTICATED:
            self._refused({"code": "unauthenticated", "detail": error.rcvd.reason})
        self._failures += 1
        if not self._was_connected and self._failures >= self._retrying.attempts:
            raise SolverUnreachable(self._credentials.url, reason) from error
        await asyncio.sleep(self._retrying.backoff_s(self._failures))

    async def _drop(self) -> None:
        socket, self._socket = self._socket, None
        if socket is not None:
            await socket.close()


class _Interrupted(Exception):
    """The stream cannot go on as it is, but another connection can."""
