"""Alembic's environment: one transaction per revision, one migration at a time, bounded lock waits."""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from alembic import context

from orderworks.core.database import make_engine
from orderworks.core.locks import Lock
from orderworks.core.schema import metadata
from orderworks.core.server_version import require_supported_version
from orderworks.core.settings import Settings


def migrate(connection: sa.Connection) -> None:
    """Run the revisions."""
    require_supported_version(connection)
    connection.commit()
    context.configure(
        connection=connection, target_metadata=metadata, transaction_per_migration=True
    )
    with context.begin_transaction():
        context.run_migrations()


@contextmanager
def migrations_lock(engine: sa.Engine) -> Iterator[None]:
    """Run one migration at a time: a concurrent one waits for the first, and then has nothing to do.

    The lock is held by a transaction, because through a pooler a session belongs to all its clients.
    """
    with engine.begin() as holder:
        for name in TIMEOUTS:
            holder.execute(sa.text(f"SET LOCAL {name} = 0"))
        holder.execute(sa.select(sa.func.pg_advisory_xact_lock(int(Lock.MIGRATE), 0)))
        yield


TIMEOUTS = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")

if context.is_offline_mode():
    raise SystemExit("Offline mode is not supported: a revision may read the database it changes.")

engine = make_engine(Settings.load(), "orderworks-migrate")
try:
    with migrations_lock(engine), engine.connect() as connection:
        migrate(connection)
finally:
    engine.dispose()
