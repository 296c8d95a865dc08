"""${message}.

Revision ${up_revision}, after ${down_revision or "nothing"}.

Writers go on while a revision runs. Before you commit this one:
- it must not hold a lock that stops them: the timeouts below end it if it does; build indexes
  CONCURRENTLY, add constraints NOT VALID and validate them in a revision of their own;
- code of the release before it must still work on the schema after it: add, write, backfill, then drop;
- `downgrade` must give back the schema that was there.
"""

from alembic import op
import sqlalchemy as sa
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    ${downgrades if downgrades else "pass"}
