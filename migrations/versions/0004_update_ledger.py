"""The ledger of updates: shards, parked and dead updates.

Revision 0004, after 0003.
"""

import sqlalchemy as sa
from alembic import op

MOMENT = sa.DateTime(timezone=True)
NOW = sa.text("now()")
ZERO = sa.text("0")

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    op.create_table(
        "update_shards",
        sa.Column("shard", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("last_entry", sa.BigInteger(), server_default=ZERO, nullable=False),
        sa.Column("accepted", sa.BigInteger(), server_default=ZERO, nullable=False),
        sa.Column("applied", sa.BigInteger(), server_default=ZERO, nullable=False),
        sa.Column("superseded", sa.BigInteger(), server_default=ZERO, nullable=False),
        sa.Column("stale", sa.BigInteger(), server_default=ZERO, nullable=False),
        sa.Column("duplicate", sa.BigInteger(), server_default=ZERO, nullable=False),
        sa.Column("dead", sa.BigInteger(), server_default=ZERO, nullable=False),
        sa.PrimaryKeyConstraint("shard", name=op.f("pk_update_shards")),
    )
    op.create_table(
        "parked_updates",
        sa.Column("shard", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("entry", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("order_id", sa.BigInteger(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("first_seen", MOMENT, server_default=NOW, nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("next_attempt_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("shard", "entry", name=op.f("pk_parked_updates")),
    )
    op.create_index("ix_parked_updates_order_id", "parked_updates", ["order_id"])
    op.create_table(
        "dead_updates",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("entry", sa.BigInteger(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("first_seen", MOMENT, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("died_at", MOMENT, server_default=NOW, nullable=False),
        sa.Column("replayed_at", MOMENT),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_updates")),
        sa.UniqueConstraint("shard", "entry", name=op.f("uq_dead_updates_shard_entry")),
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    op.drop_table("dead_updates")
    op.drop_table("parked_updates")
    op.drop_table("update_shards")
