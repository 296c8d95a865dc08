"""Rollups a report window, and who has to be told of what the change log holds.

Revision 0009, after 0008.
"""

from datetime import date

import sqlalchemy as sa
from alembic import op

DAYS = (365, 90, 30, 7, 1)
ALL = 0
RANKED = sa.text("ranked IS NOT NULL")

# Whoever makes cached reads disappear himself says so in his session. For all others the log does.
INVALIDATES = "current_setting('orderworks.invalidates', true) IS NOT DISTINCT FROM 'on'"
STALE_SINCE = f"CASE WHEN {INVALIDATES} THEN NULL ELSE clock_timestamp() END"

# One notification a transaction, however many statements: PostgreSQL drops repeated ones.
NOTIFY = """
CREATE FUNCTION notify_customer_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NOTIFY customer_changes;
  RETURN NULL;
END $$
"""

TELL = f"""
CREATE TRIGGER tell_insert AFTER INSERT ON customer_changes
FOR EACH STATEMENT WHEN (NOT ({INVALIDATES})) EXECUTE FUNCTION notify_customer_changes()
"""

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    # In two steps: a default that comes with its column would be computed for all rows.
    op.add_column("customer_changes", sa.Column("stale_since", sa.DateTime(timezone=True)))
    op.alter_column("customer_changes", "stale_since", server_default=sa.text(STALE_SINCE))
    op.execute(NOTIFY)
    op.execute(TELL)
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
    # They begin after all days, and so are empty. The first refresh moves them to where they belong.
    op.bulk_insert(
        windows,
        [{"days": each, "first_day": date.max, "first_customer": 0} for each in DAYS]
        + [{"days": ALL, "first_day": date.min, "first_customer": 0}],
    )
    op.add_column("customer_totals", sa.Column("ranked", sa.Numeric()))
    op.execute("UPDATE customer_totals SET ranked = total WHERE orders > 0")
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
    op.execute("SET LOCAL statement_timeout = '60s'")
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
    op.execute("DROP TRIGGER tell_insert ON customer_changes")
    op.execute("DROP FUNCTION notify_customer_changes()")
    op.drop_column("customer_changes", "stale_since")
