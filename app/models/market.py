"""Liquidity and prices as they came in."""

from sqlalchemy import BigInteger, Column, Float, Index, Integer, Sequence, Table, text

from app.models.base import (
    LAKE,
    created_at,
    json_column,
    metadata,
    position,
    text_column,
    time_column,
)

market_revisions = Sequence("market_revision_number", schema=LAKE, metadata=metadata)
event_positions = Sequence("event_position", schema=LAKE, metadata=metadata, cache=100)

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

price = Table(
    "price",
    metadata,
    position(),
    text_column("instrument", "base-quote"),
    text_column("source", "venue or feed"),
    time_column("at", "when it was true"),
    Column("price", Float, nullable=False, comment="quote per base"),
    Column("size", Float, nullable=False, server_default="0", comment="in base"),
    text_column("tick_id", "the feed's own id, or a digest of the tick"),
    time_column("known_at", "when it was known here", server_default=text("now()")),
    Index("uq_price_tick", "instrument", "source", "at", "tick_id", unique=True),
    schema=LAKE,
    comment="Ticks",
)

bar = Table(
    "bar",
    metadata,
    text_column("instrument", "base-quote", primary_key=True),
    time_column("start", "first instant of the second", primary_key=True),
    Column("open", Float, nullable=False, comment="first price"),
    Column("high", Float, nullable=False, comment="highest price"),
    Column("low", Float, nullable=False, comment="lowest price"),
    Column("close", Float, nullable=False, comment="last price"),
    Column("volume", Float, nullable=False, comment="sum of sizes, in base"),
    Column("notional", Float, nullable=False, comment="sum of price times size, in quote"),
    Column("count", Integer, nullable=False, comment="ticks"),
    Column("price_sum", Float, nullable=False, comment="sum of prices"),
    time_column("first_at", "time of the first tick"),
    time_column("last_at", "time of the last tick"),
    time_column("known_at", "latest change", server_default=text("now()")),
    schema=LAKE,
    comment="One-second bars",
)
