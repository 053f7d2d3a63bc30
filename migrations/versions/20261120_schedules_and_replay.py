"""Schedules know when their next slice is due, and solutions what they were made from."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "route",
        sa.Column(
            "next_due_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when the next slice of its schedule is due",
        ),
        schema="lake",
    )
    op.create_index(
        "ix_route_due",
        "route",
        ["next_due_at"],
        unique=False,
        schema="lake",
        postgresql_where=sa.text("is_live AND next_due_at IS NOT NULL"),
    )
    op.add_column(
        "solution",
        sa.Column(
            "inputs",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="what it was solved from besides trade and snapshot; null for solutions of earlier versions",
        ),
        schema="warehouse",
    )


def downgrade() -> None:
    op.drop_column("solution", "inputs", schema="warehouse")
    op.drop_index("ix_route_due", table_name="route", schema="lake")
    op.drop_column("route", "next_due_at", schema="lake")
