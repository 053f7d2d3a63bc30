"""Market history in partitions by time, and what is measured from it: metrics, features, outcomes."""

import hashlib

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Partitions live in a schema of their own. The service role may not change tables: it asks these functions, which
# know the few tables that they may touch. Years before 2020 and months after it bound how many there can be.
PARTITION_OF = """
CREATE FUNCTION lake.partition_of(moment timestamptz, OUT suffix text, OUT begins timestamptz, OUT ends timestamptz)
LANGUAGE sql IMMUTABLE SET timezone = 'UTC' SET search_path = pg_catalog AS $$
  SELECT CASE WHEN moment < '1970-01-01' THEN 'past'
              WHEN moment < '2020-01-01' THEN 'y' || to_char(moment, 'YYYY')
              WHEN moment < '2100-01-01' THEN 'y' || to_char(moment, 'YYYY"m"MM') ELSE 'future' END,
         CASE WHEN moment < '1970-01-01' THEN '-infinity'
              WHEN moment < '2020-01-01' THEN date_trunc('year', moment)
              WHEN moment < '2100-01-01' THEN date_trunc('month', moment) ELSE '2100-01-01' END,
         CASE WHEN moment < '1970-01-01' THEN '1970-01-01'
              WHEN moment < '2020-01-01' THEN date_trunc('year', moment) + interval '1 year'
              WHEN moment < '2100-01-01' THEN date_trunc('month', moment) + interval '1 month' ELSE 'infinity' END
$$
"""
ENSURE_PARTITIONS = """
CREATE FUNCTION lake.ensure_partitions(parent text, moments timestamptz[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET timezone = 'UTC' SET search_path = pg_catalog AS $$
DECLARE
  place record;
BEGIN
  IF parent NOT IN ('lake.price', 'lake.bar', 'lake.book_sample',
                    'warehouse.metric', 'warehouse.feature_history', 'warehouse.outcome') THEN
    RAISE EXCEPTION '% is not partitioned', parent USING ERRCODE = 'invalid_parameter_value';
  END IF;
  FOR place IN
    SELECT DISTINCT split_part(parent, '.', 2) || '_' || p.suffix AS name, p.begins, p.ends
    FROM unnest(moments) AS moment CROSS JOIN LATERAL lake.partition_of(moment) p ORDER BY 1
  LOOP
    CONTINUE WHEN to_regclass('partition.' || place.name) IS NOT NULL;
    PERFORM pg_advisory_xact_lock(7305783);
    -- Not by name: what was not found before the wait stays unfound in this session's cache.
    CONTINUE WHEN EXISTS (
      SELECT FROM pg_class WHERE relname = place.name AND relnamespace = 'partition'::regnamespace
    );
    -- Attaching, unlike creating in place, lets reads and writes of the parent go on.
    EXECUTE format('CREATE TABLE partition.%I (LIKE %s INCLUDING ALL)', place.name, parent);
    EXECUTE format('ALTER TABLE %s ATTACH PARTITION partition.%I FOR VALUES FROM (%s) TO (%s)', parent, place.name,
                   CASE WHEN place.begins = '-infinity' THEN 'MINVALUE' ELSE quote_literal(place.begins) END,
                   CASE WHEN place.ends = 'infinity' THEN 'MAXVALUE' ELSE quote_literal(place.ends) END);
  END LOOP;
END $$
"""
DROP_PARTITIONS = """
CREATE FUNCTION lake.drop_partitions(parent text, older_than timestamptz) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET timezone = 'UTC' SET lock_timeout = '2s' SET search_path = pg_catalog AS $$
DECLARE
  place record;
  dropped int := 0;
BEGIN
  FOR place IN
    SELECT c.relname AS name, pg_get_expr(c.relpartbound, c.oid) AS bound
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = to_regclass(parent) AND c.relnamespace = 'partition'::regnamespace
  LOOP
    IF (regexp_match(place.bound, 'TO \\(''([^'']+)''\\)'))[1]::timestamptz <= older_than THEN
      EXECUTE format('DROP TABLE partition.%I', place.name);
      dropped := dropped + 1;
    END IF;
  END LOOP;
  RETURN dropped;
END $$
"""
GRANT = """
DO $$ BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'solver_service') THEN
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA lake, warehouse TO solver_service;
    GRANT EXECUTE ON FUNCTION lake.ensure_partitions, lake.drop_partitions TO solver_service;
  END IF;
END $$
"""
BAR_COLUMNS = "open, high, low, close, volume, notional, count, price_sum, first_at, last_at, known_at"


def upgrade() -> None:
    op.execute("CREATE SCHEMA partition")
    for statement in (PARTITION_OF, ENSURE_PARTITIONS, DROP_PARTITIONS):
        op.execute(statement)
    op.execute("REVOKE ALL ON FUNCTION lake.ensure_partitions, lake.drop_partitions FROM PUBLIC")
    _replace_prices()
    _replace_bars()
    _create_history()
    _create_measured()
    op.execute(GRANT)


def downgrade() -> None:
    raise NotImplementedError("partitions are not folded back into single tables; restore a backup instead")


def _replace_prices() -> None:
    op.execute("ALTER TABLE lake.price RENAME TO price_before")
    op.execute("ALTER TABLE lake.price_before DROP CONSTRAINT pk_price")
    op.create_table(
        "price",
        sa.Column("instrument", sa.Text(), nullable=False, comment="base-quote"),
        sa.Column("source", sa.Text(), nullable=False, comment="venue or feed"),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, comment="when it was true"),
        sa.Column("tick_id", sa.Text(), nullable=False, comment="the feed's own id, or what the tick says"),
        sa.Column("price", sa.Float(), nullable=False, comment="quote per base"),
        sa.Column("size", sa.Float(), server_default="0", nullable=False, comment="in base"),
        sa.Column(
            "known_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when it was known here",
        ),
        sa.PrimaryKeyConstraint("instrument", "source", "at", "tick_id", name=op.f("pk_price")),
        schema="lake",
        comment="Ticks",
        postgresql_partition_by="RANGE (at)",
    )
    op.execute("SELECT lake.ensure_partitions('lake.price', (SELECT array_agg(DISTINCT at) FROM lake.price_before))")
    _rename_ticks()
    op.execute(
        "INSERT INTO lake.price"
        " SELECT b.instrument, b.source, b.at, coalesce(r.new_id, b.tick_id), b.price, b.size, b.known_at"
        " FROM lake.price_before b LEFT JOIN lake.price_renamed r USING (tick_id)"
    )
    op.drop_table("price_renamed", schema="lake")
    op.drop_table("price_before", schema="lake")


def _rename_ticks() -> None:
    # Ticks without an id were known by a digest of what they say, and now are by the text itself: one that comes again
    # after the upgrade still counts once. An id of the feed's own that looks like a digest is none of its tick.
    renamed = op.create_table(
        "price_renamed",
        sa.Column("tick_id", sa.Text(), primary_key=True),
        sa.Column("new_id", sa.Text()),
        schema="lake",
    )
    found = op.get_bind().execute(
        sa.text("SELECT DISTINCT tick_id, price, size FROM lake.price_before WHERE tick_id ~ '^[0-9a-f]{24}$'")
    )
    rows = [
        {"tick_id": tick_id, "new_id": f"{price!r}x{size!r}"}
        for tick_id, price, size in found
        if tick_id == hashlib.blake2b(f"{price!r} {size!r}".encode(), digest_size=12).hexdigest()
    ]
    for begin in range(0, len(rows), 1_000):
        op.bulk_insert(renamed, rows[begin : begin + 1_000])


def _replace_bars() -> None:
    op.execute("ALTER TABLE lake.bar RENAME TO bar_before")
    op.execute("ALTER TABLE lake.bar_before DROP CONSTRAINT pk_bar")
    op.create_table(
        "bar",
        sa.Column("instrument", sa.Text(), nullable=False, comment="base-quote"),
        sa.Column("start", sa.DateTime(timezone=True), nullable=False, comment="first instant"),
        sa.Column("span_s", sa.Integer(), server_default="1", nullable=False, comment="seconds it covers"),
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
        sa.PrimaryKeyConstraint("instrument", "start", "span_s", name=op.f("pk_bar")),
        schema="lake",
        comment="Bars of one second, and longer ones: rolled up from old seconds, or imported as candles",
        postgresql_partition_by="RANGE (start)",
    )
    op.execute("SELECT lake.ensure_partitions('lake.bar', (SELECT array_agg(DISTINCT start) FROM lake.bar_before))")
    op.execute(f"INSERT INTO lake.bar SELECT instrument, start, 1, {BAR_COLUMNS} FROM lake.bar_before")
    op.drop_table("bar_before", schema="lake")


def _create_history() -> None:
    op.create_table(
        "candle",
        sa.Column("instrument", sa.Text(), nullable=False, comment="base-quote"),
        sa.Column("interval_s", sa.Integer(), nullable=False, comment="seconds it covers"),
        sa.Column("start", sa.DateTime(timezone=True), nullable=False, comment="first instant"),
        sa.Column("source", sa.Text(), nullable=False, comment="exchange or file"),
        sa.Column("open", sa.Float(), nullable=False, comment="first price"),
        sa.Column("high", sa.Float(), nullable=False, comment="highest price"),
        sa.Column("low", sa.Float(), nullable=False, comment="lowest price"),
        sa.Column("close", sa.Float(), nullable=False, comment="last price"),
        sa.Column("volume", sa.Float(), nullable=False, comment="in base"),
        sa.Column(
            "known_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="latest change",
        ),
        sa.PrimaryKeyConstraint("instrument", "interval_s", "start", "source", name=op.f("pk_candle")),
        schema="lake",
        comment="Candles as imported; bars of their span follow from them",
    )
    op.create_table(
        "bar_due",
        sa.Column("instrument", sa.Text(), nullable=False, comment="base-quote"),
        sa.Column(
            "from_start",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="first second that changed since it was taken; infinity if none did",
        ),
        sa.Column("to_start", sa.DateTime(timezone=True), nullable=False, comment="last second that changed"),
        sa.Column(
            "changed_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="latest change",
        ),
        sa.Column("taken_from", sa.DateTime(timezone=True), nullable=True, comment="measured up to here"),
        sa.Column(
            "token", sa.Uuid(), nullable=True, comment="of the latest taking, so that a late worker writes nothing"
        ),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True, comment="a silent worker loses it then"),
        sa.Column(
            "unsaid_from", sa.DateTime(timezone=True), nullable=True, comment="rows behind it may be unpublished"
        ),
        sa.Column("unsaid_ts", sa.DateTime(timezone=True), nullable=True, comment="known_ts of these rows"),
        sa.PrimaryKeyConstraint("instrument", name=op.f("pk_bar_due")),
        schema="lake",
        comment="Instruments whose metrics have to be computed, and from when",
    )
    op.create_table(
        "book_sample",
        sa.Column("instrument", sa.Text(), nullable=False, comment="base-quote"),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, comment="the second it stood at"),
        sa.Column(
            "values",
            postgresql.ARRAY(sa.Float()),
            nullable=False,
            comment="book features in catalog order; NaN where there is none",
        ),
        sa.Column(
            "known_ts",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when it was known here",
        ),
        sa.PrimaryKeyConstraint("instrument", "at", name=op.f("pk_book_sample")),
        schema="lake",
        comment="What the order books of an instrument held, second by second",
        postgresql_partition_by="RANGE (at)",
    )


def _create_measured() -> None:
    op.create_table(
        "metric",
        sa.Column("instrument", sa.Text(), nullable=False, comment="base-quote"),
        sa.Column("interval_s", sa.Integer(), nullable=False, comment="seconds of a bar it looks at"),
        sa.Column("event_ts", sa.DateTime(timezone=True), nullable=False, comment="end of the last bar it looks at"),
        sa.Column(
            "known_ts",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when it was known here",
        ),
        sa.Column("set_hash", sa.Text(), nullable=False, comment="which metrics, in which order"),
        sa.Column("values", postgresql.ARRAY(sa.Float()), nullable=False, comment="NaN where history is missing"),
        sa.PrimaryKeyConstraint("instrument", "interval_s", "event_ts", "known_ts", name=op.f("pk_metric")),
        schema="warehouse",
        comment="Metrics of instruments; what late prices change is appended under a later known_ts",
        postgresql_partition_by="RANGE (event_ts)",
    )
    op.create_table(
        "metric_set",
        sa.Column("set_hash", sa.Text(), nullable=False, comment="digest of names and definitions"),
        sa.Column("names", postgresql.ARRAY(sa.Text()), nullable=False, comment="metrics in the order of the values"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the row was written",
        ),
        sa.PrimaryKeyConstraint("set_hash", name=op.f("pk_metric_set")),
        schema="warehouse",
        comment="What the values of metric rows are",
    )
    op.create_table(
        "feature_history",
        sa.Column("instrument", sa.Text(), nullable=False, comment="base-quote"),
        sa.Column("interval_s", sa.Integer(), nullable=False, comment="seconds of a bar it looks at"),
        sa.Column("schema_hash", sa.Text(), nullable=False, comment="which features, in which order"),
        sa.Column("event_ts", sa.DateTime(timezone=True), nullable=False, comment="end of the last bar it looks at"),
        sa.Column(
            "known_ts",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when it was known here",
        ),
        sa.Column("values", postgresql.ARRAY(sa.Float()), nullable=False, comment="NaN where history is missing"),
        sa.PrimaryKeyConstraint(
            "instrument", "interval_s", "schema_hash", "event_ts", "known_ts", name=op.f("pk_feature_history")
        ),
        schema="warehouse",
        comment="Feature vectors of markets over time, for training",
        postgresql_partition_by="RANGE (event_ts)",
    )
    op.create_table(
        "outcome",
        sa.Column("instrument", sa.Text(), nullable=False, comment="base-quote"),
        sa.Column("interval_s", sa.Integer(), nullable=False, comment="seconds of a bar it looks at"),
        sa.Column("horizon_s", sa.Integer(), nullable=False, comment="seconds ahead of event_ts"),
        sa.Column("event_ts", sa.DateTime(timezone=True), nullable=False, comment="the moment it looks ahead from"),
        sa.Column(
            "known_ts",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when it was known here",
        ),
        sa.Column(
            "values",
            postgresql.ARRAY(sa.Float()),
            nullable=False,
            comment="log return in bp, realised volatility in bp, volume",
        ),
        sa.PrimaryKeyConstraint(
            "instrument", "interval_s", "horizon_s", "event_ts", "known_ts", name=op.f("pk_outcome")
        ),
        schema="warehouse",
        comment="What came after a moment: labels, kept apart from features",
        postgresql_partition_by="RANGE (event_ts)",
    )
    op.create_table(
        "feature_set",
        sa.Column("name", sa.Text(), nullable=False, comment="the set"),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False, comment="1, 2, 3… per name"),
        sa.Column("schema_hash", sa.Text(), nullable=False, comment="digest of its columns"),
        sa.Column(
            "document",
            postgresql.JSON(astext_type=sa.Text()),
            nullable=False,
            comment="interval, instruments and columns",
        ),
        sa.Column("program", sa.Text(), nullable=False, comment="who defined it"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the row was written",
        ),
        sa.PrimaryKeyConstraint("name", "version", name=op.f("pk_feature_set")),
        schema="warehouse",
        comment="Feature sets that programs defined; a version never changes",
    )
    op.create_table(
        "backfill_chunk",
        sa.Column("scope_hash", sa.Text(), nullable=False, comment="digest of what is computed"),
        sa.Column("instrument", sa.Text(), nullable=False, comment="base-quote"),
        sa.Column("day", sa.Date(), nullable=False, comment="UTC"),
        sa.Column("rows", sa.Integer(), nullable=False, comment="rows written"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the row was written",
        ),
        sa.PrimaryKeyConstraint("scope_hash", "instrument", "day", name=op.f("pk_backfill_chunk")),
        schema="warehouse",
        comment="Parts of backfills that are done",
    )
    for name, comment in (("missing", "features without a value"), ("stale", "inputs older than they should be")):
        column: sa.Column[list[str]] = sa.Column(
            name, postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False, comment=comment
        )
        op.add_column("feature", column, schema="warehouse")
