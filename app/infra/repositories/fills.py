"""What programs really got."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from app.infra.db import Connection


async def add(
    connection: Connection,
    route_id: UUID,
    fill_id: str,
    *,
    market_id: str | None,
    sent: Decimal,
    received: Decimal,
    document: str,
    late: bool,
    at: datetime,
) -> None:
    """Store a fill of a locked route."""
    await connection.execute(
        """
        INSERT INTO lake.fill (route_id, fill_id, market_id, sent, received, document, late, at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        """,
        route_id,
        fill_id,
        market_id,
        sent,
        received,
        document,
        late,
        at,
    )


async def known(connection: Connection, route_id: UUID, fill_ids: Sequence[str]) -> dict[str, tuple[str, bool]]:
    """Read the documents and lateness of fills that were reported before."""
    rows = await connection.fetch(
        "SELECT fill_id, document, late FROM lake.fill WHERE route_id = $1 AND fill_id = ANY($2)",
        route_id,
        list(fill_ids),
    )
    return {row[0]: (row[1], row[2]) for row in rows}


async def totals(connection: Connection, route_id: UUID) -> tuple[Decimal, Decimal]:
    """Sum what was sent and received in time."""
    row = await connection.fetchrow(
        "SELECT coalesce(sum(sent), 0), coalesce(sum(received), 0) FROM lake.fill WHERE route_id = $1 AND NOT late",
        route_id,
    )
    assert row is not None
    return row[0], row[1]


async def residual(connection: Connection, route_id: UUID, revision: int, asset: str) -> Decimal:
    """Read what the latest solution leaves over of an asset because no lot is that small."""
    text = await connection.fetchval(
        "SELECT document->'residuals'->>$3 FROM warehouse.solution WHERE route_id = $1 AND revision = $2",
        route_id,
        revision,
        asset,
    )
    return Decimal(text) if text else Decimal(0)
