"""Accept trades: durable before acknowledged, many in one transaction when many arrive at once."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from app import telemetry
from app.domain.claim import Claim
from app.domain.errors import Conflict, Contended, Duplicate, FieldError, Invalid, KeyReused, SolverError, Unavailable
from app.domain.event import API_SOURCE
from app.domain.values import Asset, Instrument
from app.infra.db import Connection, Database
from app.infra.ids import new_id
from app.infra.repositories import deliveries, events, routes
from app.services.documents import timestamp
from app.services.market_state import MarketState
from app.services.ports import Clock
from app.services.schemas.trade import TradeIn
from app.services.snapshots import Snapshot

_MAX_BATCH = 128
_MAX_WAITING = 10_000


@dataclass(frozen=True, slots=True)
class RouteRequest:
    """A trade that a program wants routed. `body` is the parsed JSON that a key's replays are compared with."""

    program: str
    trade: TradeIn
    idempotency_key: str | None = None
    body: Any = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """A stored route, with the bytes of the answer to its first request."""

    route_id: UUID
    response: bytes
    is_replay: bool = False


@dataclass(slots=True)
class _Waiting:
    request: RouteRequest
    fingerprint: bytes
    answer: "asyncio.Future[Accepted]"


class Acceptor:
    """Stores routes, one transaction for all that wait."""

    def __init__(
        self,
        database: Database,
        state: MarketState,
        clock: Clock,
        *,
        consumers: Mapping[str, str],
        key_age_h: float,
    ) -> None:
        self._database = database
        self._state = state
        self._clock = clock
        self._consumers = dict(consumers)
        self._key_age_h = key_age_h
        self._waiting: list[_Waiting] = []
        self._room = asyncio.Semaphore(_MAX_WAITING)
        self._flushing: asyncio.Task[None] | None = None

    async def accept(self, request: RouteRequest) -> Accepted:
        """Store a route, or answer with the one that its key made.

        Raises Invalid, KeyReused, Duplicate, Unavailable; nothing is stored then.
        """
        await self._state.fresh()
        if request.idempotency_key is None:
            check_trade(request.trade, self._state)
        async with self._room:
            waiting = _Waiting(request, _fingerprint(request), asyncio.get_running_loop().create_future())
            self._waiting.append(waiting)
            if self._flushing is None:
                self._flushing = asyncio.create_task(self._flush())
            return await waiting.answer

    async def close(self) -> None:
        """Finish what was taken."""
        if self._flushing is not None:
            await asyncio.wait([self._flushing])

    async def _flush(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:_MAX_BATCH], self._waiting[_MAX_BATCH:]
                await self._store(batch)
        finally:
            self._flushing = None

    async def _store(self, batch: list[_Waiting]) -> None:
        try:
            await self._store_together(batch)
        except Contended:
            for waiting in batch:
                await self._store_alone(waiting)
        except Unavailable as error:
            _fail(batch, error)
        except Exception:
            # Another process stored one of these names at the same moment, or one of these cannot be stored at all:
            # each request stands alone now.
            for waiting in batch:
                await self._store_alone(waiting)
        except BaseException as error:
            _fail(batch, error)
            raise

    async def _store_alone(self, waiting: _Waiting) -> None:
        for is_last in (False, False, True):
            try:
                await self._store_together([waiting])
            except (asyncpg.UniqueViolationError, Contended):
                if is_last:
                    _fail(
                        [waiting],
                        Conflict("another request with this key or client_order_id is being stored; repeat this one"),
                    )
            except Exception as error:
                _fail([waiting], error)
                return
            else:
                return

    async def _store_together(self, batch: list[_Waiting]) -> None:
        answers: list[tuple[_Waiting, Accepted]] = []
        # No transaction around these: storing is one statement, the unique names guard it, and a snapshot that no
        # route came to use does no harm.
        async with self._database.connection() as connection:
            fresh = await self._answer_known(connection, batch)
            now = self._clock.now()
            snapshots: dict[UUID, Snapshot] = {}
            rows: list[routes.NewRoute] = []
            for waiting in fresh:
                snapshot = self._snapshot(waiting.request.trade)
                snapshots[snapshot.id] = snapshot
                row = _new_route(waiting, snapshot, now)
                rows.append(row)
                answers.append((waiting, Accepted(row.id, row.response)))
            for snapshot in snapshots.values():
                if not snapshot.is_stored:
                    await routes.store_snapshot(connection, snapshot.to_store())
            if rows:
                # In one order in every process, or two that store the same names would wait for each other.
                rows.sort(key=lambda row: (row.program, row.client_order_id or "", row.idempotency_key or ""))
                await routes.request(connection, rows, self._consumers)
        for snapshot in snapshots.values():
            snapshot.mark_stored()
        if rows:
            telemetry.route_requested("http", len(rows))
        for waiting, accepted in answers:
            if not waiting.answer.done():
                waiting.answer.set_result(accepted)
        repeated = [waiting for waiting in batch if not waiting.answer.done()]
        if repeated:
            # They share a key or an order id with a request of this batch, which is stored by now.
            await self._store_together(repeated)

    async def _answer_known(self, connection: Connection, batch: list[_Waiting]) -> list[_Waiting]:
        # In this order: an order id seen as taken by this very request comes with its key, which is looked at later.
        taken = await self._taken_order_ids(connection, batch)
        known = await self._known_keys(connection, batch)
        fresh: list[_Waiting] = []
        seen: set[tuple[str, str, str]] = set()
        for waiting in batch:
            request = waiting.request
            if waiting.answer.done():
                continue
            names: set[tuple[str, str, str]] = set()
            if request.idempotency_key is not None:
                key = (request.program, request.idempotency_key)
                names.add(("key", *key))
                if key in known:
                    fingerprint, route_id, response = known[key]
                    if fingerprint == waiting.fingerprint:
                        waiting.answer.set_result(Accepted(route_id, response, is_replay=True))
                    else:
                        waiting.answer.set_exception(
                            KeyReused("this Idempotency-Key was used with another body; use a new key for a new trade")
                        )
                    continue
            if request.trade.client_order_id is not None:
                pair = (request.program, request.trade.client_order_id)
                names.add(("order", *pair))
                if pair in taken:
                    waiting.answer.set_exception(duplicate(request.trade.client_order_id, taken[pair]))
                    continue
            if names & seen:
                continue
            try:
                check_trade(request.trade, self._state)
            except Invalid as error:
                waiting.answer.set_exception(error)
                continue
            seen |= names
            fresh.append(waiting)
        return fresh

    async def _known_keys(
        self, connection: Connection, batch: Sequence[_Waiting]
    ) -> dict[tuple[str, str], tuple[bytes, UUID, bytes]]:
        pairs = [
            (waiting.request.program, waiting.request.idempotency_key)
            for waiting in batch
            if waiting.request.idempotency_key is not None
        ]
        return await routes.find_keys(connection, pairs, max_age_h=self._key_age_h) if pairs else {}

    async def _taken_order_ids(self, connection: Connection, batch: Sequence[_Waiting]) -> dict[tuple[str, str], UUID]:
        pairs = [
            (waiting.request.program, waiting.request.trade.client_order_id)
            for waiting in batch
            if waiting.request.trade.client_order_id is not None
        ]
        return await routes.find_client_order_ids(connection, pairs) if pairs else {}

    async def accept_event(
        self,
        request: RouteRequest,
        claim: Claim,
        *,
        route_id: UUID,
    ) -> bool:
        """Store the route that an event asks for and finish the event, together; false when it was stored before."""
        await self._state.fresh()
        check_trade(request.trade, self._state)
        waiting = _Waiting(request, b"", asyncio.get_running_loop().create_future())
        name = request.trade.client_order_id
        async with self._database.transaction() as connection:
            if not await deliveries.finish(connection, [claim]):
                return False
            if await events.by_ids(connection, [(claim.source, claim.event_id)]):
                return False
            taken = await self._taken_order_ids(connection, [waiting])
            if taken and name is not None:
                raise duplicate(name, next(iter(taken.values())))
            snapshot = self._snapshot(request.trade)
            if not snapshot.is_stored:
                await routes.store_snapshot(connection, snapshot.to_store())
            row = _new_route(waiting, snapshot, self._clock.now(), route_id=route_id, claim=claim)
            await routes.request(connection, [row], self._consumers)
        snapshot.mark_stored()
        return True

    def _snapshot(self, trade: TradeIn) -> Snapshot:
        return self._state.snapshot(Instrument.parse(trade.instrument), trade.constraints.max_hops)


def check_trade(trade: TradeIn, state: MarketState) -> None:
    """Refuse what can never be routed. Raises Invalid."""
    errors = []
    for asset in trade.instrument.split("-"):
        if not state.knows(Asset(asset)):
            errors.append(
                FieldError("/instrument", f"{asset} is not traded on any market here; GET /v1/instruments lists those")
            )
    if errors:
        raise Invalid("the trade cannot be routed here", tuple(errors))


def duplicate(client_order_id: str, route_id: UUID) -> Duplicate:
    """Say that an order id is taken, and by which route."""
    return Duplicate(
        f"client_order_id {client_order_id} already names route {route_id}; use a new one for a new trade",
        location=f"/v1/routes/{route_id}",
    )


def _new_route(
    waiting: _Waiting,
    snapshot: Snapshot,
    now: datetime,
    *,
    route_id: UUID | None = None,
    claim: Claim | None = None,
) -> routes.NewRoute:
    request = waiting.request
    identifier = route_id or new_id()
    expires_at = now + timedelta(seconds=request.trade.ttl_s)
    trade = orjson.dumps(request.trade.to_document())
    return routes.NewRoute(
        id=identifier,
        program=request.program,
        client_order_id=request.trade.client_order_id,
        instrument=request.trade.instrument,
        trade=trade.decode(),
        snapshot_id=snapshot.id,
        created_at=now,
        expires_at=expires_at,
        traceparent=request.traceparent,
        request_source=claim.source if claim else API_SOURCE,
        event_ids=(claim.event_id if claim else str(new_id()), str(new_id()), str(new_id())),
        idempotency_key=request.idempotency_key,
        fingerprint=waiting.fingerprint,
        response=_first_answer(identifier, request, snapshot, trade, now, expires_at),
    )


def _first_answer(
    identifier: UUID, request: RouteRequest, snapshot: Snapshot, trade: bytes, now: datetime, expires_at: datetime
) -> bytes:
    return orjson.dumps(
        {
            "id": str(identifier),
            "status": "requested",
            "revision": 0,
            "program": request.program,
            "client_order_id": request.trade.client_order_id,
            "trade": orjson.Fragment(trade),
            "created_at": timestamp(now),
            "updated_at": timestamp(now),
            "expires_at": timestamp(expires_at),
            "snapshot_id": str(snapshot.id),
            "solution": None,
            "forecast": None,
            "timings_ms": None,
        }
    )


def _fingerprint(request: RouteRequest) -> bytes:
    if request.idempotency_key is None:
        return b""
    return hashlib.sha256(orjson.dumps(_canonical(request.body), option=orjson.OPT_SORT_KEYS)).digest()


def _canonical(value: Any) -> Any:
    # 300 and 300.0 are the same number in JSON.
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: _canonical(each) for name, each in value.items()}
    return [_canonical(each) for each in value] if isinstance(value, list) else value


def _fail(batch: Sequence[_Waiting], error: BaseException) -> None:
    for waiting in batch:
        if not waiting.answer.done():
            waiting.answer.set_exception(
                error if isinstance(error, SolverError) else SolverError(f"{type(error).__name__}: {error}")
            )
