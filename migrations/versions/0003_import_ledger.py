"""The ledger of imports: chunks and rejects.

Revision 0003, after 0002.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

MOMENT = sa.DateTime(timezone=True)
NOW = sa.text("now()")
ZERO = sa.text("0")

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    op.create_table(
        "imports",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("mapping", JSONB(), nullable=False),
        sa.Column("delimiter", sa.Text(), nullable=False),
        sa.Column("header", JSONB(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), server_default="running", nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("accepted_at", MOMENT, nullable=False),
        sa.Column("planned_at", MOMENT, server_default=NOW, nullable=False),
        sa.Column("nudged_at", MOMENT, server_default=NOW, nullable=False),
        sa.Column("finished_at", MOMENT),
        sa.Column("error", sa.Text()),
        sa.CheckConstraint("kind IN ('customers', 'orders')", name=op.f("ck_imports_kind")),
        sa.CheckConstraint(
            "status IN ('running', 'done', 'failed')", name=op.f("ck_imports_status")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_imports")),
    )
    op.create_table(
        "import_chunks",
        sa.Column("import_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("start_byte", sa.BigInteger(), nullable=False),
        sa.Column("end_byte", sa.BigInteger(), nullable=False),
        sa.Column("first_line", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=ZERO, nullable=False),
        sa.Column("applied", sa.Integer(), server_default=ZERO, nullable=False),
        sa.Column("unchanged", sa.Integer(), server_default=ZERO, nullable=False),
        sa.Column("stale", sa.Integer(), server_default=ZERO, nullable=False),
        sa.Column("superseded", sa.Integer(), server_default=ZERO, nullable=False),
        sa.Column("rejected", sa.Integer(), server_default=ZERO, nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("finished_at", MOMENT),
        sa.CheckConstraint(
            "status IN ('pending', 'done', 'quarantined')", name=op.f("ck_import_chunks_status")
        ),
        sa.ForeignKeyConstraint(
            ["import_id"], ["imports.id"], name=op.f("fk_import_chunks_import_id")
        ),
        sa.PrimaryKeyConstraint("import_id", "number", name=op.f("pk_import_chunks")),
    )
    op.create_table(
        "import_rejects",
        sa.Column("import_id", sa.Text(), nullable=False),
        sa.Column("line", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("column", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("raw", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["import_id"], ["imports.id"], name=op.f("fk_import_rejects_import_id")
        ),
        sa.PrimaryKeyConstraint("import_id", "line", name=op.f("pk_import_rejects")),
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    op.drop_table("import_rejects")
    op.drop_table("import_chunks")
    op.drop_table("imports")
