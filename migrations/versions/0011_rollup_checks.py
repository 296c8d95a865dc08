"""Comparisons of the rollups with the orders table, and their results.

Revision 0011, after 0010.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

MOMENT = sa.DateTime(timezone=True)
NOW = sa.text("now()")
COUNTS = ("orders", "customers", "customer_daily", "customer_totals", "customer_windows")

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    counts = [
        sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False)
        for name in COUNTS
    ]
    op.create_table(
        "rollup_checks",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("statuses", ARRAY(sa.Text())),
        sa.Column("started_at", MOMENT, server_default=NOW, nullable=False),
        sa.Column("moved_at", MOMENT, server_default=NOW, nullable=False),
        sa.Column("finished_at", MOMENT),
        sa.Column("next_customer", sa.BigInteger()),
        *counts,
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rollup_checks")),
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    op.drop_table("rollup_checks")
