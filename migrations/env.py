"""Alembic's environment: one transaction per revision, one migration at a time, bounded lock waits."""

import sqlalchemy as sa
from alembic import context

from orderworks.core.database import make_engine
from orderworks.core.locks import Lock
from orderworks.core.schema import metadata
from orderworks.core.settings import Settings


def migrate(connection: sa.Connection) -> None:
    """Run the revisions. A concurrent migration waits for the first and then has nothing to do."""
    for name in ("lock_timeout", "statement_timeout"):
        connection.execute(sa.text(f"SET {name} = 0"))
    connection.execute(sa.select(sa.func.pg_advisory_lock(int(Lock.MIGRATE), 0)))
    for name in ("lock_timeout", "statement_timeout"):
        connection.execute(sa.text(f"RESET {name}"))
    connection.commit()
    context.configure(
        connection=connection, target_metadata=metadata, transaction_per_migration=True
    )
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    raise SystemExit("Offline mode is not supported: a revision may read the database it changes.")

engine = make_engine(Settings.load(), "orderworks-migrate")
try:
    with engine.connect() as connection:
        migrate(connection)
finally:
    engine.dispose()
