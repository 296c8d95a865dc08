"""The change log: triggers note what changed, whoever wrote it.

Revision 0006, after 0005.
"""

import sqlalchemy as sa
from alembic import op

FUNCTIONS = {"orders": "log_order_changes", "customers": "log_customer_changes"}

# A trigger with transition tables takes one event.
ROWS_OF = {
    "INSERT": "NEW TABLE AS new_rows",
    "UPDATE": "OLD TABLE AS old_rows NEW TABLE AS new_rows",
    "DELETE": "OLD TABLE AS old_rows",
}

# One log row for each customer and day that the statement touched, also where nothing that counts
# changed: the row makes the customer's cached reads disappear.
LOG_ORDERS = """
CREATE FUNCTION log_order_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    INSERT INTO customer_changes (customer_id, day, orders, total)
    SELECT customer_id, (created_at AT TIME ZONE 'UTC')::date,
           count(*) FILTER (WHERE u.status IS NULL),
           coalesce(sum(total) FILTER (WHERE u.status IS NULL), 0)
    FROM new_rows LEFT JOIN uncounted_statuses u USING (status)
    GROUP BY 1, 2;
  ELSIF TG_OP = 'DELETE' THEN
    INSERT INTO customer_changes (customer_id, day, orders, total)
    SELECT customer_id, (created_at AT TIME ZONE 'UTC')::date,
           -count(*) FILTER (WHERE u.status IS NULL),
           -coalesce(sum(total) FILTER (WHERE u.status IS NULL), 0)
    FROM old_rows LEFT JOIN uncounted_statuses u USING (status)
    GROUP BY 1, 2;
  ELSE
    INSERT INTO customer_changes (customer_id, day, orders, total)
    SELECT customer_id, day,
           coalesce(sum(sign) FILTER (WHERE u.status IS NULL), 0),
           coalesce(sum(sign * total) FILTER (WHERE u.status IS NULL), 0)
    FROM (
      SELECT customer_id, (created_at AT TIME ZONE 'UTC')::date AS day, status, total, -1 AS sign
      FROM old_rows
      UNION ALL
      SELECT customer_id, (created_at AT TIME ZONE 'UTC')::date, status, total, 1
      FROM new_rows
    ) AS both_rows LEFT JOIN uncounted_statuses u USING (status)
    GROUP BY 1, 2;
  END IF;
  RETURN NULL;
END $$
"""

LOG_CUSTOMERS = """
CREATE FUNCTION log_customer_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP <> 'DELETE' THEN
    INSERT INTO customer_changes (customer_id, orders, total) SELECT id, 0, 0 FROM new_rows;
  END IF;
  IF TG_OP <> 'INSERT' THEN
    INSERT INTO customer_changes (customer_id, orders, total) SELECT id, 0, 0 FROM old_rows;
  END IF;
  RETURN NULL;
END $$
"""

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    op.create_table(
        "customer_changes",
        sa.Column(
            "xact",
            sa.BigInteger(),
            server_default=sa.text("(pg_current_xact_id()::text)::bigint"),
            nullable=False,
        ),
        sa.Column("customer_id", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.Date()),
        sa.Column("orders", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.Numeric(), nullable=False),
    )
    op.create_index("ix_customer_changes_xact", "customer_changes", ["xact"])
    op.execute(LOG_ORDERS)
    op.execute(LOG_CUSTOMERS)
    for table, function in FUNCTIONS.items():
        for event, rows in ROWS_OF.items():
            op.execute(
                f"CREATE TRIGGER log_{event.lower()} AFTER {event} ON {table} "
                f"REFERENCING {rows} FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
            )
    # What stands in the tables already is logged once: the first refresh counts it.
    op.execute(
        "INSERT INTO customer_changes (customer_id, day, orders, total) "
        "SELECT customer_id, (created_at AT TIME ZONE 'UTC')::date, count(*), sum(total) "
        "FROM orders WHERE status NOT IN (SELECT status FROM uncounted_statuses) GROUP BY 1, 2"
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    for table, function in FUNCTIONS.items():
        for event in ROWS_OF:
            op.execute(f"DROP TRIGGER log_{event.lower()} ON {table}")
        op.execute(f"DROP FUNCTION {function}()")
    op.drop_table("customer_changes")
    op.execute("TRUNCATE customer_daily, customer_totals")
