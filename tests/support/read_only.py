"""A database that is read-only for a while: sessions opened meanwhile stay so, as after a switchover."""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

_IS_READ_ONLY = sa.text("SHOW transaction_read_only")


@contextmanager
def new_sessions_are_read_only(engine: sa.Engine) -> Iterator[None]:
    """Make each session read-only that is opened in the block; later ones may write again."""
    name = engine.url.database
    with _owner(engine) as connection:
        setting = "default_transaction_read_only"
        connection.execute(sa.text(f"ALTER DATABASE {name} SET {setting} = on"))
        try:
            yield
        finally:
            connection.execute(sa.text(f"ALTER DATABASE {name} RESET {setting}"))


def fill_pool_with_read_only_sessions(engine: sa.Engine, sessions: int = 2) -> None:
    """Replace all sessions in the pool of the engine by read-only ones."""
    engine.dispose()
    with new_sessions_are_read_only(engine):
        opened = [engine.connect() for _number in range(sessions)]
        for connection in opened:
            connection.close()
    for connection in [engine.connect() for _number in range(sessions)]:
        assert connection.scalar(_IS_READ_ONLY) == "on", "a session of the pool may write"
        connection.close()


@contextmanager
def _owner(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A session outside of the pool and of transactions."""
    own = sa.create_engine(engine.url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with own.connect() as connection:
        yield connection
