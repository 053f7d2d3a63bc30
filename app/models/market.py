"""Liquidity as it came in."""

from sqlalchemy import BigInteger, Column, Index, Integer, Sequence, Table, text

from app.models.base import (
    LAKE,
    created_at,
    json_column,
    metadata,
    text_column,
    time_column,
)

market_revisions = Sequence("market_revision_number", schema=LAKE, metadata=metadata)

market = Table(
    "market",
    metadata,
    text_column("market_id", "venue:instrument, or a pool's address", primary_key=True),
    text_column("venue", "where it trades"),
    text_column("kind", "order_book, constant_product, …"),
    Column("revision", BigInteger, nullable=False, comment="grows with every write of any market"),
    Column("sequence", BigInteger, nullable=True, comment="the writer's own order; an older one is not applied"),
    json_column("document", "the market as in the contract"),
    time_column("updated_at", "when it was written", server_default=text("now()")),
    Index("ix_market_revision", "revision"),
    schema=LAKE,
    comment="The latest state of every market",
    postgresql_with={"fillfactor": "60"},
)

market_revision = Table(
    "market_revision",
    metadata,
    text_column("market_id", "the market", primary_key=True),
    Column("revision", BigInteger, primary_key=True, autoincrement=False, comment="which state of it"),
    json_column("document", "the market as in the contract"),
    created_at(),
    schema=LAKE,
    comment="States of markets that a route used; immutable",
)

asset = Table(
    "asset",
    metadata,
    text_column("asset", "its name or address", primary_key=True),
    Column("decimals", Integer, nullable=False, comment="smallest unit is 10^-decimals"),
    Column("revision", BigInteger, nullable=False, comment="shares the counter of markets"),
    Index("ix_asset_revision", "revision"),
    schema=LAKE,
    comment="Assets that state their decimals",
)
