"""API keys, of which only a keyed hash is stored."""

from sqlalchemy import Boolean, Column, LargeBinary, Table, text
from sqlalchemy.dialects.postgresql import ARRAY, TEXT

from app.models.base import (
    LAKE,
    created_at,
    metadata,
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
