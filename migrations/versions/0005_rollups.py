"""Rollups for the reports: totals for each customer, and for each customer and day.

Revision 0005, after 0004.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    op.create_table(
        "uncounted_statuses",
        sa.Column("status", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("status", name=op.f("pk_uncounted_statuses")),
    )
    op.execute("INSERT INTO uncounted_statuses (status) VALUES ('cancelled')")
    op.create_table(
        "customer_daily",
        sa.Column("customer_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("orders", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.Numeric(), nullable=False),
        sa.PrimaryKeyConstraint("customer_id", "day", name=op.f("pk_customer_daily")),
    )
    op.create_index("ix_customer_daily_day", "customer_daily", ["day"])
    op.create_table(
        "customer_totals",
        sa.Column("customer_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("orders", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.Numeric(), nullable=False),
        sa.PrimaryKeyConstraint("customer_id", name=op.f("pk_customer_totals")),
    )
    op.create_index(
        "ix_customer_totals_total", "customer_totals", [sa.text("total DESC"), "customer_id"]
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    op.drop_table("customer_totals")
    op.drop_table("customer_daily")
    op.drop_table("uncounted_statuses")
