"""What programs report of their executions."""

from sqlalchemy import Boolean, Column, Numeric, Table

from app.models.base import (
    LAKE,
    created_at,
    json_column,
    metadata,
    text_column,
    time_column,
    uuid_column,
)

fill = Table(
    "fill",
    metadata,
    uuid_column("route_id", "the route", primary_key=True),
    text_column("fill_id", "the program's id of the fill", primary_key=True),
    text_column("market_id", "where it happened", nullable=True),
    Column("sent", Numeric, nullable=False, comment="of the asset given"),
    Column("received", Numeric, nullable=False, comment="of the asset taken"),
    json_column("document", "the fill as reported"),
    Column("late", Boolean, nullable=False, comment="after a terminal status"),
    time_column("at", "when it happened"),
    created_at(),
    schema=LAKE,
    comment="What programs really got",
)
