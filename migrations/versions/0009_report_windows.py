"""Rollups for each report window, and the ranked customers.

Revision 0009, after 0008. Refreshes wait for it, writers do not: it touches rollups only.
"""

from datetime import date

import sqlalchemy as sa
from alembic import op

DAYS = (365, 90, 30, 7, 1)
ALL = 0
RANKED = sa.text("ranked IS NOT NULL")

# Windows begin on the last day, so they are almost empty, and no customer reaches a ranking's floor.
# The first refresh moves the windows to their first days and computes the floors.
LAST_DAY = date.max
UNREACHABLE = sa.text("'Infinity'")

FILL = f"""
INSERT INTO customer_windows (days, customer_id, orders, total, ranked)
SELECT days, customer_id, sum(orders), sum(total), CASE WHEN sum(orders) > 0 THEN sum(total) END
FROM customer_daily CROSS JOIN report_windows WHERE day >= '{LAST_DAY}' AND days > 0
GROUP BY days, customer_id
"""

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    # Building an index over all days of all customers takes long.
    op.execute("SET LOCAL statement_timeout = '30min'")
    op.create_table(
        "customer_windows",
        sa.Column("days", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("customer_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("orders", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.Numeric(), nullable=False),
        sa.Column("ranked", sa.Numeric()),
        sa.PrimaryKeyConstraint("days", "customer_id", name=op.f("pk_customer_windows")),
        postgresql_with={"fillfactor": 80},
    )
    op.create_index(
        "ix_customer_windows_ranked",
        "customer_windows",
        ["days", sa.text("ranked DESC"), "customer_id"],
        postgresql_where=RANKED,
    )
    windows = op.create_table(
        "report_windows",
        sa.Column("days", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("first_day", sa.Date(), nullable=False),
        sa.Column("first_customer", sa.BigInteger(), nullable=False),
        sa.Column("floor", sa.Numeric()),
        sa.PrimaryKeyConstraint("days", name=op.f("pk_report_windows")),
    )
    first = {"first_customer": -(1 << 63)}
    op.bulk_insert(windows, [{"days": each, "first_day": LAST_DAY, **first} for each in DAYS])
    op.execute(windows.insert().values(days=ALL, first_day=date.min, floor=UNREACHABLE, **first))
    op.execute(FILL)
    op.add_column("customer_totals", sa.Column("ranked", sa.Numeric()))
    op.drop_index("ix_customer_totals_total", "customer_totals")
    op.create_index(
        "ix_customer_totals_ranked",
        "customer_totals",
        [sa.text("ranked DESC"), "customer_id"],
        postgresql_where=RANKED,
    )
    for table in ("customer_daily", "customer_totals"):
        op.execute(f"ALTER TABLE {table} SET (fillfactor = 80)")
    op.drop_index("ix_customer_daily_day", "customer_daily")
    op.create_index("ix_customer_daily_day_customer_id", "customer_daily", ["day", "customer_id"])


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '30min'")
    op.drop_index("ix_customer_daily_day_customer_id", "customer_daily")
    op.create_index("ix_customer_daily_day", "customer_daily", ["day"])
    for table in ("customer_daily", "customer_totals"):
        op.execute(f"ALTER TABLE {table} RESET (fillfactor)")
    op.drop_index("ix_customer_totals_ranked", "customer_totals")
    op.create_index(
        "ix_customer_totals_total", "customer_totals", [sa.text("total DESC"), "customer_id"]
    )
    op.drop_column("customer_totals", "ranked")
    op.drop_table("report_windows")
    op.drop_table("customer_windows")
