"""What the stages computed: features, forecasts and solutions."""

from sqlalchemy import Boolean, Column, Date, Float, Index, Integer, PrimaryKeyConstraint, Table, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from app.models.base import (
    WAREHOUSE,
    created_at,
    json_column,
    metadata,
    text_column,
    time_column,
    uuid_column,
)

feature = Table(
    "feature",
    metadata,
    uuid_column("route_id", "the route they were computed for", primary_key=True),
    text_column("instrument", "base-quote"),
    time_column("event_at", "the latest bar they look at", nullable=True),
    text_column("schema_hash", "which features, in which order"),
    Column("market", ARRAY(Float), nullable=False, comment="features of the market; NaN where history is missing"),
    Column("request", ARRAY(Float), nullable=False, comment="features of the trade"),
    Column("missing", ARRAY(Text), nullable=False, server_default="{}", comment="features without a value"),
    Column("stale", ARRAY(Text), nullable=False, server_default="{}", comment="inputs older than they should be"),
    Column("compute_ms", Float, nullable=False, comment="time it took"),
    created_at(),
    schema=WAREHOUSE,
    comment="Feature vectors of routes, in the order of features_catalog.json",
)

forecast = Table(
    "forecast",
    metadata,
    uuid_column("route_id", "the route it was made for", primary_key=True),
    json_column("document", "volatility, volume, drift, anomaly, regime and the models that served"),
    Column("compute_ms", Float, nullable=False, comment="time it took"),
    created_at(),
    schema=WAREHOUSE,
    comment="Forecasts that routes were solved with",
)

solution = Table(
    "solution",
    metadata,
    uuid_column("route_id", "the route", primary_key=True),
    Column("revision", Integer, primary_key=True, autoincrement=False, comment="1, 2, 3… per route"),
    uuid_column("snapshot_id", "the market state it was solved on"),
    json_column("document", "the solution as in the contract"),
    json_column("timings", "milliseconds per stage"),
    Column(
        "inputs",
        JSONB,
        nullable=True,
        comment="what it was solved from besides trade and snapshot; null for solutions of earlier versions",
    ),
    Column("is_confirmed", Boolean, nullable=False, server_default=text("false"), comment="seen by the sweeper"),
    Index("ix_solution_unconfirmed", "route_id", postgresql_where=text("NOT is_confirmed")),
    created_at(),
    schema=WAREHOUSE,
    comment="Every revision of every route",
)

metric = Table(
    "metric",
    metadata,
    text_column("instrument", "base-quote"),
    Column("interval_s", Integer, nullable=False, comment="seconds of a bar it looks at"),
    time_column("event_ts", "end of the last bar it looks at"),
    time_column("known_ts", "when it was known here", server_default=text("now()")),
    text_column("set_hash", "which metrics, in which order"),
    Column("values", ARRAY(Float), nullable=False, comment="NaN where history is missing"),
    PrimaryKeyConstraint("instrument", "interval_s", "event_ts", "known_ts"),
    schema=WAREHOUSE,
    comment="Metrics of instruments; what late prices change is appended under a later known_ts",
    postgresql_partition_by="RANGE (event_ts)",
)

metric_set = Table(
    "metric_set",
    metadata,
    text_column("set_hash", "digest of names and definitions", primary_key=True),
    Column("names", ARRAY(Text), nullable=False, comment="metrics in the order of the values"),
    created_at(),
    schema=WAREHOUSE,
    comment="What the values of metric rows are",
)

feature_history = Table(
    "feature_history",
    metadata,
    text_column("instrument", "base-quote"),
    Column("interval_s", Integer, nullable=False, comment="seconds of a bar it looks at"),
    text_column("schema_hash", "which features, in which order"),
    time_column("event_ts", "end of the last bar it looks at"),
    time_column("known_ts", "when it was known here", server_default=text("now()")),
    Column("values", ARRAY(Float), nullable=False, comment="NaN where history is missing"),
    PrimaryKeyConstraint("instrument", "interval_s", "schema_hash", "event_ts", "known_ts"),
    schema=WAREHOUSE,
    comment="Feature vectors of markets over time, for training",
    postgresql_partition_by="RANGE (event_ts)",
)

outcome = Table(
    "outcome",
    metadata,
    text_column("instrument", "base-quote"),
    Column("interval_s", Integer, nullable=False, comment="seconds of a bar it looks at"),
    Column("horizon_s", Integer, nullable=False, comment="seconds ahead of event_ts"),
    time_column("event_ts", "the moment it looks ahead from"),
    time_column("known_ts", "when it was known here", server_default=text("now()")),
    Column("values", ARRAY(Float), nullable=False, comment="log return in bp, realised volatility in bp, volume"),
    PrimaryKeyConstraint("instrument", "interval_s", "horizon_s", "event_ts", "known_ts"),
    schema=WAREHOUSE,
    comment="What came after a moment: labels, kept apart from features",
    postgresql_partition_by="RANGE (event_ts)",
)

feature_set = Table(
    "feature_set",
    metadata,
    text_column("name", "the set", primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False, comment="1, 2, 3… per name"),
    text_column("schema_hash", "digest of its columns"),
    json_column("document", "interval, instruments and columns"),
    text_column("program", "who defined it"),
    created_at(),
    schema=WAREHOUSE,
    comment="Feature sets that programs defined; a version never changes",
)

backfill_chunk = Table(
    "backfill_chunk",
    metadata,
    text_column("scope_hash", "digest of what is computed", primary_key=True),
    text_column("instrument", "base-quote", primary_key=True),
    Column("day", Date, primary_key=True, comment="UTC"),
    Column("rows", Integer, nullable=False, comment="rows written"),
    created_at(),
    schema=WAREHOUSE,
    comment="Parts of backfills that are done",
)
