"""The intake stage: a program asks for a route by an event instead of a POST."""

import re
from collections.abc import Sequence
from typing import Any

from app import telemetry
from app.config import AttemptSettings
from app.domain.claim import Claim
from app.domain.errors import Malformed, SolverError, Unavailable
from app.domain.event import EventType, Stage, route_id_of
from app.domain.message import unpack
from app.infra.db import Database
from app.infra.repositories import deliveries
from app.services.access import Access
from app.services.event_check import check_event
from app.services.routing import Acceptor, RouteRequest
from app.services.schemas.trade import read_trade
from app.services.staging import attempts_of, backoff_s, fail

_TRACE = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class Intake:
    """Turns request events into routes; what cannot be one is dead-lettered with the reason."""

    stage = Stage.INTAKE

    def __init__(self, database: Database, acceptor: Acceptor, access: Access, *, attempts: AttemptSettings) -> None:
        self._database = database
        self._acceptor = acceptor
        self._access = access
        self._attempts = attempts

    async def run(self, claims: Sequence[Claim]) -> None:
        """Handle a batch. Raises Unavailable when Postgres is away."""
        for claim in claims:
            try:
                await self._accept(claim)
            except Unavailable:
                raise
            except SolverError as error:
                await self._refuse(claim, error)
            except Exception as error:
                await self._retry(claim, error)

    async def _accept(self, claim: Claim) -> None:
        if claim.attempts > attempts_of(self.stage, self._attempts):
            raise SolverError(f"{claim.attempts - 1} attempts ended without an answer")
        event = check_event(unpack(claim.payload).body if claim.payload else b"")
        if event["type"] != EventType.ROUTE_REQUESTED:
            raise Malformed(f"{event['type']} starts nothing here; publish {EventType.ROUTE_REQUESTED}")
        data = event["data"]
        if not await self._access.knows_program(data["program"]):
            raise Malformed(f"program {data['program']!r} is unknown; create a key for it with `solver keys create`")
        document = dict(data["trade"])
        if document.get("client_order_id") is None:
            document["client_order_id"] = data.get("client_order_id")
        request = RouteRequest(program=data["program"], trade=read_trade(document), traceparent=_trace_of(event))
        route_id = route_id_of(event["source"], event["id"])
        await self._acceptor.accept_event(request, claim, route_id=route_id)

    async def _refuse(self, claim: Claim, error: SolverError) -> None:
        telemetry.request_refused("topic", error.code, error.detail)
        await fail(self._database, self.stage, claim, error)

    async def _retry(self, claim: Claim, error: Exception) -> None:
        if claim.attempts >= attempts_of(self.stage, self._attempts):
            await fail(self._database, self.stage, claim, error)
            return
        telemetry.stage_retried(self.stage, claim.event_id, claim.attempts, repr(error))
        async with self._database.connection() as connection:
            delay_s = backoff_s(claim.attempts, self._attempts)
            await deliveries.release(connection, [claim], delays_s=[delay_s], counted=True)


def _trace_of(event: dict[str, Any]) -> str | None:
    trace = event.get("traceparent")
    return trace if isinstance(trace, str) and _TRACE.fullmatch(trace) else None
