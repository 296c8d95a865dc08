"""Imports: formats, policies, control, and corrected rejects.

Revision 0007, after 0006.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import INT8RANGE

BEFORE = ("running", "done", "failed")
STATUSES = ("running", "paused", "done", "failed", "cancelled")

NO = sa.false()

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    of_imports: tuple[sa.Column[Any], ...] = (
        sa.Column("format", sa.Text(), server_default="csv", nullable=False),
        sa.Column("strict", sa.Boolean(), server_default=NO, nullable=False),
        sa.Column("max_rejects", sa.BigInteger()),
        sa.Column("create_customers", sa.Boolean(), server_default=NO, nullable=False),
        sa.Column("parent", sa.Text()),
        sa.Column("steps", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
    )
    for column in of_imports:
        op.add_column("imports", column)
    op.create_index("ix_imports_parent", "imports", ["parent"])
    constrain_status(STATUSES)
    of_chunks: tuple[sa.Column[Any], ...] = (
        sa.Column("ids", INT8RANGE()),
        sa.Column("writer", sa.BigInteger()),
        sa.Column("snapshot", sa.Text()),
    )
    for column in of_chunks:
        op.add_column("import_chunks", column)
    op.add_column("import_rejects", sa.Column("mended_by", sa.Text()))


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    op.drop_column("import_rejects", "mended_by")
    for name in ("snapshot", "writer", "ids"):
        op.drop_column("import_chunks", name)
    # Older code cannot continue imports in these states: they end.
    op.execute(
        "UPDATE imports SET status = 'failed', finished_at = coalesce(finished_at, now()) "
        "WHERE status IN ('paused', 'cancelled')"
    )
    constrain_status(BEFORE)
    op.drop_index("ix_imports_parent", "imports")
    for name in ("steps", "parent", "create_customers", "max_rejects", "strict", "format"):
        op.drop_column("imports", name)


def constrain_status(statuses: tuple[str, ...]) -> None:
    """Constrain the status of an import to these values."""
    op.drop_constraint(op.f("ck_imports_status"), "imports")
    allowed = ", ".join(f"'{status}'" for status in statuses)
    op.create_check_constraint(op.f("ck_imports_status"), "imports", f"status IN ({allowed})")
