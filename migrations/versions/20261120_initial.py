"""The lake, the warehouse, and what the service role may do in them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


class TransactionId(sa.types.UserDefinedType):  # type: ignore[type-arg]
    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "xid8"


GRANT = """
DO $$ BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'solver_service') THEN
    GRANT USAGE ON SCHEMA lake, warehouse TO solver_service;
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA lake, warehouse TO solver_service;
    GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA lake TO solver_service;
  END IF;
END $$
"""


def upgrade() -> None:
    op.execute("CREATE SCHEMA IF NOT EXISTS lake")
    op.execute("CREATE SCHEMA IF NOT EXISTS warehouse")
    op.execute("CREATE SEQUENCE lake.market_revision_number")
    op.execute("CREATE SEQUENCE lake.event_position CACHE 100")
    op.create_table(
        "api_key",
        sa.Column("id", sa.UUID(), nullable=False, comment="key id (UUIDv7)"),
        sa.Column("program", sa.Text(), nullable=False, comment="the API client"),
        sa.Column("prefix", sa.Text(), nullable=False, comment="the readable start of the key"),
        sa.Column("digest", sa.LargeBinary(), nullable=False, comment="keyed hash; the key itself is not stored"),
        sa.Column("scopes", postgresql.ARRAY(sa.TEXT()), nullable=False, comment="trade, market, train, admin"),
        sa.Column(
            "unlimited",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="exempt from the rate limit",
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True, comment="not valid from then on"),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True, comment="taken back"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the row was written",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_key")),
        sa.UniqueConstraint("digest", name=op.f("uq_api_key_digest")),
        schema="lake",
        comment="API keys; two live ones per program allow rotation",
    )
    op.create_table(
        "asset",
        sa.Column("asset", sa.Text(), nullable=False, comment="its name or address"),
        sa.Column("decimals", sa.Integer(), nullable=False, comment="smallest unit is 10^-decimals"),
        sa.Column("revision", sa.BigInteger(), nullable=False, comment="shares the counter of markets"),
        sa.PrimaryKeyConstraint("asset", name=op.f("pk_asset")),
        schema="lake",
        comment="Assets that state their decimals",
    )
    op.create_index("ix_asset_revision", "asset", ["revision"], unique=False, schema="lake")
    op.create_table(
        "bar",
        sa.Column("instrument", sa.Text(), nullable=False, comment="base-quote"),
        sa.Column("start", sa.DateTime(timezone=True), nullable=False, comment="first instant of the second"),
        sa.Column("open", sa.Float(), nullable=False, comment="first price"),
        sa.Column("high", sa.Float(), nullable=False, comment="highest price"),
        sa.Column("low", sa.Float(), nullable=False, comment="lowest price"),
        sa.Column("close", sa.Float(), nullable=False, comment="last price"),
        sa.Column("volume", sa.Float(), nullable=False, comment="sum of sizes, in base"),
        sa.Column("notional", sa.Float(), nullable=False, comment="sum of price times size, in quote"),
        sa.Column("count", sa.Integer(), nullable=False, comment="ticks"),
        sa.Column("price_sum", sa.Float(), nullable=False, comment="sum of prices"),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False, comment="time of the first tick"),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False, comment="time of the last tick"),
        sa.Column(
            "known_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="latest change",
        ),
        sa.PrimaryKeyConstraint("instrument", "start", name=op.f("pk_bar")),
        schema="lake",
        comment="One-second bars",
    )
    op.create_table(
        "dead_letter",
        sa.Column("id", sa.UUID(), nullable=False, comment="dead letter id (UUIDv7)"),
        sa.Column("consumer", sa.Text(), nullable=False, comment="the stage that gave up"),
        sa.Column("source", sa.Text(), nullable=True, comment="of the event"),
        sa.Column("event_id", sa.Text(), nullable=True, comment="of the event"),
        sa.Column("route_id", sa.UUID(), nullable=True, comment="the route it stopped"),
        sa.Column("payload", sa.LargeBinary(), nullable=True, comment="the message as received"),
        sa.Column("code", sa.Text(), nullable=False, comment="class of the failure"),
        sa.Column("reason", sa.Text(), nullable=False, comment="what went wrong and what to do"),
        sa.Column("attempts", sa.Integer(), nullable=False, comment="how often it was tried"),
        sa.Column("replayed_at", sa.DateTime(timezone=True), nullable=True, comment="when it was put back"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the row was written",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letter")),
        schema="lake",
        comment="Events that no retry helped, with the reason",
    )
    op.create_table(
        "delivery",
        sa.Column(
            "position", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="grows with every row"
        ),
        sa.Column("consumer", sa.Text(), nullable=False, comment="the stage that handles it, or the relay to a broker"),
        sa.Column("source", sa.Text(), nullable=False, comment="of the event"),
        sa.Column("event_id", sa.Text(), nullable=False, comment="of the event"),
        sa.Column("route_id", sa.UUID(), nullable=True, comment="the ordering key"),
        sa.Column("payload", sa.LargeBinary(), nullable=True, comment="the message, when it is not in the trail"),
        sa.Column("state", sa.SmallInteger(), server_default="0", nullable=False, comment="0 open, 1 done, 2 dead"),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False, comment="how often it was tried"),
        sa.Column(
            "claims", sa.Integer(), server_default="0", nullable=False, comment="fencing token: grows with each lease"
        ),
        sa.Column(
            "available_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="due, or leased until",
        ),
        sa.Column("owner", sa.Text(), nullable=True, comment="the worker slot that holds the lease"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the row was written",
        ),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_delivery")),
        sa.UniqueConstraint("source", "event_id", "consumer", name=op.f("uq_delivery_source_event_id_consumer")),
        schema="lake",
        comment="Inbox and outbox in one: one row per event and consumer",
        postgresql_with={"fillfactor": "70"},
    )
    op.create_index(
        "ix_delivery_open",
        "delivery",
        ["consumer", "position"],
        unique=False,
        schema="lake",
        postgresql_where=sa.text("state = 0"),
    )
    op.create_table(
        "event",
        sa.Column(
            "position",
            sa.BigInteger(),
            server_default=sa.text("nextval('lake.event_position')"),
            nullable=False,
            comment="grows with every row",
        ),
        sa.Column(
            "xid",
            TransactionId(),
            server_default=sa.text("pg_current_xact_id()"),
            nullable=False,
            comment="the writing transaction: readers stop before the oldest one still open",
        ),
        sa.Column("source", sa.Text(), nullable=False, comment="the component or program that said it"),
        sa.Column("id", sa.Text(), nullable=False, comment="unique per source"),
        sa.Column("type", sa.Text(), nullable=False, comment="{name}.{payload}"),
        sa.Column("route_id", sa.UUID(), nullable=False, comment="the subject: what it is about"),
        sa.Column("seq", sa.Integer(), nullable=False, comment="1, 2, 3… per route"),
        sa.Column("program", sa.Text(), nullable=False, comment="who may see it"),
        sa.Column("status", sa.Text(), nullable=False, comment="the route's status once it was said"),
        sa.Column("revision", sa.Integer(), nullable=False, comment="the route's revision once it was said"),
        sa.Column("data", postgresql.JSON(astext_type=sa.Text()), nullable=False, comment="the payload"),
        sa.Column("traceparent", sa.Text(), nullable=True, comment="W3C trace context"),
        sa.Column(
            "time",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when it was said",
        ),
        sa.PrimaryKeyConstraint("source", "id", name=op.f("pk_event")),
        sa.UniqueConstraint("route_id", "seq", name=op.f("uq_event_route_id_seq")),
        schema="lake",
        comment="Every event of every route, append only",
    )
    op.create_index("ix_event_feed", "event", ["xid", "position"], unique=False, schema="lake")
    op.create_table(
        "fill",
        sa.Column("route_id", sa.UUID(), nullable=False, comment="the route"),
        sa.Column("fill_id", sa.Text(), nullable=False, comment="the program's id of the fill"),
        sa.Column("market_id", sa.Text(), nullable=True, comment="where it happened"),
        sa.Column("sent", sa.Numeric(), nullable=False, comment="of the asset given"),
        sa.Column("received", sa.Numeric(), nullable=False, comment="of the asset taken"),
        sa.Column("document", postgresql.JSON(astext_type=sa.Text()), nullable=False, comment="the fill as reported"),
        sa.Column("late", sa.Boolean(), nullable=False, comment="after a terminal status"),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, comment="when it happened"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the row was written",
        ),
        sa.PrimaryKeyConstraint("route_id", "fill_id", name=op.f("pk_fill")),
        schema="lake",
        comment="What programs really got",
    )
    op.create_table(
        "idempotency",
        sa.Column("program", sa.Text(), nullable=False, comment="the API client"),
        sa.Column("key", sa.Text(), nullable=False, comment="its Idempotency-Key"),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False, comment="SHA-256 of the body as parsed JSON"),
        sa.Column("route_id", sa.UUID(), nullable=False, comment="the route that was made"),
        sa.Column("response", sa.LargeBinary(), nullable=False, comment="the bytes of the 202"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the row was written",
        ),
        sa.PrimaryKeyConstraint("program", "key", name=op.f("pk_idempotency")),
        schema="lake",
        comment="The first answer to each idempotency key, for 24 hours",
    )
    op.create_index("ix_idempotency_created_at", "idempotency", ["created_at"], unique=False, schema="lake")
    op.create_table(
        "job",
        sa.Column("id", sa.UUID(), nullable=False, comment="job id (UUIDv7)"),
        sa.Column("program", sa.Text(), nullable=False, comment="who asked"),
        sa.Column("kind", sa.Text(), nullable=False, comment="what to do"),
        sa.Column("params", postgresql.JSON(astext_type=sa.Text()), nullable=False, comment="with what"),
        sa.Column("status", sa.Text(), nullable=False, comment="queued, running, succeeded, failed, cancelled"),
        sa.Column("progress", sa.Float(), server_default="0", nullable=False, comment="0 to 1"),
        sa.Column("result", postgresql.JSON(astext_type=sa.Text()), nullable=True, comment="what came of it"),
        sa.Column("error", sa.Text(), nullable=True, comment="why it failed"),
        sa.Column(
            "cancel_requested",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="stop when you can",
        ),
        sa.Column("claims", sa.Integer(), server_default="0", nullable=False, comment="fencing token"),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True, comment="a silent worker loses it then"),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True, comment="first start"),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True, comment="end"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the row was written",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
        schema="lake",
        comment="Long work, run by a worker",
    )
    op.create_index(
        "ix_job_open",
        "job",
        ["id"],
        unique=False,
        schema="lake",
        postgresql_where=sa.text("status IN ('queued','running')"),
    )
    op.create_table(
        "log",
        sa.Column(
            "position", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="grows with every row"
        ),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, comment="when it was said"),
        sa.Column(
            "level", sa.Text(), nullable=False, comment="DEBUG, INFO, WARNING, SYSTEM_ERROR, PROCESS_ERROR, CRITICAL"
        ),
        sa.Column("event", sa.Text(), nullable=False, comment="what happened"),
        sa.Column("fields", postgresql.JSON(astext_type=sa.Text()), nullable=False, comment="to whom and how"),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_log")),
        schema="lake",
        comment="What the product said of itself; archived past retention",
    )
    op.create_index("ix_log_at", "log", ["at"], unique=False, schema="lake")
    op.create_table(
        "market",
        sa.Column("market_id", sa.Text(), nullable=False, comment="venue:instrument, or a pool's address"),
        sa.Column("venue", sa.Text(), nullable=False, comment="where it trades"),
        sa.Column("kind", sa.Text(), nullable=False, comment="order_book, constant_product, …"),
        sa.Column("revision", sa.BigInteger(), nullable=False, comment="grows with every write of any market"),
        sa.Column(
            "sequence", sa.BigInteger(), nullable=True, comment="the writer's own order; an older one is not applied"
        ),
        sa.Column(
            "document", postgresql.JSON(astext_type=sa.Text()), nullable=False, comment="the market as in the contract"
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when it was written",
        ),
        sa.PrimaryKeyConstraint("market_id", name=op.f("pk_market")),
        schema="lake",
        comment="The latest state of every market",
        postgresql_with={"fillfactor": "60"},
    )
    op.create_index("ix_market_revision", "market", ["revision"], unique=False, schema="lake")
    op.create_table(
        "market_revision",
        sa.Column("market_id", sa.Text(), nullable=False, comment="the market"),
        sa.Column("revision", sa.BigInteger(), autoincrement=False, nullable=False, comment="which state of it"),
        sa.Column(
            "document", postgresql.JSON(astext_type=sa.Text()), nullable=False, comment="the market as in the contract"
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the row was written",
        ),
        sa.PrimaryKeyConstraint("market_id", "revision", name=op.f("pk_market_revision")),
        schema="lake",
        comment="States of markets that a route used; immutable",
    )
    op.create_table(
        "price",
        sa.Column(
            "position", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="grows with every row"
        ),
        sa.Column("instrument", sa.Text(), nullable=False, comment="base-quote"),
        sa.Column("source", sa.Text(), nullable=False, comment="venue or feed"),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, comment="when it was true"),
        sa.Column("price", sa.Float(), nullable=False, comment="quote per base"),
        sa.Column("size", sa.Float(), server_default="0", nullable=False, comment="in base"),
        sa.Column("tick_id", sa.Text(), nullable=False, comment="the feed's own id, or a digest of the tick"),
        sa.Column(
            "known_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when it was known here",
        ),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_price")),
        schema="lake",
        comment="Ticks",
    )
    op.create_index("uq_price_tick", "price", ["instrument", "source", "at", "tick_id"], unique=True, schema="lake")
    op.create_table(
        "route",
        sa.Column("id", sa.UUID(), nullable=False, comment="route id (UUIDv7)"),
        sa.Column("program", sa.Text(), nullable=False, comment="the API client that owns the route"),
        sa.Column("client_order_id", sa.Text(), nullable=True, comment="the program's own name for it"),
        sa.Column("instrument", sa.Text(), nullable=False, comment="base-quote"),
        sa.Column(
            "trade",
            postgresql.JSON(astext_type=sa.Text()),
            nullable=False,
            comment="the trade as accepted, defaults filled in",
        ),
        sa.Column("status", sa.Text(), nullable=False, comment="where the route stands"),
        sa.Column(
            "revision", sa.Integer(), server_default="0", nullable=False, comment="number of the latest solution"
        ),
        sa.Column("event_count", sa.Integer(), server_default="0", nullable=False, comment="seq of the latest event"),
        sa.Column("snapshot_id", sa.UUID(), nullable=False, comment="the market state it was requested on"),
        sa.Column(
            "reason", postgresql.JSON(astext_type=sa.Text()), nullable=True, comment="why it is infeasible or failed"
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True, comment="until when a fill may start"),
        sa.Column("horizon_ends_at", sa.DateTime(timezone=True), nullable=True, comment="until when fills count"),
        sa.Column(
            "late_fills", sa.Integer(), server_default="0", nullable=False, comment="fills after a terminal status"
        ),
        sa.Column("traceparent", sa.Text(), nullable=True, comment="W3C trace context of the request"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the row was written",
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="latest change",
        ),
        sa.Column(
            "is_pending",
            sa.Boolean(),
            sa.Computed("status IN ('requested', 'data_ready', 'features_ready', 'inference_ready')", persisted=True),
            nullable=False,
            comment="not solved yet",
        ),
        sa.Column(
            "is_live",
            sa.Boolean(),
            sa.Computed("status IN ('ready', 'executing')", persisted=True),
            nullable=False,
            comment="solved and not ended",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_route")),
        schema="lake",
        comment="One row per requested route",
        postgresql_with={"fillfactor": "50"},
    )
    op.create_index(
        "ix_route_live", "route", ["expires_at"], unique=False, schema="lake", postgresql_where=sa.text("is_live")
    )
    op.create_index(
        "ix_route_pending", "route", ["id"], unique=False, schema="lake", postgresql_where=sa.text("is_pending")
    )
    op.create_index(
        "ix_route_program_created_at", "route", ["program", "created_at", "id"], unique=False, schema="lake"
    )
    op.create_index(
        "uq_route_program_client_order_id",
        "route",
        ["program", "client_order_id"],
        unique=True,
        schema="lake",
        postgresql_where=sa.text("client_order_id IS NOT NULL"),
    )
    op.create_table(
        "snapshot",
        sa.Column("id", sa.UUID(), nullable=False, comment="snapshot id (UUIDv7)"),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=False, comment="the moment it describes"),
        sa.Column(
            "markets", postgresql.JSON(astext_type=sa.Text()), nullable=False, comment="[[market_id, revision], …]"
        ),
        sa.Column(
            "decimals",
            postgresql.JSON(astext_type=sa.Text()),
            nullable=False,
            comment="decimals of the assets that state them",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the row was written",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_snapshot")),
        schema="lake",
        comment="The market revisions that routes were solved on; shared by routes of one moment",
    )
    op.create_table(
        "feature",
        sa.Column("route_id", sa.UUID(), nullable=False, comment="the route they were computed for"),
        sa.Column("instrument", sa.Text(), nullable=False, comment="base-quote"),
        sa.Column("event_at", sa.DateTime(timezone=True), nullable=True, comment="the latest bar they look at"),
        sa.Column("schema_hash", sa.Text(), nullable=False, comment="which features, in which order"),
        sa.Column(
            "market",
            postgresql.ARRAY(sa.Float()),
            nullable=False,
            comment="features of the market; NaN where history is missing",
        ),
        sa.Column("request", postgresql.ARRAY(sa.Float()), nullable=False, comment="features of the trade"),
        sa.Column("compute_ms", sa.Float(), nullable=False, comment="time it took"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the row was written",
        ),
        sa.PrimaryKeyConstraint("route_id", name=op.f("pk_feature")),
        schema="warehouse",
        comment="Feature vectors of routes, in the order of features_catalog.json",
    )
    op.create_table(
        "forecast",
        sa.Column("route_id", sa.UUID(), nullable=False, comment="the route it was made for"),
        sa.Column(
            "document",
            postgresql.JSON(astext_type=sa.Text()),
            nullable=False,
            comment="volatility, volume, drift, anomaly, regime and the models that served",
        ),
        sa.Column("compute_ms", sa.Float(), nullable=False, comment="time it took"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the row was written",
        ),
        sa.PrimaryKeyConstraint("route_id", name=op.f("pk_forecast")),
        schema="warehouse",
        comment="Forecasts that routes were solved with",
    )
    op.create_table(
        "solution",
        sa.Column("route_id", sa.UUID(), nullable=False, comment="the route"),
        sa.Column("revision", sa.Integer(), autoincrement=False, nullable=False, comment="1, 2, 3… per route"),
        sa.Column("snapshot_id", sa.UUID(), nullable=False, comment="the market state it was solved on"),
        sa.Column(
            "document",
            postgresql.JSON(astext_type=sa.Text()),
            nullable=False,
            comment="the solution as in the contract",
        ),
        sa.Column("timings", postgresql.JSON(astext_type=sa.Text()), nullable=False, comment="milliseconds per stage"),
        sa.Column(
            "is_confirmed", sa.Boolean(), server_default=sa.text("false"), nullable=False, comment="seen by the sweeper"
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the row was written",
        ),
        sa.PrimaryKeyConstraint("route_id", "revision", name=op.f("pk_solution")),
        schema="warehouse",
        comment="Every revision of every route",
    )
    op.create_index(
        "ix_solution_unconfirmed",
        "solution",
        ["route_id"],
        unique=False,
        schema="warehouse",
        postgresql_where=sa.text("NOT is_confirmed"),
    )
    op.execute(GRANT)


def downgrade() -> None:
    op.execute("DROP SCHEMA warehouse CASCADE")
    op.execute("DROP SCHEMA lake CASCADE")
