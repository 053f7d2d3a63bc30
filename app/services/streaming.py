"""Carry what is said about routes to those who wait or watch. One reader per process, however many watch."""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from app import telemetry
from app.domain.errors import Unavailable
from app.domain.event import Cursor, EventType
from app.domain.route import PENDING, SETTLED
from app.infra.db import Connection, Database
from app.infra.listener import Listener
from app.infra.repositories import events, routes
from app.infra.repositories.events import StoredEvent
from app.infra.repositories.stages import SAID
from app.services.documents import fragment, route_document, timestamp
from app.services.routing.reading import RouteView, view

_BATCH = 500
_POLL_S = 1.0
_LINGER_S = 5.0
"""How long the trail is still followed after the last watcher left: the next one then finds it followed."""
_OUTAGE_PAUSE_S = 0.25
_FOLLOWING_WITHIN_S = 2.0


@dataclass(frozen=True, slots=True)
class Update:
    """One event of one route, as watchers get it."""

    cursor: Cursor
    route_id: UUID
    program: str
    seq: int
    status: str
    revision: int
    data: dict[str, Any]


Watcher = Callable[[list[Update]], None]
Name = TypeVar("Name", UUID, str)


class Streaming:
    """Follows the event trail while anyone watches."""

    def __init__(self, database: Database, listener: Listener) -> None:
        self._database = database
        self._listener = listener
        self._waiters: dict[UUID, set[asyncio.Event]] = defaultdict(set)
        self._route_watchers: dict[UUID, set[Watcher]] = defaultdict(set)
        self._program_watchers: dict[str, set[Watcher]] = defaultdict(set)
        self._watched_routes: dict[Watcher, set[UUID]] = defaultdict(set)
        self._watched_programs: dict[Watcher, set[str]] = defaultdict(set)
        self._cursor = Cursor()
        self._watched = asyncio.Event()
        self._is_following = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_ending = False
        self._unwatched_at = 0.0

    async def open(self) -> None:
        """Start following."""
        self._task = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def let_go(self) -> None:
        """Answer all who wait with what there is: the process is about to end."""
        self._is_ending = True
        self._wake_all()

    async def epoch(self) -> str:
        """Name the history that seqs belong to. Raises Unavailable."""
        async with self._database.connection() as connection:
            return await events.epoch(connection)

    async def wait_settled(self, route_id: UUID, *, timeout_s: float) -> RouteView | None:
        """Wait until a route is ready, or beyond; None when it takes longer."""
        return await self._wait(route_id, lambda seen: seen.status not in PENDING, timeout_s)

    async def wait_changed(self, route_id: UUID, *, revision: int, etag: str, timeout_s: float) -> RouteView | None:
        """Wait for a revision behind the one known, or for a settled status other than the known state's."""
        return await self._wait(
            route_id,
            lambda seen: seen.revision > revision or (seen.etag != etag and seen.status in SETTLED),
            timeout_s,
        )

    async def _wait(self, route_id: UUID, is_enough: Callable[[RouteView], bool], timeout_s: float) -> RouteView | None:
        changed = asyncio.Event()
        self._waiters[route_id].add(changed)
        self._watched.set()
        now = asyncio.get_running_loop().time
        until = now() + timeout_s
        try:
            while True:
                changed.clear()
                seen = await self._read(route_id)
                if seen is not None and is_enough(seen):
                    return seen
                rest_s = until - now()
                if rest_s <= 0 or self._is_ending:
                    return None
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), timeout=min(rest_s, _POLL_S))
        finally:
            self._waiters[route_id].discard(changed)
            if not self._waiters[route_id]:
                del self._waiters[route_id]

    async def _read(self, route_id: UUID) -> RouteView | None:
        try:
            async with self._database.connection() as connection:
                row = (await routes.read(connection, [route_id])).get(route_id)
        except Unavailable:
            return None
        return None if row is None else view(row)

    async def following(self) -> None:
        """Wait until what is said from now on reaches those who watch already. Raises Unavailable."""
        try:
            async with asyncio.timeout(_FOLLOWING_WITHIN_S):
                await self._is_following.wait()
        except TimeoutError as error:
            raise Unavailable("the event trail cannot be read now; try again shortly") from error

    def watch_route(self, route_id: UUID, watcher: Watcher) -> None:
        """Call a watcher with every event of a route from now on."""
        self._route_watchers[route_id].add(watcher)
        self._watched_routes[watcher].add(route_id)
        self._watched.set()

    def watch_program(self, program: str, watcher: Watcher) -> None:
        """Call a watcher with every event of a program's routes from now on."""
        self._program_watchers[program].add(watcher)
        self._watched_programs[watcher].add(program)
        self._watched.set()

    def unwatch_route(self, route_id: UUID, watcher: Watcher) -> None:
        """Stop calling a watcher about one route."""
        _remove(self._route_watchers, route_id, watcher)
        self._watched_routes[watcher].discard(route_id)

    def unwatch(self, watcher: Watcher) -> None:
        """Stop calling a watcher."""
        for route_id in self._watched_routes.pop(watcher, ()):
            _remove(self._route_watchers, route_id, watcher)
        for program in self._watched_programs.pop(watcher, ()):
            _remove(self._program_watchers, program, watcher)

    async def read_route(self, route_id: UUID, *, after: int, limit: int = _BATCH) -> list[Update]:
        """Read what was said about a route behind a seq. Raises Unavailable."""
        async with self._database.connection() as connection:
            found = await events.of_route(connection, route_id, after=after, limit=limit)
            return await _updates(connection, found)

    async def read_program(self, program: str, *, after: Cursor, limit: int = _BATCH) -> list[Update]:
        """Read what was said about a program's routes behind a cursor. Raises Unavailable."""
        async with self._database.connection() as connection:
            found = await events.feed(connection, after, limit=limit, program=program)
            return await _updates(connection, found)

    async def seq_at(self, route_id: UUID, cursor: Cursor) -> int:
        """Find how far a route had come at a cursor; 0 when nothing had been said. Raises Unavailable."""
        async with self._database.connection() as connection:
            return await events.seq_at(connection, route_id, cursor)

    async def end(self) -> Cursor:
        """Find the cursor behind everything said so far. Raises Unavailable."""
        async with self._database.connection() as connection:
            return await events.feed_end(connection)

    async def snapshot(self, route_id: UUID) -> tuple[str, int, dict[str, Any]] | None:
        """Read a route's program, seq and document. Raises Unavailable."""
        async with self._database.connection() as connection:
            row = (await routes.read(connection, [route_id])).get(route_id)
        return None if row is None else (row["program"], row["event_count"], route_document(row))

    @property
    def _is_watched(self) -> bool:
        return bool(self._waiters or self._route_watchers or self._program_watchers)

    async def _follow(self) -> None:
        waker = self._listener.waker(SAID)
        while True:
            if self._is_watched:
                self._unwatched_at = time.monotonic() + _LINGER_S
            elif time.monotonic() >= self._unwatched_at:
                self._watched.clear()
                self._is_following.clear()
                await self._watched.wait()
            waker.clear()
            try:
                if not self._is_following.is_set():
                    self._cursor = await self.end()
                    self._is_following.set()
                    self._wake_all()
                more = await self._pass_on()
            except Unavailable as error:
                telemetry.part_away("postgres", str(error))
                await asyncio.sleep(_OUTAGE_PAUSE_S)
                continue
            except Exception as error:
                # Whoever watches is served from the next look on; a follower that died would serve nobody.
                telemetry.unexpected_error("streaming", error)
                await asyncio.sleep(_OUTAGE_PAUSE_S)
                continue
            if not more:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(waker.wait(), timeout=_POLL_S)

    def _wake_all(self) -> None:
        for waiting in self._waiters.values():
            for event in waiting:
                event.set()

    async def _pass_on(self) -> bool:
        async with self._database.connection() as connection:
            found = await events.feed(connection, self._cursor, limit=_BATCH)
            if not found:
                return False
            wanted = [
                event
                for event in found
                if event.route_id in self._route_watchers or event.program in self._program_watchers
            ]
            updates = await _updates(connection, wanted)
        self._cursor = found[-1].cursor
        for event in found:
            if event.route_id in self._waiters and event.status not in PENDING:
                for waiter in self._waiters[event.route_id]:
                    waiter.set()
        self._hand_out(updates)
        return True

    def _hand_out(self, updates: list[Update]) -> None:
        shares: dict[Watcher, list[Update]] = defaultdict(list)
        for update in updates:
            watchers = self._route_watchers.get(update.route_id, set()) | self._program_watchers.get(
                update.program, set()
            )
            for watcher in watchers:
                shares[watcher].append(update)
        for watcher, share in shares.items():
            watcher(share)


def _remove(watchers: dict[Name, set[Watcher]], name: Name, watcher: Watcher) -> None:
    watchers[name].discard(watcher)
    if not watchers[name]:
        del watchers[name]


async def _updates(connection: Connection, found: Sequence[StoredEvent]) -> list[Update]:
    wanted = [(event.route_id, event.revision) for event in found if _brings_solution(event)]
    solutions = await events.solutions(connection, wanted) if wanted else {}
    return [_update(event, solutions.get((event.route_id, event.revision))) for event in found]


def _brings_solution(event: StoredEvent) -> bool:
    return event.type == EventType.ROUTE_SOLVED


def _update(event: StoredEvent, solution: tuple[str, str] | None) -> Update:
    data: dict[str, Any] = {
        "id": str(event.route_id),
        "status": event.status,
        "revision": event.revision,
        "event": {"id": event.id, "source": event.source, "type": event.type, "time": timestamp(event.time)},
        "detail": fragment(event.data),
    }
    if solution is not None and _brings_solution(event):
        data["solution"], data["timings_ms"] = fragment(solution[0]), fragment(solution[1])
    return Update(event.cursor, event.route_id, event.program, event.seq, event.status, event.revision, data)
