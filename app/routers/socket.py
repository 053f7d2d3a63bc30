"""Send to a socket without ever waiting for it: a bounded queue, and a named code for who falls behind."""

import asyncio
import contextlib
from collections import deque
from typing import Any

import orjson
from fastapi import WebSocket, WebSocketDisconnect

CLOSE_CODES = {
    "going_away": 1001,
    "unavailable": 1013,
    "unauthenticated": 4401,
    "slow_consumer": 4408,
    "forbidden": 4403,
    "try_again_later": 1013,
}
UNBLOCK = "solver.unblock"
"""Name of the server extension that lets a message through to a client that does not read."""

_HEARTBEAT_S = 1.0
_CLOSE_WITHIN_S = 2.0
_STALLED_S = 8.0


class Outbox:
    """What waits to be sent to one socket."""

    def __init__(self, websocket: WebSocket, *, limit_bytes: int, stalled_s: float = _STALLED_S) -> None:
        self._websocket = websocket
        self._stalled_s = stalled_s
        self._limit_bytes = limit_bytes
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._ready = asyncio.Event()
        self._ending: tuple[str, str] | None = None
        self._room = asyncio.Event()
        self._room.set()

    async def room(self) -> None:
        """Wait until half of the queue is free, or the socket is about to end."""
        await self._room.wait()

    def put(self, message: dict[str, Any]) -> None:
        """Queue a message; a socket whose queue is full is closed instead."""
        if self._ending is not None:
            return
        content = orjson.dumps(message)
        if self._queued_bytes + len(content) > self._limit_bytes and self._queue:
            self._end("slow_consumer", "the client reads too slowly; reconnect and resume")
            return
        self._queue.append(content)
        self._queued_bytes += len(content)
        if self._queued_bytes * 2 > self._limit_bytes:
            self._room.clear()
        self._ready.set()

    def finish(self, message: dict[str, Any], code: str) -> None:
        """Send a last message and close."""
        self.put(message)
        if self._ending is None:
            self._ending = (code, str(message.get("reason") or message.get("detail") or code))
            self._ready.set()

    def fall_behind(self) -> None:
        """Close a socket that cannot keep up."""
        self._end("slow_consumer", "the client reads too slowly; reconnect and resume")

    def _end(self, code: str, reason: str) -> None:
        self._queue.clear()
        self._queued_bytes = 0
        self._ending = (code, reason)
        self._ready.set()
        self._room.set()

    async def run(self) -> None:
        """Send until the socket ends; a heartbeat goes out after each second of silence."""
        with contextlib.suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
            while True:
                if not self._queue and self._ending is not None:
                    return
                if not self._queue:
                    self._ready.clear()
                    try:
                        await asyncio.wait_for(self._ready.wait(), timeout=_HEARTBEAT_S)
                    except TimeoutError:
                        self.put({"type": "heartbeat"})
                    continue
                content = self._queue.popleft()
                self._queued_bytes -= len(content)
                if self._queued_bytes * 2 <= self._limit_bytes:
                    self._room.set()
                try:
                    async with asyncio.timeout(self._stalled_s):
                        await self._websocket.send_text(content.decode())
                except TimeoutError:
                    self._end("slow_consumer", "the client stopped reading; reconnect and resume")
                    return

    async def close(self) -> tuple[int, str]:
        """Close the socket with the code of what ended it; answers code and reason."""
        code, reason = self._ending or ("going_away", "")
        unblock = self._websocket.scope.get("extensions", {}).get(UNBLOCK)
        if unblock is not None:
            # The close frame must not wait for a client that takes nothing: it follows what is under way.
            unblock["call"]()
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_CLOSE_WITHIN_S):
                await self._websocket.close(CLOSE_CODES[code], reason[:120])
        return CLOSE_CODES[code], reason
