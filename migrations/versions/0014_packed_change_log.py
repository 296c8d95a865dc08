"""The change log in arrays: one row per statement, instead of one per customer and day.

Revision 0014, after 0013. Writers of orders wait for it.
"""

from datetime import datetime
from types import ModuleType

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import postgresql

PART = 10_000
"""The approximate number of changed rows for which the log has one row."""

XACT = "(pg_current_xact_id()::text)::bigint"
UNCOUNTED = "status = ANY (ARRAY(SELECT status FROM uncounted_statuses))"
# Of UTC. Resolving the name 'UTC' takes a third of the trigger's time.
DAY = "(created_at AT TIME ZONE INTERVAL '0')::date"
ARRAYS = ("customer_ids", "days", "orders", "totals")


def signed(rows: str, sign: int) -> str:
    """Return the SQL for entries of rows that a statement added (1) or removed (-1).

    There is an entry for each row, even if no sum changed: it invalidates the customer's cached reads.
    """
    return f"""
      SELECT id, customer_id, {DAY} AS day,
             CASE WHEN {UNCOUNTED} THEN 0 ELSE {sign} END AS orders,
             CASE WHEN {UNCOUNTED} THEN 0 ELSE {sign} * total END AS total
      FROM {rows}"""


def logged(entries: str, rows: str) -> str:
    """Log entries, in parts, so that no array grows without bounds.

    Nothing is summed here. Sums cost each writer more than they spare: that is left to the fold.
    """
    return f"""
    INSERT INTO change_log (entries, {", ".join(ARRAYS)})
    SELECT count(*), array_agg(customer_id), array_agg(day), array_agg(orders), array_agg(total)
    FROM ({entries}) AS changed GROUP BY {part(rows)};"""


def part(rows: str) -> str:
    """Return the SQL for the part that a row belongs to: by a hash, because ids may come in steps."""
    return f"abs(hashint8(id) % (SELECT count(*) / {PART} + 1 FROM {rows}))"


def own(rows: str) -> str:
    """Log customers whose own row changed."""
    return f"""
    INSERT INTO change_log (entries, customer_ids)
    SELECT count(*), array_agg(id) FROM {rows} GROUP BY {part(rows)};"""


# The functions run with the rights and the search path of the migration's role, so that the changes of
# any role that may write orders are logged, with any search path. Hashing would keep the arrays of all
# parts in memory at once; sorting keeps one, and the rows of most statements fit into `work_mem`.
SETTINGS = (
    "SECURITY DEFINER SET search_path FROM CURRENT SET enable_hashagg = off SET work_mem = '32MB'"
)

LOG_ORDERS = f"""
CREATE OR REPLACE FUNCTION log_order_changes() RETURNS trigger LANGUAGE plpgsql {SETTINGS} AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN{logged(signed("new_rows", 1), "new_rows")}
  ELSIF TG_OP = 'DELETE' THEN{logged(signed("old_rows", -1), "old_rows")}
  ELSIF TG_OP = 'TRUNCATE' THEN{logged(signed("orders", -1), "orders")}
  ELSE{logged(signed("old_rows", -1) + " UNION ALL" + signed("new_rows", 1), "new_rows")}
  END IF;
  RETURN NULL;
END $$
"""

LOG_CUSTOMERS = f"""
CREATE OR REPLACE FUNCTION log_customer_changes() RETURNS trigger LANGUAGE plpgsql {SETTINGS} AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN{own("new_rows")}
  ELSIF TG_OP = 'DELETE' THEN{own("old_rows")}
  ELSIF TG_OP = 'TRUNCATE' THEN{own("customers")}
  ELSE{own("(SELECT id FROM old_rows UNION SELECT id FROM new_rows) AS changed")}
  END IF;
  RETURN NULL;
END $$
"""

PACK = f"""
INSERT INTO change_log (xact, stale_since, entries, {", ".join(ARRAYS)})
SELECT xact, stale_since, count(*), array_agg(customer_id), array_agg(day), array_agg(orders),
       array_agg(total)
FROM (SELECT *, (row_number() OVER (ORDER BY xact) - 1) / {PART} AS part FROM customer_changes) AS rows
GROUP BY xact, stale_since, part
"""

ENTRIES = f"""
CREATE VIEW customer_changes AS
SELECT xact, customer_id, day, coalesce(entry.orders, 0)::bigint AS orders,
       coalesce(total, 0) AS total, stale_since
FROM change_log AS log,
     unnest({", ".join(f"log.{each}" for each in ARRAYS)}) AS entry (customer_id, day, orders, total)
"""

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '5min'")
    block_writers("customer_changes")
    # pg_temp last, so that no temporary table hides one of ours. By default it is searched first.
    op.execute(
        "SELECT set_config('search_path', current_setting('search_path') || ', pg_temp', true)"
    )
    op.create_table(
        "change_log",
        xact(),
        stale_since(),
        sa.Column("entries", sa.Integer(), nullable=False),
        sa.Column("customer_ids", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("days", postgresql.ARRAY(sa.Date())),
        sa.Column("orders", postgresql.ARRAY(sa.Integer())),
        sa.Column("totals", postgresql.ARRAY(sa.Numeric())),
    )
    # Compression costs writers more than it saves: a row stays until the next refresh.
    for name in ARRAYS:
        op.execute(f"ALTER TABLE change_log ALTER {name} SET STORAGE EXTERNAL")
    op.execute(PACK)
    op.drop_table("customer_changes")
    add_indexes("change_log")
    op.execute(ENTRIES)
    op.execute(LOG_ORDERS)
    op.execute(LOG_CUSTOMERS)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '5min'")
    block_writers("change_log")
    op.execute("ALTER VIEW customer_changes RENAME TO entries")
    op.create_table(
        "customer_changes",
        xact(),
        sa.Column("customer_id", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.Date()),
        sa.Column("orders", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.Numeric(), nullable=False),
        stale_since(),
    )
    columns = "xact, stale_since, customer_id, day, orders, total"
    op.execute(f"INSERT INTO customer_changes ({columns}) SELECT {columns} FROM entries")
    add_indexes("customer_changes")
    op.execute("DROP VIEW entries")
    op.drop_table("change_log")
    for create in (earlier("0006").LOG_ORDERS, earlier("0006").LOG_CUSTOMERS):
        op.execute(create.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"))


def block_writers(log: str) -> None:
    """Wait for writers, and for a fold: entries that it removes would be packed once more.

    Customers are locked first, in the order of writers that write a customer and then his orders.
    """
    op.execute("LOCK TABLE customers, orders IN SHARE ROW EXCLUSIVE MODE")
    op.execute(f"LOCK TABLE {log} IN ACCESS EXCLUSIVE MODE")


def earlier(revision: str) -> ModuleType:
    """Return the module of an earlier revision, whose functions this one replaces."""
    return context.script.get_revision(revision).module


def xact() -> sa.Column[int]:
    return sa.Column("xact", sa.BigInteger(), server_default=sa.text(XACT), nullable=False)


def stale_since() -> sa.Column[datetime]:
    default = sa.text(earlier("0012").STALE_SINCE)
    return sa.Column("stale_since", sa.DateTime(timezone=True), server_default=default)


def add_indexes(table: str) -> None:
    op.create_index(f"ix_{table}_xact", table, ["xact"])
    op.create_index(
        f"ix_{table}_stale_since",
        table,
        ["stale_since"],
        postgresql_where=sa.text("stale_since IS NOT NULL"),
    )
