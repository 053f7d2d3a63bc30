"""Prices as they came in, and the bars they add up to."""

from sqlalchemy import Column, Float, Integer, PrimaryKeyConstraint, Table, text
from sqlalchemy.dialects.postgresql import ARRAY

from app.models.base import LAKE, metadata, text_column, time_column, uuid_column

price = Table(
    "price",
    metadata,
    text_column("instrument", "base-quote"),
    text_column("source", "venue or feed"),
    time_column("at", "when it was true"),
    text_column("tick_id", "the feed's own id, or what the tick says"),
    Column("price", Float, nullable=False, comment="quote per base"),
    Column("size", Float, nullable=False, server_default="0", comment="in base"),
    time_column("known_at", "when it was known here", server_default=text("now()")),
    PrimaryKeyConstraint("instrument", "source", "at", "tick_id"),
    schema=LAKE,
    comment="Ticks",
    postgresql_partition_by="RANGE (at)",
)

bar = Table(
    "bar",
    metadata,
    text_column("instrument", "base-quote"),
    time_column("start", "first instant"),
    Column("span_s", Integer, nullable=False, server_default="1", comment="seconds it covers"),
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
    PrimaryKeyConstraint("instrument", "start", "span_s"),
    schema=LAKE,
    comment="Bars of one second, and longer ones: rolled up from old seconds, or imported as candles",
    postgresql_partition_by="RANGE (start)",
)

candle = Table(
    "candle",
    metadata,
    text_column("instrument", "base-quote"),
    Column("interval_s", Integer, nullable=False, comment="seconds it covers"),
    time_column("start", "first instant"),
    text_column("source", "exchange or file"),
    Column("open", Float, nullable=False, comment="first price"),
    Column("high", Float, nullable=False, comment="highest price"),
    Column("low", Float, nullable=False, comment="lowest price"),
    Column("close", Float, nullable=False, comment="last price"),
    Column("volume", Float, nullable=False, comment="in base"),
    time_column("known_at", "latest change", server_default=text("now()")),
    PrimaryKeyConstraint("instrument", "interval_s", "start", "source"),
    schema=LAKE,
    comment="Candles as imported; bars of their span follow from them",
)

bar_due = Table(
    "bar_due",
    metadata,
    text_column("instrument", "base-quote", primary_key=True),
    time_column("from_start", "first second that changed since it was taken; infinity if none did"),
    time_column("to_start", "last second that changed"),
    time_column("changed_at", "latest change", server_default=text("now()")),
    time_column("taken_from", "measured up to here", nullable=True),
    uuid_column("token", "of the latest taking, so that a late worker writes nothing", nullable=True),
    time_column("leased_until", "a silent worker loses it then", nullable=True),
    time_column("unsaid_from", "rows behind it may be unpublished", nullable=True),
    time_column("unsaid_ts", "known_ts of these rows", nullable=True),
    schema=LAKE,
    comment="Instruments whose metrics have to be computed, and from when",
)

book_sample = Table(
    "book_sample",
    metadata,
    text_column("instrument", "base-quote"),
    time_column("at", "the second it stood at"),
    Column("values", ARRAY(Float), nullable=False, comment="book features in catalog order; NaN where there is none"),
    time_column("known_ts", "when it was known here", server_default=text("now()")),
    PrimaryKeyConstraint("instrument", "at"),
    schema=LAKE,
    comment="What the order books of an instrument held, second by second",
    postgresql_partition_by="RANGE (at)",
)
