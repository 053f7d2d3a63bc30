"""The WebSocket edge: authenticate, subscribe, and get every change of a route once and in order."""

import asyncio
import contextlib
from collections import deque
from uuid import UUID

import orjson
from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from app import telemetry
from app.domain.errors import Forbidden, SolverError, Unavailable
from app.domain.event import Cursor
from app.routers.socket import CLOSE_CODES, Outbox
from app.services.access import Identity, Scope
from app.services.container import Services
from app.services.streaming import Update
from app.services.subscription import Beginning, RouteSubscription

router = APIRouter()

_AUTHENTICATE_WITHIN_S = 10.0
_RECHECK_KEY_S = 2.0
_MAX_SUBSCRIPTIONS = 100
_MAX_ROUTES = 1000
_MAX_PENDING = 10_000
"""Updates that may wait for one watcher before it counts as too slow."""


@router.websocket("/stream")
async def stream(websocket: WebSocket) -> None:
    """Serve one socket until it closes, its key dies, it falls behind or the service drains."""
    services: Services = websocket.app.state.services
    await websocket.accept()
    state = websocket.app.state
    if state.sockets >= services.settings.limits.sockets:
        await websocket.close(CLOSE_CODES["try_again_later"], "too many sockets are open here; try again later")
        return
    state.sockets += 1
    telemetry.socket_opened()
    outbox = Outbox(websocket, limit_bytes=services.settings.limits.socket_queue_bytes)
    session = Session(services, outbox)
    scheme, _, token = websocket.headers.get("authorization", "").partition(" ")
    reader = asyncio.create_task(_read(websocket, session, token.strip() if scheme.lower() == "bearer" else ""))
    tasks = {
        reader,
        asyncio.create_task(outbox.run()),
        asyncio.create_task(session.pump()),
        asyncio.create_task(session.guard()),
    }
    # Not among those whose end is the socket's: what it says last must still be sent.
    drain = asyncio.create_task(_drain(websocket, outbox))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        session.close()
        for task in (*tasks, drain):
            task.cancel()
        await asyncio.gather(*tasks, drain, return_exceptions=True)
        state.sockets -= 1
        telemetry.socket_closed(*await outbox.close())


async def _drain(websocket: WebSocket, outbox: Outbox) -> None:
    await websocket.app.state.draining.wait()
    outbox.finish({"type": "closing", "reason": "the service is shutting down; reconnect"}, "going_away")


async def _read(websocket: WebSocket, session: "Session", token: str) -> None:
    if token:
        # Before the first message is looked at, which may have come with the handshake.
        await session.authenticate(token)
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            content = message.get("text") or message.get("bytes") or ""
            await session.handle(content)


class Session:
    """One socket's identity and subscriptions."""

    def __init__(self, services: Services, outbox: Outbox) -> None:
        self._services = services
        self._outbox = outbox
        self._identity: Identity | None = None
        self._token = ""
        self._subscriptions: dict[str, Watch] = {}
        self._arrived = asyncio.Event()
        self._count = 0

    async def authenticate(self, token: str) -> None:
        """Accept a key, or say why not and close."""
        try:
            identity = await self._services.access.authenticate(token)
            identity.require(Scope.TRADE)
        except Unavailable as error:
            if self._identity is None:
                self._outbox.finish(_error("unavailable", error.detail), "unavailable")
            return
        except Forbidden as error:
            self._outbox.finish(_error(error.code, error.detail), "forbidden")
            return
        except SolverError as error:
            self._outbox.finish(_error("unauthenticated", error.detail), "unauthenticated")
            return
        if self._identity is not None and self._identity.program != identity.program:
            self._refuse("already-authenticated", f"this socket is {self._identity.program}'s; open another one")
            return
        self._identity, self._token = identity, token

    async def guard(self) -> None:
        """Close a socket that never authenticates or whose key dies."""
        patience_s = _AUTHENTICATE_WITHIN_S
        while True:
            await asyncio.sleep(_RECHECK_KEY_S)
            patience_s -= _RECHECK_KEY_S
            if self._identity is not None:
                await self.authenticate(self._token)
            elif patience_s <= 0:
                self._outbox.finish(
                    _error("unauthenticated", f"no key within {_AUTHENTICATE_WITHIN_S:.0f} s"), "unauthenticated"
                )

    async def handle(self, content: str | bytes) -> None:
        """Answer one message of the client."""
        try:
            message = orjson.loads(content)
        except ValueError:
            self._refuse("malformed", "send JSON objects, one a message")
            return
        if not isinstance(message, dict):
            self._refuse("malformed", "send JSON objects, one a message")
            return
        try:
            await self._dispatch(message)
        except Unavailable as error:
            # A subscription begun in part cannot be told from a whole one: the client resumes on a new socket.
            self._outbox.finish(_error("unavailable", error.detail), "unavailable")
        except SolverError as error:
            self._refuse(error.code, error.detail)

    async def _dispatch(self, message: dict[str, object]) -> None:
        operation = message.get("op")
        if operation == "ping":
            self._outbox.put({"type": "heartbeat"})
        elif operation == "auth":
            await self.authenticate(str(message.get("token", "")))
        elif self._identity is None:
            self._refuse("unauthenticated", 'authenticate first: {"op": "auth", "token": "…"}')
        elif operation == "subscribe":
            await self._subscribe(message, self._identity)
        elif operation == "unsubscribe":
            self._unsubscribe(message)
        else:
            self._refuse("unknown-operation", f"{operation!r} is none of auth, subscribe, unsubscribe, ping")

    async def _subscribe(self, message: dict[str, object], identity: Identity) -> None:
        channel = message.get("channel")
        if channel != "routes":
            self._refuse("unknown-channel", f"{channel!r} is not served; subscribe to routes")
            return
        if len(self._subscriptions) >= _MAX_SUBSCRIPTIONS:
            self._refuse("too-many-subscriptions", f"a socket holds {_MAX_SUBSCRIPTIONS} subscriptions at most")
            return
        await self._services.access.spend(identity)
        self._count += 1
        watch = Watch(f"s{self._count}", self._services, identity.program, self._arrived)
        self._subscriptions[watch.name] = watch
        try:
            if message.get("all") is True:
                await self._subscribe_all(watch, message.get("cursor"))
            else:
                await self._subscribe_routes(watch, _route_ids(message.get("route_ids")), message.get("from"))
        except SolverError:
            self._services.streaming.unwatch(watch)
            self._subscriptions.pop(watch.name, None)
            raise

    async def _subscribe_all(self, watch: "Watch", resume: object) -> None:
        # Watch before looking, so that nothing said in between is missed.
        self._services.streaming.watch_program(watch.program, watch)
        await self._services.streaming.following()
        epoch = await self._services.streaming.epoch()
        is_known, cursor = _place(resume, epoch)
        start, recovered = await watch.subscription.begin_all(cursor)
        self._outbox.put(
            {
                "type": "subscribed", "channel": "routes", "subscription": watch.name, "epoch": epoch,
                "recovered": recovered and is_known, "cursor": _cursor_text(epoch, start),
            }
        )  # fmt: skip
        async for update in watch.subscription.catch_up():
            await self._send(watch, update, epoch)
        watch.epoch = epoch
        self._arrived.set()

    async def _subscribe_routes(self, watch: "Watch", identifiers: list[UUID], resume: object) -> None:
        for identifier in identifiers:
            self._services.streaming.watch_route(identifier, watch)
        await self._services.streaming.following()
        epoch = await self._services.streaming.epoch()
        known = _resume(resume, epoch)
        beginnings: list[Beginning] = []
        for identifier in identifiers:
            after = known.get(str(identifier)) if known is not None else None
            if after is None and isinstance(resume, dict):
                after = -1
            beginning = await watch.subscription.begin_route(identifier, resume_after=after)
            if beginning is None:
                self._services.streaming.unwatch_route(identifier, watch)
                self._outbox.put(
                    {**_error("not-found", f"there is no route {identifier}"), "route_id": str(identifier)}
                )
            else:
                beginnings.append(beginning)
        self._outbox.put(
            {
                "type": "subscribed", "channel": "routes", "subscription": watch.name, "epoch": epoch,
                "recovered": all(beginning.recovered for beginning in beginnings),
                "route_ids": [str(beginning.route_id) for beginning in beginnings],
            }
        )  # fmt: skip
        for beginning in beginnings:
            await self._outbox.room()
            if beginning.snapshot is not None:
                self._outbox.put(
                    {
                        "type": "snapshot", "channel": "routes", "subscription": watch.name,
                        "route_id": str(beginning.route_id), "epoch": epoch, "seq": beginning.seq,
                        "recovered": beginning.recovered, "data": beginning.snapshot,
                    }
                )  # fmt: skip
            for update in beginning.missed:
                await self._send(watch, update, epoch)
        watch.epoch = epoch
        self._arrived.set()

    def _unsubscribe(self, message: dict[str, object]) -> None:
        watch = self._subscriptions.pop(str(message.get("subscription", "")), None)
        if watch is None:
            self._refuse("unknown-subscription", "no such subscription on this socket")
            return
        self._services.streaming.unwatch(watch)

    async def pump(self) -> None:
        """Pass on what arrives for the subscriptions, in order."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            for watch in list(self._subscriptions.values()):
                if watch.epoch is None:
                    continue
                if watch.has_overflown:
                    self._outbox.fall_behind()
                    return
                await self._pass_on(watch, watch.epoch)

    async def _pass_on(self, watch: "Watch", epoch: str) -> None:
        while watch.pending:
            update = watch.pending[0]
            try:
                async for each in watch.subscription.follow(update):
                    await self._send(watch, each, epoch)
            except Unavailable:
                await asyncio.sleep(0.25)
                continue
            watch.pending.popleft()

    async def _send(self, watch: "Watch", update: Update, epoch: str) -> None:
        await self._outbox.room()
        self._outbox.put(
            {
                "type": "update", "channel": "routes", "subscription": watch.name, "route_id": str(update.route_id),
                "epoch": epoch, "seq": update.seq, "cursor": _cursor_text(epoch, update.cursor), "data": update.data,
            }
        )  # fmt: skip

    def _refuse(self, code: str, detail: str) -> None:
        self._outbox.put(_error(code, detail))

    def close(self) -> None:
        """Stop watching."""
        for watch in self._subscriptions.values():
            self._services.streaming.unwatch(watch)
        self._subscriptions.clear()


class Watch:
    """One subscription of one socket; called with what is said, it only takes note."""

    def __init__(self, name: str, services: Services, program: str, arrived: asyncio.Event) -> None:
        self.name = name
        self.program = program
        self.subscription = RouteSubscription(services.streaming, program)
        self.pending: deque[Update] = deque()
        self.has_overflown = False
        self.epoch: str | None = None
        self._arrived = arrived

    def __call__(self, updates: "list[Update]") -> None:
        mine = [update for update in updates if update.program == self.program]
        if len(self.pending) + len(mine) > _MAX_PENDING:
            self.has_overflown = True
        else:
            self.pending += mine
        self._arrived.set()


class _Malformed(SolverError):
    code = "malformed"


def _error(code: str, detail: str) -> dict[str, object]:
    return {"type": "error", "code": code, "detail": detail}


def _route_ids(value: object) -> list[UUID]:
    try:
        if isinstance(value, list) and 0 < len(value) <= _MAX_ROUTES:
            return list(dict.fromkeys(UUID(str(each)) for each in value))
    except ValueError:
        pass
    raise _Malformed(f"route_ids must be 1 to {_MAX_ROUTES} route ids, or say all: true")


def _cursor_text(epoch: str, cursor: Cursor) -> str:
    return f"{epoch}/{cursor}"


def _place(value: object, epoch: str) -> tuple[bool, Cursor | None]:
    if value is None:
        return True, None
    history, _, place = str(value).rpartition("/")
    try:
        cursor = Cursor.parse(place)
    except ValueError:
        cursor = Cursor(-1)
    if not history or cursor.xid < 0 or not 0 <= cursor.position < 1 << 63:
        raise _Malformed("cursor is none that this service gave; leave it out to start from now")
    return history == epoch, cursor if history == epoch else None


def _resume(value: object, epoch: str) -> dict[str, int] | None:
    if not isinstance(value, dict) or value.get("epoch") != epoch:
        return None
    seqs = value.get("seq")
    return {str(name): seq for name, seq in seqs.items() if isinstance(seq, int)} if isinstance(seqs, dict) else None


__all__ = ["CLOSE_CODES", "router"]
