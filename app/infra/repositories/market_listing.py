"""What is on record about markets and assets, for listings and checks."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.infra.db import Connection


@dataclass(frozen=True, slots=True)
class StoredMarket:
    """One market as it is now."""

    market_id: str
    revision: int
    document: str
    updated_at: datetime


async def read(connection: Connection, market_ids: Sequence[str]) -> list[StoredMarket]:
    """Read markets, by id."""
    rows = await connection.fetch(
        """
        SELECT market_id, revision, document::text, updated_at FROM lake.market
        WHERE market_id = ANY($1) ORDER BY market_id COLLATE "C"
        """,
        list(market_ids),
    )
    return [StoredMarket(*row) for row in rows]


async def known_decimals(connection: Connection, assets: Sequence[str]) -> set[str]:
    """Tell which of some assets state their decimals."""
    rows = await connection.fetch("SELECT asset FROM lake.asset WHERE asset = ANY($1)", list(assets))
    return {row[0] for row in rows}
