"""The reason for which an update is parked: an unknown order, a lock, or an error that may pass.

Revision 0017, after 0016. Updates that are parked already wait for their order or customer.
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    op.add_column(
        "parked_updates",
        sa.Column("cause", sa.Text(), nullable=False, server_default=sa.text("'unknown'")),
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    op.drop_column("parked_updates", "cause")
