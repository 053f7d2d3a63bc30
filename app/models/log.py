"""What this product says of itself."""

from sqlalchemy import Index, Table

from app.models.base import (
    LAKE,
    json_column,
    metadata,
    position,
    text_column,
    time_column,
)

log = Table(
    "log",
    metadata,
    position(),
    time_column("at", "when it was said"),
    text_column("level", "DEBUG, INFO, WARNING, SYSTEM_ERROR, PROCESS_ERROR, CRITICAL"),
    text_column("event", "what happened"),
    json_column("fields", "to whom and how"),
    Index("ix_log_at", "at"),
    schema=LAKE,
    comment="What the product said of itself; archived past retention",
)
