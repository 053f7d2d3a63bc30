"""Sockets that follow routes, lose their connection, and resume as the contract says."""

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Sequence
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from tests.chaos.installation import Installation
from tests.chaos.journal import Journal, Push

_SILENCE_S = 6.0
_RECONNECT_S = 0.1
_LARGEST = 16 << 20


class Watcher:
    """One socket, opened again whenever it breaks; with `cut_every_s` it also breaks by itself, at random."""

    def __init__(
        self,
        name: str,
        installation: Installation,
        journal: Journal,
        *,
        chance: random.Random,
        cut_every_s: float | None = None,
    ) -> None:
        self.name = name
        self.ready = asyncio.Event()
        self._installation = installation
        self._journal = journal
        self._chance = chance
        self._cut_every_s = cut_every_s

    def seqs(self) -> dict[str, int]:
        """Tell the last seq delivered of each route."""
        return {route_id: pushes[-1].seq for route_id, pushes in self._journal.pushes[self.name].items()}

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            try:
                async with connect(
                    self._installation.socket_url,
                    additional_headers=self._installation.headers,
                    open_timeout=5,
                    close_timeout=0.5,
                    ping_interval=None,
                    max_size=_LARGEST,
                    compression=None,
                ) as socket:
                    self._journal.sockets["opened"] += 1
                    await self._follow(socket)
            except TimeoutError:
                self._journal.sockets["silent or cut"] += 1
            except (WebSocketException, OSError, EOFError) as error:
                self._journal.sockets[type(error).__name__] += 1
            await asyncio.sleep(_RECONNECT_S)

    async def _follow(self, socket: ClientConnection) -> None:
        cut_after_s = None if self._cut_every_s is None else self._chance.uniform(0.1, 2 * self._cut_every_s)
        opening = asyncio.create_task(self._subscribe(socket))
        try:
            async with asyncio.timeout(cut_after_s):
                while True:
                    message = json.loads(await asyncio.wait_for(socket.recv(), _SILENCE_S))
                    if not self._hear(message):
                        return
        finally:
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
            if cut_after_s is not None:
                socket.transport.abort()

    def _hear(self, message: dict[str, Any]) -> bool:
        kind = message["type"]
        if kind == "error":
            self._journal.sockets[f"error {message['code']}"] += 1
            if message["code"] not in ("unavailable", "slow_consumer"):
                self._journal.surprise(f"{self.name}: {message}")
            return False
        if kind == "subscribed":
            self._journal.sockets["resumed" if message.get("recovered") else "not recovered"] += 1
            self._on_subscribed(message)
            self.ready.set()
        elif kind in ("snapshot", "update"):
            self._journal.push(self.name, _push(message))
            self._on_push(message)
        return True

    async def _subscribe(self, socket: ClientConnection) -> None:
        raise NotImplementedError

    def _on_subscribed(self, message: dict[str, Any]) -> None:
        raise NotImplementedError

    def _on_push(self, message: dict[str, Any]) -> None:
        raise NotImplementedError


class AllWatcher(Watcher):
    """Follows all routes of its program, resuming at the last cursor it was given."""

    _cursor: str | None = None

    async def _subscribe(self, socket: ClientConnection) -> None:
        request = {"op": "subscribe", "channel": "routes", "all": True}
        await socket.send(json.dumps(request if self._cursor is None else {**request, "cursor": self._cursor}))

    def _on_subscribed(self, message: dict[str, Any]) -> None:
        if self._cursor is None or not message["recovered"]:
            self._cursor = message["cursor"]

    def _on_push(self, message: dict[str, Any]) -> None:
        self._cursor = message.get("cursor", self._cursor)


class RoutesWatcher(Watcher):
    """Follows named routes, one subscription per group; resumes each route behind its last seq.

    Every other group asks for the history from the start, the others begin with a snapshot.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._groups: list[list[str]] = []
        self._asked = 0
        self._one_at_a_time = asyncio.Lock()
        self._epoch: str | None = None
        self._socket: ClientConnection | None = None
        self.ready.set()

    async def watch(self, route_ids: Sequence[str]) -> None:
        """Follow some more routes from now on."""
        self._groups.append(list(route_ids))
        # A socket that broke is opened again, and then asks for every group.
        with contextlib.suppress(WebSocketException):
            await self._ask()

    async def _subscribe(self, socket: ClientConnection) -> None:
        async with self._one_at_a_time:
            self._socket, self._asked = socket, 0
        await self._ask()

    async def _ask(self) -> None:
        async with self._one_at_a_time:
            while self._socket is not None and self._asked < len(self._groups):
                await self._subscribe_group(self._socket, self._asked)
                self._asked += 1

    async def _subscribe_group(self, socket: ClientConnection, number: int) -> None:
        group = self._groups[number]
        known = self.seqs()
        request: dict[str, Any] = {"op": "subscribe", "channel": "routes", "route_ids": group}
        wants_history = self._epoch is not None and number % 2 == 0
        if self._epoch is not None and (wants_history or any(route_id in known for route_id in group)):
            seqs = {route_id: known.get(route_id, 0) for route_id in group if wants_history or route_id in known}
            request["from"] = {"epoch": self._epoch, "seq": seqs}
        await socket.send(json.dumps(request))

    def _on_subscribed(self, message: dict[str, Any]) -> None:
        self._epoch = message["epoch"]

    def _on_push(self, message: dict[str, Any]) -> None:
        self._epoch = message["epoch"]


def _push(message: dict[str, Any]) -> Push:
    data = message["data"]
    event = data.get("event")
    return Push(
        is_snapshot=message["type"] == "snapshot",
        route_id=message["route_id"],
        seq=message["seq"],
        recovered=message.get("recovered", True),
        status=data["status"],
        revision=data["revision"],
        event=(event["source"], event["id"], event["type"]) if event else None,
        epoch=message["epoch"],
        at=time.monotonic(),
    )
