"""The time since which cached reads may be stale, for changes that no worker made.

Revision 0012, after 0011.
"""

import sqlalchemy as sa
from alembic import op

# Sessions that invalidate cached reads themselves set this option. For all others the log does it.
STALE_SINCE = (
    "CASE WHEN current_setting('orderworks.invalidates', true) IS NOT DISTINCT FROM 'on' "
    "THEN NULL ELSE clock_timestamp() END"
)

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    # In two steps: a default added with its column would be computed for all rows.
    op.add_column("customer_changes", sa.Column("stale_since", sa.DateTime(timezone=True)))
    op.alter_column("customer_changes", "stale_since", server_default=sa.text(STALE_SINCE))
    # The log is short, and none of its rows is in the index yet.
    op.create_index(
        "ix_customer_changes_stale_since",
        "customer_changes",
        ["stale_since"],
        postgresql_where=sa.text("stale_since IS NOT NULL"),
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    op.drop_index("ix_customer_changes_stale_since", "customer_changes")
    op.drop_column("customer_changes", "stale_since")
