"""What programs hold and report: keys, fills, jobs; and what this product says of itself: logs."""

from sqlalchemy import Boolean, Column, Float, Index, Integer, LargeBinary, Numeric, Table, text
from sqlalchemy.dialects.postgresql import ARRAY, TEXT

from app.models.base import (
    LAKE,
    created_at,
    json_column,
    metadata,
    position,
    text_column,
    time_column,
    uuid_column,
)

api_key = Table(
    "api_key",
    metadata,
    uuid_column("id", "key id (UUIDv7)", primary_key=True),
    text_column("program", "the API client"),
    text_column("prefix", "the readable start of the key"),
    Column("digest", LargeBinary, nullable=False, unique=True, comment="keyed hash; the key itself is not stored"),
    Column("scopes", ARRAY(TEXT), nullable=False, comment="trade, market, train, admin"),
    Column(
        "unlimited",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="exempt from the rate limit",
    ),
    time_column("expires_at", "not valid from then on", nullable=True),
    time_column("revoked_at", "taken back", nullable=True),
    created_at(),
    schema=LAKE,
    comment="API keys; two live ones per program allow rotation",
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
