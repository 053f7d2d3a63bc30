"""Prices as they came in, and the bars they add up to."""

from sqlalchemy import Column, Float, Index, Integer, Table, text

from app.models.base import (
    LAKE,
    metadata,
    position,
    text_column,
    time_column,
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
