"""The event trail, what each consumer still has to do, and what could not be done."""

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    Sequence,
    SmallInteger,
    Table,
    UniqueConstraint,
    text,
)

from app.models.base import (
    LAKE,
    TransactionId,
    created_at,
    json_column,
    metadata,
    position,
    text_column,
    time_column,
    uuid_column,
)

event_positions = Sequence("event_position", schema=LAKE, metadata=metadata, cache=100)

event = Table(
    "event",
    metadata,
    Column(
        "position",
        BigInteger,
        nullable=False,
        server_default=text("nextval('lake.event_position')"),
        comment="grows with every row",
    ),
    Column(
        "xid",
        TransactionId,
        nullable=False,
        server_default=text("pg_current_xact_id()"),
        comment="the writing transaction: readers stop before the oldest one still open",
    ),
    text_column("source", "the component or program that said it", primary_key=True),
    text_column("id", "unique per source", primary_key=True),
    text_column("type", "{name}.{payload}"),
    uuid_column("route_id", "the subject: what it is about"),
    Column("seq", Integer, nullable=False, comment="1, 2, 3… per route"),
    text_column("program", "who may see it"),
    text_column("status", "the route's status once it was said"),
    Column("revision", Integer, nullable=False, comment="the route's revision once it was said"),
    json_column("data", "the payload"),
    text_column("traceparent", "W3C trace context", nullable=True),
    time_column("time", "when it was said", server_default=text("now()")),
    UniqueConstraint("route_id", "seq"),
    Index("ix_event_feed", "xid", "position"),
    schema=LAKE,
    comment="Every event of every route, append only",
)

delivery = Table(
    "delivery",
    metadata,
    position(),
    text_column("consumer", "the stage that handles it, or the relay to a broker"),
    text_column("source", "of the event"),
    text_column("event_id", "of the event"),
    uuid_column("route_id", "the ordering key", nullable=True),
    Column("payload", LargeBinary, nullable=True, comment="the message, when it is not in the trail"),
    Column("state", SmallInteger, nullable=False, server_default="0", comment="0 open, 1 done, 2 dead"),
    Column("attempts", Integer, nullable=False, server_default="0", comment="how often it was tried"),
    Column("claims", Integer, nullable=False, server_default="0", comment="fencing token: grows with each lease"),
    time_column("available_at", "due, or leased until", server_default=text("now()")),
    text_column("owner", "the worker slot that holds the lease", nullable=True),
    created_at(),
    UniqueConstraint("source", "event_id", "consumer"),
    Index("ix_delivery_open", "consumer", "position", postgresql_where=text("state = 0")),
    schema=LAKE,
    comment="Inbox and outbox in one: one row per event and consumer",
    postgresql_with={"fillfactor": "70"},
)

dead_letter = Table(
    "dead_letter",
    metadata,
    uuid_column("id", "dead letter id (UUIDv7)", primary_key=True),
    text_column("consumer", "the stage that gave up"),
    text_column("source", "of the event", nullable=True),
    text_column("event_id", "of the event", nullable=True),
    uuid_column("route_id", "the route it stopped", nullable=True),
    Column("payload", LargeBinary, nullable=True, comment="the message as received"),
    text_column("code", "class of the failure"),
    text_column("reason", "what went wrong and what to do"),
    Column("attempts", Integer, nullable=False, comment="how often it was tried"),
    time_column("replayed_at", "when it was put back", nullable=True),
    created_at(),
    schema=LAKE,
    comment="Events that no retry helped, with the reason",
)
