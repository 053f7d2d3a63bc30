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


async def routed_assets(connection: Connection, route_id: UUID) -> set[str]:
    """Read which assets the legs of any revision of a route send or receive."""
    rows = await connection.fetch(
        """
        SELECT DISTINCT unnest(ARRAY[leg->'sends'->>'asset', leg->'receives'->>'asset'])
        FROM warehouse.solution, json_array_elements(document->'slices') AS part,
             json_array_elements(part->'legs') AS leg
        WHERE route_id = $1
        """,
        route_id,
    )
    return {row[0] for row in rows}


async def passing(connection: Connection, route_id: UUID, ends: Sequence[str]) -> dict[str, tuple[Decimal, Decimal]]:
    """Sum by asset, those at the ends of the route apart, what came in in time and how much of it has not gone on."""
    rows = await connection.fetch(
        """
        SELECT amount->>'asset', sum((amount->>'amount')::numeric) FILTER (WHERE sign > 0),
               sum((amount->>'amount')::numeric * sign)
        FROM lake.fill, LATERAL (VALUES (document->'receives', 1), (document->'sends', -1)) AS way (amount, sign)
        WHERE route_id = $1 AND NOT late AND NOT amount->>'asset' = ANY($2)
        GROUP BY 1
        """,
        route_id,
        list(ends),
    )
    return {row[0]: (row[1] or Decimal(0), row[2]) for row in rows}
