"""Take back what programs really got."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson

from app import telemetry
from app.domain.errors import Conflict, FieldError, Invalid
from app.domain.event import EventType
from app.domain.route import PENDING, TERMINAL, RouteStatus
from app.domain.trade import Trade
from app.domain.values import plain
from app.infra.db import Connection, Database
from app.infra.repositories import fills, revisions, transitions
from app.infra.repositories.transitions import RouteState
from app.services.ports import Clock
from app.services.routing.reading import absent
from app.services.schemas.fill import FillIn
from app.services.schemas.trade import TradeIn

_ENOUGH = Decimal(1) - Decimal("1e-9")
_REST = Decimal("0.01")
"""Share of what came in of an asset on the way that lots and better prices may leave there."""


@dataclass(frozen=True, slots=True)
class FillReceipt:
    """What a report changed."""

    document: dict[str, Any]
    is_new: bool


class Feedback:
    """Stores fills, once each, and moves the route."""

    def __init__(self, database: Database, clock: Clock, *, relay: bool) -> None:
        self._database = database
        self._clock = clock
        self._relay = relay

    async def report(self, program: str, route_id: UUID, fill: FillIn) -> FillReceipt:
        """Store one fill. Raises NotFound, Conflict, Invalid, Unavailable."""
        document = orjson.dumps(fill.to_document(), option=orjson.OPT_SORT_KEYS).decode()
        async with self._database.transaction() as connection:
            state = await transitions.lock(connection, route_id)
            if state is None or state.program != program:
                raise absent(route_id)
            before = (await fills.known(connection, route_id, [fill.fill_id])).get(fill.fill_id)
            if before is not None:
                if before[0] != document:
                    raise Conflict(f"fill {fill.fill_id} was reported with other content; a fill never changes")
                sent, received = await fills.totals(connection, route_id)
                return FillReceipt(_receipt(fill, state.status, before[1], sent, received), is_new=False)
            if state.status in PENDING:
                raise Conflict(f"route {route_id} is {state.status}: nothing can be filled before it is ready")
            receipt = await self._store(connection, state, fill, document)
        telemetry.fill_reported(str(route_id), late=receipt.document["late"])
        return receipt

    async def _store(self, connection: Connection, state: RouteState, fill: FillIn, document: str) -> FillReceipt:
        trade = TradeIn.model_validate(state.trade).to_domain()
        gives, sent, takes, received = fill.amounts(trade.instrument, trade.side)
        await _check_assets(connection, state, trade, gives, takes)
        begins, ends = gives == trade.gives, takes == trade.takes
        is_late = state.status in TERMINAL
        await fills.add(
            connection,
            state.id,
            fill.fill_id,
            market_id=fill.market_id,
            sent=sent if begins else Decimal(0),
            received=received if ends else Decimal(0),
            document=document,
            late=is_late,
            at=fill.at or self._clock.now(),
        )
        total_sent, total_received = await fills.totals(connection, state.id)
        status = state.status
        if not is_late:
            is_done = await _is_done(connection, state, trade, total_sent, total_received)
            status = RouteStatus.FILLED if is_done else RouteStatus.EXECUTING
        await transitions.move(
            connection,
            [state.id],
            status,
            EventType.ROUTE_FILLED,
            data={"status": status, "fill_id": fill.fill_id, "late": is_late},
            late_fills=int(is_late),
            relay=self._relay,
        )
        # What is on the way to another asset is no reason yet to plan what is left anew.
        if ends and not is_late:
            await revisions.hasten(connection, state.id)
        return FillReceipt(_receipt(fill, status, is_late, total_sent, total_received), is_new=True)


async def _is_done(connection: Connection, state: RouteState, trade: Trade, sent: Decimal, received: Decimal) -> bool:
    if trade.is_exact_out:
        return received >= trade.quantity * _ENOUGH
    rest = await fills.residual(connection, state.id, state.revision, trade.gives)
    if sent < (trade.quantity - rest) * _ENOUGH:
        return False
    passing = await fills.passing(connection, state.id, (trade.gives, trade.takes))
    for asset, (came, left) in passing.items():
        if left > came * _REST + await fills.residual(connection, state.id, state.revision, asset):
            return False
    return True


async def _check_assets(connection: Connection, state: RouteState, trade: Trade, gives: str, takes: str) -> None:
    if gives == trade.gives and takes == trade.takes:
        return
    between = await fills.routed_assets(connection, state.id) - {trade.gives, trade.takes}
    named = f" or, on the way, {', '.join(sorted(between))}" if between else ""
    errors = []
    if gives != trade.gives and gives not in between:
        errors.append(FieldError("/sends/asset", f"is {gives}; this route sends {trade.gives}{named}"))
    if takes != trade.takes and takes not in between:
        errors.append(FieldError("/receives/asset", f"is {takes}; this route receives {trade.takes}{named}"))
    if gives == takes and not errors:
        errors.append(FieldError("/receives/asset", f"is {takes}, as is what was sent"))
    if errors:
        raise Invalid("the fill is not of this trade", tuple(errors))


def _receipt(fill: FillIn, status: RouteStatus, late: bool, sent: Decimal, received: Decimal) -> dict[str, Any]:
    return {
        "fill_id": fill.fill_id,
        "status": status,
        "late": late,
        "total": {"sent": plain(sent), "received": plain(received)},
    }
