"""The latest state of every market, and the revisions that routes used."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.infra.db import Connection

MARKET_CHANNEL = "solver_markets"


@dataclass(frozen=True, slots=True)
class MarketWrite:
    """One market about to be written."""

    market_id: str
    venue: str
    kind: str
    sequence: int | None
    document: str


@dataclass(frozen=True, slots=True)
class Change:
    """A market or an asset that changed; an asset's document is its decimals."""

    is_asset: bool
    name: str
    revision: int
    document: str


# Revisions must become visible in their order, or a reader that saw a later one would miss an earlier one:
# writers take turns.
_TURN = "SELECT pg_advisory_xact_lock(7305781)"

_UPSERT = """
INSERT INTO lake.market AS m (market_id, venue, kind, revision, sequence, document)
SELECT market_id, venue, kind, nextval('lake.market_revision_number'), sequence, document
FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::json[])
     AS t(market_id, venue, kind, sequence, document)
ON CONFLICT (market_id) DO UPDATE
SET venue = excluded.venue, kind = excluded.kind, revision = excluded.revision,
    sequence = coalesce(excluded.sequence, m.sequence),
    document = excluded.document, updated_at = now()
WHERE m.sequence IS NULL OR excluded.sequence IS NULL OR excluded.sequence >= m.sequence
RETURNING market_id, revision
"""

_UPSERT_ASSETS = """
INSERT INTO lake.asset AS a (asset, decimals, revision)
SELECT asset, decimals, nextval('lake.market_revision_number') FROM unnest($1::text[], $2::int[]) AS t(asset, decimals)
ON CONFLICT (asset) DO UPDATE SET decimals = excluded.decimals, revision = excluded.revision
WHERE a.decimals <> excluded.decimals
"""

_CHANGES = """
SELECT false, market_id, revision, document::text FROM lake.market WHERE revision > $1
UNION ALL
SELECT true, asset, revision, decimals::text FROM lake.asset WHERE revision > $1
ORDER BY 3
"""


async def write(connection: Connection, markets: Sequence[MarketWrite], decimals: dict[str, int]) -> dict[str, int]:
    """Store markets of distinct ids; answers the new revision of those that were not older than what is stored."""
    await connection.execute(_TURN)
    if decimals:
        await connection.execute(_UPSERT_ASSETS, list(decimals), list(decimals.values()))
    rows = await connection.fetch(
        _UPSERT,
        [market.market_id for market in markets],
        [market.venue for market in markets],
        [market.kind for market in markets],
        [market.sequence for market in markets],
        [market.document for market in markets],
    )
    await connection.execute("SELECT pg_notify($1, '')", MARKET_CHANNEL)
    return {row[0]: row[1] for row in rows}


async def changes(connection: Connection, after: int) -> list[Change]:
    """Read what changed after a revision, in order."""
    return [Change(*row) for row in await connection.fetch(_CHANGES, after)]


async def revisions(connection: Connection, wanted: Sequence[tuple[str, int]]) -> dict[tuple[str, int], str]:
    """Read stored revisions of markets."""
    identifiers, numbers = zip(*wanted, strict=True) if wanted else ((), ())
    rows = await connection.fetch(
        """
        SELECT market_id, revision, document::text
        FROM lake.market_revision JOIN unnest($1::text[], $2::bigint[]) AS t(market_id, revision)
          USING (market_id, revision)
        """,
        list(identifiers),
        list(numbers),
    )
    return {(row[0], row[1]): row[2] for row in rows}


async def written_at(connection: Connection, market_ids: Sequence[str]) -> dict[str, datetime]:
    """Tell when markets were last written."""
    rows = await connection.fetch(
        "SELECT market_id, updated_at FROM lake.market WHERE market_id = ANY($1)", list(market_ids)
    )
    return {row[0]: row[1] for row in rows}


async def snapshot(connection: Connection, identifier: object) -> tuple[str, str] | None:
    """Read the market list and the decimals of a snapshot, as JSON."""
    row = await connection.fetchrow("SELECT markets::text, decimals::text FROM lake.snapshot WHERE id = $1", identifier)
    return None if row is None else (row[0], row[1])
