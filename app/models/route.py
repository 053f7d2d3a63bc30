"""Routes, the snapshots they were solved on, and the answers kept for idempotency keys."""

from collections.abc import Iterable

from sqlalchemy import Boolean, Column, Computed, Index, Integer, LargeBinary, Table, text

from app.domain.route import LIVE, PENDING, RouteStatus
from app.models.base import (
    LAKE,
    created_at,
    json_column,
    metadata,
    text_column,
    time_column,
    uuid_column,
)


def _listed(statuses: Iterable[RouteStatus]) -> str:
    return ", ".join(f"'{status}'" for status in RouteStatus if status in statuses)


route = Table(
    "route",
    metadata,
    uuid_column("id", "route id (UUIDv7)", primary_key=True),
    text_column("program", "the API client that owns the route"),
    text_column("client_order_id", "the program's own name for it", nullable=True),
    text_column("instrument", "base-quote"),
    json_column("trade", "the trade as accepted, defaults filled in"),
    text_column("status", "where the route stands"),
    Column("revision", Integer, nullable=False, server_default="0", comment="number of the latest solution"),
    Column("event_count", Integer, nullable=False, server_default="0", comment="seq of the latest event"),
    uuid_column("snapshot_id", "the market state it was requested on"),
    json_column("reason", "why it is infeasible or failed", nullable=True),
    time_column("expires_at", "until when a fill may start", nullable=True),
    time_column("horizon_ends_at", "until when fills count", nullable=True),
    time_column("next_due_at", "when the next slice of its schedule is due", nullable=True),
    Column("late_fills", Integer, nullable=False, server_default="0", comment="fills after a terminal status"),
    text_column("traceparent", "W3C trace context of the request", nullable=True),
    created_at(),
    time_column("updated_at", "latest change", server_default=text("now()")),
    # Not the status itself in the indexes: a step that leaves these two as they were then touches no index.
    Column(
        "is_pending",
        Boolean,
        Computed(f"status IN ({_listed(PENDING)})", persisted=True),
        nullable=False,
        comment="not solved yet",
    ),
    Column(
        "is_live",
        Boolean,
        Computed(f"status IN ({_listed(LIVE)})", persisted=True),
        nullable=False,
        comment="solved and not ended",
    ),
    Index(
        "uq_route_program_client_order_id",
        "program",
        "client_order_id",
        unique=True,
        postgresql_where=text("client_order_id IS NOT NULL"),
    ),
    Index("ix_route_program_created_at", "program", "created_at", "id"),
    Index("ix_route_pending", "id", postgresql_where=text("is_pending")),
    Index("ix_route_live", "expires_at", postgresql_where=text("is_live")),
    Index("ix_route_due", "next_due_at", postgresql_where=text("is_live AND next_due_at IS NOT NULL")),
    schema=LAKE,
    comment="One row per requested route",
    postgresql_with={"fillfactor": "50"},
)

snapshot = Table(
    "snapshot",
    metadata,
    uuid_column("id", "snapshot id (UUIDv7)", primary_key=True),
    time_column("as_of", "the moment it describes"),
    json_column("markets", "[[market_id, revision], …]"),
    json_column("decimals", "decimals of the assets that state them"),
    created_at(),
    schema=LAKE,
    comment="The market revisions that routes were solved on; shared by routes of one moment",
)

idempotency = Table(
    "idempotency",
    metadata,
    text_column("program", "the API client", primary_key=True),
    text_column("key", "its Idempotency-Key", primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False, comment="SHA-256 of the body as parsed JSON"),
    uuid_column("route_id", "the route that was made"),
    Column("response", LargeBinary, nullable=False, comment="the bytes of the 202"),
    created_at(),
    Index("ix_idempotency_created_at", "created_at"),
    schema=LAKE,
    comment="The first answer to each idempotency key, for 24 hours",
)
