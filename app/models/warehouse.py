"""What the stages computed: features, forecasts and solutions."""

from sqlalchemy import Boolean, Column, Float, Index, Integer, Table, text
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
