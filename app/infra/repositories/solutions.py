"""Solutions as they were stored, with what they were made from."""

from dataclasses import dataclass
from uuid import UUID

from app.infra.db import Connection


@dataclass(frozen=True, slots=True)
class StoredSolution:
    """One revision of a route; the texts are JSON, `inputs` None where an earlier version stored it."""

    revision: int
    snapshot_id: UUID
    trade: str
    document: str
    inputs: str | None


async def revision(connection: Connection, route_id: UUID, number: int | None) -> StoredSolution | None:
    """Read a revision of a route, the newest without a number."""
    row = await connection.fetchrow(
        """
SELECT s.revision, s.snapshot_id, r.trade::text AS trade, s.document::text AS document, s.inputs::text AS inputs
FROM lake.route r JOIN warehouse.solution s ON s.route_id = r.id
WHERE r.id = $1 AND ($2::int IS NULL OR s.revision = $2) ORDER BY s.revision DESC LIMIT 1
""",
        route_id,
        number,
    )
    return None if row is None else StoredSolution(**row)
