"""The watch against a server that cuts, repeats, skips and refuses."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from app.client import Position, Retrying, RouteChange, RouteWatch, SolverApiError, SolverUnreachable, SyncSolverClient
from app.client.credentials import Credentials

PATIENT = Retrying(attempts=3, backoff_initial_s=0.001, backoff_max_s=0.01)
Script = Callable[["Peer"], Awaitable[None]]


class Peer:
    """One connection, as the server sees it."""

    def __init__(self, socket: ServerConnection, asked: dict[str, Any]) -> None:
        self.socket = socket
        self.asked = asked

    async def subscribed(self, *, epoch: str = "e1", recovered: bool = True, cursor: str | None = None) -> None:
        """Accept the subscription."""
        message = {"type": "subscribed", "channel": "routes", "epoch": epoch, "recovered": recovered}
        await self.say(message | ({"cursor": cursor} if cursor else {}))

    async def snapshot(self, seq: int, *, epoch: str = "e1", route_id: str = "r1") -> None:
        """Say how a route is."""
        await self.say(
            {"type": "snapshot", "route_id": route_id, "epoch": epoch, "seq": seq, "recovered": True, "data": {}}
        )

    async def update(self, seq: int, *, route_id: str = "r1", cursor: str = "1-1") -> None:
        """Say what happened."""
        data = {"status": "ready", "revision": seq}
        message = {"type": "update", "route_id": route_id, "epoch": "e1", "seq": seq, "cursor": cursor, "data": data}
        await self.say(message)

    async def say(self, message: dict[str, Any]) -> None:
        """Send a message."""
        await self.socket.send(json.dumps(message))

    async def stay(self) -> None:
        """Keep the connection until the client leaves."""
        await self.socket.wait_closed()


class Stage:
    """A server that plays one script per connection."""

    def __init__(self, scripts: tuple[Script, ...]) -> None:
        self._scripts = iter(scripts)
        self.asked: list[dict[str, Any]] = []
        self.tokens: list[str] = []
        self.url = ""

    async def play(self, socket: ServerConnection) -> None:
        """Serve one connection."""
        assert socket.request is not None
        self.tokens.append(socket.request.headers["Authorization"])
        asked = json.loads(await socket.recv())
        self.asked.append(asked)
        await next(self._scripts)(Peer(socket, asked))

    def watch(self, route_ids: list[str] | None, resume: Position | None = None) -> RouteWatch:
        """Watch this server."""
        return RouteWatch(Credentials(self.url, "sk_1"), route_ids, resume=resume, retrying=PATIENT)


@asynccontextmanager
async def stage(*scripts: Script) -> AsyncIterator[Stage]:
    """Run a server."""
    playing = Stage(scripts)
    async with serve(playing.play, "127.0.0.1", 0) as server:
        playing.url = f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        yield playing


async def take(watch: RouteWatch, count: int) -> list[RouteChange]:
    """Read some changes."""
    return [await anext(watch) for _ in range(count)]


async def test_a_cut_connection_is_resumed_where_it_was() -> None:
    async def first(peer: Peer) -> None:
        await peer.subscribed()
        await peer.snapshot(3)
        await peer.update(4)

    async def second(peer: Peer) -> None:
        await peer.subscribed()
        await peer.update(5)
        await peer.stay()

    async with stage(first, second) as server, server.watch(["r1"]) as watch:
        changes = await take(watch, 5)
        position = watch.position
    assert [(change.kind, change.seq) for change in changes] == [
        ("subscribed", None),
        ("snapshot", 3),
        ("update", 4),
        ("subscribed", None),
        ("update", 5),
    ]
    assert server.asked[0] == {"op": "subscribe", "channel": "routes", "route_ids": ["r1"]}
    assert server.asked[1]["from"] == {"epoch": "e1", "seq": {"r1": 4}}
    assert server.tokens == ["Bearer sk_1"] * 2
    assert position == Position("e1", {"r1": 5}, "1-1")


async def test_repeated_events_are_passed_on_once_and_gaps_are_fetched() -> None:
    async def first(peer: Peer) -> None:
        await peer.subscribed()
        for seq in (1, 2, 2, 1, 4):
            await peer.update(seq)
        await peer.stay()

    async def second(peer: Peer) -> None:
        await peer.subscribed()
        await peer.update(3)
        await peer.update(4)
        await peer.stay()

    async with stage(first, second) as server, server.watch(["r1"]) as watch:
        changes = await take(watch, 6)
    assert [change.seq for change in changes if change.kind == "update"] == [1, 2, 3, 4]
    assert server.asked[1]["from"] == {"epoch": "e1", "seq": {"r1": 2}}


async def test_another_history_is_not_recovered() -> None:
    async def first(peer: Peer) -> None:
        await peer.subscribed()
        await peer.update(9)

    async def second(peer: Peer) -> None:
        await peer.subscribed(epoch="e2", recovered=False)
        await peer.snapshot(1, epoch="e2")
        await peer.stay()

    async with stage(first, second) as server, server.watch(["r1"]) as watch:
        changes = await take(watch, 4)
        assert watch.position == Position("e2", {"r1": 1}, "1-1")
    assert [change.recovered for change in changes if change.kind == "subscribed"] == [True, False]
    assert changes[-1].seq == 1


async def test_all_routes_are_resumed_by_cursor() -> None:
    async def first(peer: Peer) -> None:
        await peer.subscribed(cursor="5-0")
        await peer.update(1, route_id="r1", cursor="6-1")
        await peer.say({"type": "closing", "reason": "shutting down"})
        await peer.stay()

    async def second(peer: Peer) -> None:
        await peer.subscribed(cursor="6-1")
        await peer.update(1, route_id="r2", cursor="6-2")
        await peer.stay()

    async with stage(first, second) as server, server.watch(None) as watch:
        changes = await take(watch, 4)
    assert [change.route_id for change in changes] == [None, "r1", None, "r2"]
    assert server.asked == [
        {"op": "subscribe", "channel": "routes", "all": True},
        {"op": "subscribe", "channel": "routes", "all": True, "cursor": "6-1"},
    ]


async def test_an_earlier_position_is_taken_up() -> None:
    async def only(peer: Peer) -> None:
        await peer.subscribed()
        await peer.stay()

    position = Position("e1", {"r1": 7}, None)
    async with stage(only) as server, server.watch(["r1"], position) as watch:
        assert (await anext(watch)).recovered is True
    assert server.asked[0]["from"] == {"epoch": "e1", "seq": {"r1": 7}}


async def test_an_outage_behind_the_server_is_waited_out() -> None:
    async def away(peer: Peer) -> None:
        await peer.say({"type": "error", "code": "unavailable", "detail": "Postgres is away"})
        await peer.stay()

    async def back(peer: Peer) -> None:
        await peer.subscribed()
        await peer.stay()

    async with stage(away, back) as server, server.watch(["r1"]) as watch:
        assert (await anext(watch)).kind == "subscribed"
    assert len(server.asked) == 2


@pytest.mark.parametrize(("code", "status"), [("not-found", 404), ("unauthenticated", 401), ("malformed", 400)])
async def test_a_refusal_is_raised(code: str, status: int) -> None:
    async def refuse(peer: Peer) -> None:
        await peer.say({"type": "error", "code": code, "detail": "there is no route r1"})

    async with stage(refuse) as server, server.watch(["r1"]) as watch:
        with pytest.raises(SolverApiError, match="there is no route r1") as refused:
            await anext(watch)
    assert (refused.value.code, refused.value.status) == (code, status)


async def test_a_dead_key_closes_for_good() -> None:
    async def close(peer: Peer) -> None:
        await peer.subscribed()
        await peer.socket.close(4401, "this key was revoked")

    async with stage(close) as server, server.watch(["r1"]) as watch:
        await anext(watch)
        with pytest.raises(SolverApiError, match="this key was revoked"):
            await anext(watch)


async def test_nobody_there_is_unreachable() -> None:
    async with stage() as server:
        url = server.url
    watch = RouteWatch(Credentials(url, "sk_1"), ["r1"], resume=None, retrying=PATIENT)
    with pytest.raises(SolverUnreachable):
        await anext(watch)


async def test_a_closed_watch_ends() -> None:
    async def only(peer: Peer) -> None:
        await peer.subscribed()
        await peer.stay()

    async with stage(only) as server:
        watch = server.watch(["r1"])
        await anext(watch)
        await watch.close()
        assert [change async for change in watch] == []


async def test_the_sync_face_watches_too() -> None:
    async def only(peer: Peer) -> None:
        await peer.subscribed()
        await peer.update(1)
        await peer.stay()

    def watch(url: str) -> list[str]:
        with SyncSolverClient(url, "sk_1", retrying=PATIENT) as client:
            changes = client.watch(["r1"])
            return [next(changes).kind, next(changes).kind]

    async with stage(only) as server:
        assert await asyncio.to_thread(watch, server.url) == ["subscribed", "update"]
