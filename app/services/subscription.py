"""What one watcher of routes has seen, so that it sees each event once and in order."""

from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from app.domain.event import Cursor
from app.services.streaming import Streaming, Update

_REMEMBERED_ROUTES = 20_000


@dataclass(frozen=True, slots=True)
class Beginning:
    """How a route's stream starts: from where the watcher left off, or with a snapshot."""

    route_id: UUID
    recovered: bool
    seq: int
    snapshot: dict[str, Any] | None
    missed: Sequence[Update]


class RouteSubscription:
    """Follows some routes, or all of a program's."""

    def __init__(self, streaming: Streaming, program: str) -> None:
        self._streaming = streaming
        self._program = program
        self._seen: OrderedDict[UUID, int] = OrderedDict()
        self._cursor = Cursor()

    async def begin_route(self, route_id: UUID, *, resume_after: int | None) -> Beginning | None:
        """Start following a route; None when there is no such route of the program. Raises Unavailable."""
        found = await self._streaming.snapshot(route_id)
        if found is None or found[0] != self._program:
            return None
        _, seq, document = found
        if resume_after is not None and 0 <= resume_after <= seq:
            missed = [update async for update in self._missed(route_id, resume_after)]
            self._seen[route_id] = missed[-1].seq if missed else resume_after
            return Beginning(route_id, True, self._seen[route_id], None, missed)
        self._seen[route_id] = seq
        return Beginning(route_id, resume_after is None, seq, document, ())

    async def begin_all(self, cursor: Cursor | None) -> tuple[Cursor, bool]:
        """Start following the program's routes, from a cursor or from now. Raises Unavailable."""
        end = await self._streaming.end()
        recovered = cursor is not None and cursor <= end
        self._cursor = cursor if cursor is not None and recovered else end
        return self._cursor, recovered or cursor is None

    async def catch_up(self) -> AsyncIterator[Update]:
        """Read what was said about the program's routes since the cursor. Raises Unavailable."""
        while updates := await self._streaming.read_program(self._program, after=self._cursor):
            for update in updates:
                async for each in self.follow(update):
                    yield each

    async def follow(self, update: Update) -> AsyncIterator[Update]:
        """Pass on what is new, filling gaps from the trail, leaving out what was seen. Raises Unavailable."""
        last = self._seen.get(update.route_id)
        if last is None:
            # Transactions that overlap may enter the feed in another order than that of their seqs.
            last = await self._streaming.seq_at(update.route_id, self._cursor) if update.seq > 1 else 0
        if update.seq > last + 1:
            async for missed in self._missed(update.route_id, last):
                if missed.seq < update.seq:
                    self._remember(missed)
                    # The feed itself has not come this far: whoever resumes here must not miss what lies between.
                    yield replace(missed, cursor=min(missed.cursor, self._cursor))
        if update.seq > last:
            self._remember(update)
            yield update
        self._cursor = max(self._cursor, update.cursor)

    def _remember(self, update: Update) -> None:
        self._seen[update.route_id] = update.seq
        self._seen.move_to_end(update.route_id)
        if len(self._seen) > _REMEMBERED_ROUTES:
            self._seen.popitem(last=False)

    async def _missed(self, route_id: UUID, after: int) -> AsyncIterator[Update]:
        while updates := await self._streaming.read_route(route_id, after=after):
            for update in updates:
                yield update
            after = updates[-1].seq
