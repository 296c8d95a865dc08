"""The change log: triggers record changes by any writer.

Revision 0006, after 0005.
"""

import sqlalchemy as sa
from alembic import op

FUNCTIONS = {"orders": "log_order_changes", "customers": "log_customer_changes"}

# The functions run with the rights and the search path of the migration's role, so that the changes of
# any role that may write orders are logged, with any search path.

# A trigger with transition tables takes one event. TRUNCATE has none: its trigger reads the table.
TRIGGERS = {
    "INSERT": "AFTER INSERT ON {table} REFERENCING NEW TABLE AS new_rows",
    "UPDATE": "AFTER UPDATE ON {table} REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
    "DELETE": "AFTER DELETE ON {table} REFERENCING OLD TABLE AS old_rows",
    "TRUNCATE": "BEFORE TRUNCATE ON {table}",
}

DAY = "(created_at AT TIME ZONE 'UTC')::date"


def logged(rows: str) -> str:
    """Log signed rows, summed by customer and day.

    There is a log row for each customer of a changed row, even if no sum changed: it invalidates the
    customer's cached reads.
    """
    return f"""
    INSERT INTO customer_changes (customer_id, day, orders, total)
    SELECT customer_id, day,
           coalesce(sum(sign) FILTER (WHERE uncounted.status IS NULL), 0),
           coalesce(sum(sign * total) FILTER (WHERE uncounted.status IS NULL), 0)
    FROM ({rows}) AS changed LEFT JOIN uncounted_statuses AS uncounted USING (status)
    GROUP BY customer_id, day;"""


def signed(rows: str, sign: int) -> str:
    """Return the SQL for rows of the orders table that a statement added (1) or removed (-1)."""
    return f"SELECT customer_id, {DAY} AS day, status, total, {sign} AS sign FROM {rows}"


LOG_ORDERS = f"""
CREATE FUNCTION log_order_changes() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN{logged(signed("new_rows", 1))}
  ELSIF TG_OP = 'DELETE' THEN{logged(signed("old_rows", -1))}
  ELSIF TG_OP = 'TRUNCATE' THEN{logged(signed("orders", -1))}
  ELSE{logged(signed("old_rows", -1) + " UNION ALL " + signed("new_rows", 1))}
  END IF;
  RETURN NULL;
END $$
"""

LOG_CUSTOMERS = """
CREATE FUNCTION log_customer_changes() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
  IF TG_OP IN ('INSERT', 'UPDATE') THEN
    INSERT INTO customer_changes (customer_id, orders, total) SELECT id, 0, 0 FROM new_rows;
  END IF;
  IF TG_OP IN ('UPDATE', 'DELETE') THEN
    INSERT INTO customer_changes (customer_id, orders, total) SELECT id, 0, 0 FROM old_rows;
  END IF;
  IF TG_OP = 'TRUNCATE' THEN
    INSERT INTO customer_changes (customer_id, orders, total) SELECT id, 0, 0 FROM customers;
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
        for event, when in TRIGGERS.items():
            op.execute(
                f"CREATE TRIGGER log_{event.lower()} {when.format(table=table)} "
                f"FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
            )
    # Existing rows are logged once: the first refresh counts them.
    op.execute(logged(signed("orders", 1)))


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    for table, function in FUNCTIONS.items():
        for event in TRIGGERS:
            op.execute(f"DROP TRIGGER log_{event.lower()} ON {table}")
        op.execute(f"DROP FUNCTION {function}()")
    op.drop_table("customer_changes")
    op.execute("TRUNCATE customer_daily, customer_totals")
