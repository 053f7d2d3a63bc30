"""Read routes as their program may see them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from app.domain.errors import NotFound
from app.infra.db import Database
from app.infra.repositories import events, routes
from app.services.documents import route_document


@dataclass(frozen=True, slots=True)
class RouteFilter:
    """Which routes to list."""

    status: str | None = None
    instrument: str | None = None
    client_order_id: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class RouteView:
    """A route as served, with what identifies this state of it."""

    document: dict[str, Any]
    status: str
    revision: int
    updated_at: datetime

    @property
    def etag(self) -> str:
        """Identify this state of the route; events that change nothing a reader sees leave it."""
        return f'"{self.revision}-{int(self.updated_at.timestamp() * 1e6):x}"'


class RouteReader:
    """Reads routes; another program's route is as absent as one that never was."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, program: str, route_id: UUID) -> RouteView:
        """Read one route. Raises NotFound, Unavailable."""
        async with self._database.connection() as connection:
            found = await routes.read(connection, [route_id])
        row = found.get(route_id)
        if row is None or row["program"] != program:
            raise absent(route_id)
        return view(row)

    async def require(self, program: str, route_id: UUID) -> None:
        """Check that a route is the program's. Raises NotFound."""
        async with self._database.connection() as connection:
            owner = await routes.owner(connection, route_id)
        if owner != program:
            raise absent(route_id)

    async def page(
        self, program: str, which: RouteFilter, *, limit: int, before: UUID | None
    ) -> tuple[list[RouteView], UUID | None]:
        """List routes, newest first, and where the next page starts."""
        async with self._database.connection() as connection:
            identifiers = await routes.page(
                connection,
                program,
                limit=limit + 1,
                before=before,
                status=which.status,
                instrument=which.instrument,
                client_order_id=which.client_order_id,
                created_after=which.created_after,
                created_before=which.created_before,
            )
            found = await routes.read(connection, identifiers[:limit])
        views = [view(found[identifier]) for identifier in identifiers[:limit] if identifier in found]
        return views, identifiers[limit - 1] if len(identifiers) > limit else None

    async def events(
        self, program: str, route_id: UUID, *, after: int, limit: int
    ) -> tuple[list[dict[str, Any]], int | None]:
        """List a route's events in order, and where the next page starts. Raises NotFound."""
        await self.require(program, route_id)
        async with self._database.connection() as connection:
            rows = await events.of_route(connection, route_id, after=after, limit=limit + 1)
        return [events.envelope(row) for row in rows[:limit]], rows[limit - 1].seq if len(rows) > limit else None


def view(row: dict[str, Any]) -> RouteView:
    """Write a route's row as served."""
    return RouteView(route_document(row), row["status"], row["revision"], row["updated_at"])


def absent(route_id: UUID) -> NotFound:
    """Say that there is no such route."""
    return NotFound(f"there is no route {route_id}; GET /v1/routes lists yours")
