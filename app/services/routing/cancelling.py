"""Cancel a route that its program no longer wants."""

from uuid import UUID

from app.domain.event import EventType
from app.domain.route import TERMINAL, RouteStatus
from app.infra.db import Database
from app.infra.repositories import transitions
from app.services.routing.reading import absent


class Canceller:
    """Ends routes at their program's wish. Cancelling one that ended already changes nothing."""

    def __init__(self, database: Database, *, relay: bool) -> None:
        self._database = database
        self._relay = relay

    async def cancel(self, program: str, route_id: UUID) -> None:
        """End a route: cancelled, or partially filled when something was executed. Raises NotFound, Unavailable."""
        async with self._database.transaction() as connection:
            state = await transitions.lock(connection, route_id)
            if state is None or state.program != program:
                raise absent(route_id)
            if state.status in TERMINAL:
                return
            status = RouteStatus.PARTIALLY_FILLED if state.status is RouteStatus.EXECUTING else RouteStatus.CANCELLED
            await transitions.move(
                connection,
                [route_id],
                status,
                EventType.ROUTE_CANCELLED,
                data={"status": status},
                relay=self._relay,
            )
