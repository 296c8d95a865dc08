"""Beat's entries, and the state of each.

Revision 0010, after 0009.
"""

import sqlalchemy as sa
from alembic import op

MOMENT = sa.DateTime(timezone=True)

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    op.create_table(
        "beat_runs",
        sa.Column("entry", sa.Text(), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("configured", sa.Interval(), nullable=False),
        sa.Column("every", sa.Interval()),
        sa.Column("paused", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("since", MOMENT, server_default=sa.text("now()"), nullable=False),
        sa.Column("slot_at", MOMENT),
        sa.Column("claimed_by", sa.Text()),
        sa.Column("started_at", MOMENT),
        sa.Column("succeeded_at", MOMENT),
        sa.Column("failed_at", MOMENT),
        sa.Column("error", sa.Text()),
        sa.Column("runs", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint("configured > interval '0'", name=op.f("ck_beat_runs_configured")),
        sa.CheckConstraint("every > interval '0'", name=op.f("ck_beat_runs_every")),
        sa.PrimaryKeyConstraint("entry", name=op.f("pk_beat_runs")),
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    op.drop_table("beat_runs")
