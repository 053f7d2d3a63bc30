"""Long work that programs ask for."""

from sqlalchemy import Boolean, Column, Float, Index, Integer, Table, text

from app.models.base import (
    LAKE,
    created_at,
    json_column,
    metadata,
    text_column,
    time_column,
    uuid_column,
)

job = Table(
    "job",
    metadata,
    uuid_column("id", "job id (UUIDv7)", primary_key=True),
    text_column("program", "who asked"),
    text_column("kind", "what to do"),
    json_column("params", "with what"),
    text_column("status", "queued, running, succeeded, failed, cancelled"),
    Column("progress", Float, nullable=False, server_default="0", comment="0 to 1"),
    json_column("result", "what came of it", nullable=True),
    text_column("error", "why it failed", nullable=True),
    Column("cancel_requested", Boolean, nullable=False, server_default=text("false"), comment="stop when you can"),
    Column("claims", Integer, nullable=False, server_default="0", comment="fencing token"),
    time_column("leased_until", "a silent worker loses it then", nullable=True),
    time_column("started_at", "first start", nullable=True),
    time_column("finished_at", "end", nullable=True),
    created_at(),
    Index("ix_job_open", "id", postgresql_where=text("status IN ('queued','running')")),
    schema=LAKE,
    comment="Long work, run by a worker",
)
