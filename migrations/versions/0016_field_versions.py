"""A version for each field of a row; the count of updates whose versions are on another scale.

Existing rows keep a null: each of their fields has the version of the row.

Revision 0016, after 0015.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    for table in ("customers", "orders"):
        op.add_column(table, sa.Column("field_versions", ARRAY(sa.BigInteger())))
    op.add_column(
        "update_shards",
        sa.Column("mixed", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
    )
    op.add_column("update_shards", sa.Column("mixed_order_id", sa.BigInteger()))


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    op.drop_column("update_shards", "mixed_order_id")
    op.drop_column("update_shards", "mixed")
    for table in ("orders", "customers"):
        op.drop_column(table, "field_versions")
