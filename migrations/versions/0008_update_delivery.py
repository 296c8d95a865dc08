"""Updates: tracked verdicts, and an outbox for updates in an application's own transaction.

Revision 0008, after 0007.
"""

import sqlalchemy as sa
from alembic import op

MOMENT = sa.DateTime(timezone=True)
NOW = sa.text("now()")

# One notification per transaction: PostgreSQL drops repeated ones.
NOTIFY = """
CREATE FUNCTION notify_update_outbox() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NOTIFY update_outbox;
  RETURN NULL;
END $$
"""

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    op.add_column(
        "parked_updates",
        sa.Column("tracked", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
    op.create_table(
        "tracked_verdicts",
        sa.Column("shard", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("entry", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("given_at", MOMENT, server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("shard", "entry", name=op.f("pk_tracked_verdicts")),
    )
    op.create_index("ix_tracked_verdicts_given_at", "tracked_verdicts", ["given_at"])
    op.create_table(
        "update_outbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("order_id", sa.BigInteger(), nullable=False),
        sa.Column("customer_id", sa.BigInteger()),
        sa.Column("status", sa.Text()),
        sa.Column("total", sa.Numeric(14, 2)),
        sa.Column("version", sa.BigInteger()),
        sa.Column(
            "enqueued_at", MOMENT, server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("order_id >= 1", name=op.f("ck_update_outbox_order_id")),
        sa.CheckConstraint("customer_id >= 1", name=op.f("ck_update_outbox_customer_id")),
        sa.CheckConstraint("length(status) BETWEEN 1 AND 64", name=op.f("ck_update_outbox_status")),
        sa.CheckConstraint(
            "total >= 0 AND total < 1000000000000", name=op.f("ck_update_outbox_total")
        ),
        sa.CheckConstraint("version >= 0", name=op.f("ck_update_outbox_version")),
        sa.CheckConstraint(
            "num_nonnulls(customer_id, status, total) > 0",
            name=op.f("ck_update_outbox_says_something"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_update_outbox")),
    )
    op.execute(NOTIFY)
    op.execute(
        "CREATE TRIGGER notify_inserted AFTER INSERT ON update_outbox "
        "FOR EACH STATEMENT EXECUTE FUNCTION notify_update_outbox()"
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    op.drop_table("update_outbox")
    op.execute("DROP FUNCTION notify_update_outbox()")
    op.drop_table("tracked_verdicts")
    op.drop_column("parked_updates", "tracked")
