"""PostgreSQL advisory locks: their numbers in one place, so that each has one meaning."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum

import sqlalchemy as sa

from orderworks.core.database import savepoint


class Lock(IntEnum):
    """The first of an advisory lock's two numbers: it names what the lock guards."""

    MIGRATE = 7301
    DRAIN = 7302
    FOLD = 7303
    SWEEP = 7304
    RESHARD = 7305
    REFRESH = 7306
    BEAT = 7307


MAX_IDLE_IN_TRANSACTION = 15
"""Seconds for which the transaction of a holder may be idle. PostgreSQL then ends its session, so that
even a frozen process releases the lock. Longer than holders wait for Redis."""

TIMED_OUT = "55P03"
"""The SQLSTATE of a lock timeout."""

_BOUND_IDLE = sa.func.set_config(
    "idle_in_transaction_session_timeout", f"{MAX_IDLE_IN_TRANSACTION}s", sa.true()
)
_TRY = sa.select(
    sa.func.pg_try_advisory_xact_lock(sa.bindparam("lock"), sa.bindparam("key")), _BOUND_IDLE
)
_WAIT = sa.select(
    sa.func.pg_advisory_xact_lock(sa.bindparam("lock"), sa.bindparam("key")), _BOUND_IDLE
)


def try_lock(connection: sa.Connection, lock: Lock, key: int = 0) -> bool:
    """Acquire the lock until the transaction ends; return false if another session holds it."""
    # The first column: whether it was acquired.
    return bool(connection.scalar(_TRY, {"lock": int(lock), "key": key}))


def wait_for_lock(connection: sa.Connection, lock: Lock, seconds: float, key: int = 0) -> bool:
    """Acquire the lock until the transaction ends; return false if that takes longer than `seconds`.

    PostgreSQL grants the lock in the order in which sessions began to wait. So two sessions that acquire
    it repeatedly, each for a short time, alternate.
    """
    connection.execute(_BOUND_WAIT, {"bound": f"{max(1, seconds * 1000):.0f}ms"})
    try:
        with savepoint(connection):
            connection.execute(_WAIT, {"lock": int(lock), "key": key})
    except sa.exc.DBAPIError as error:
        if getattr(error.orig, "pgcode", None) == TIMED_OUT:
            return False
        raise
    connection.execute(sa.text("SET LOCAL lock_timeout TO DEFAULT"))
    return True


_BOUND_WAIT = sa.select(sa.func.set_config("lock_timeout", sa.bindparam("bound"), sa.true()))


@contextmanager
def session_lock(engine: sa.Engine, name: str) -> Iterator[sa.Connection | None]:
    """Yield a connection whose session holds the lock of this name; None if another session holds it.

    Unlike the numbered locks it is kept across transactions. Its key is one number, and theirs are two,
    so they never conflict.
    """
    key = sa.func.hashtextextended(name, 0)
    with engine.connect() as connection:
        acquired = connection.scalar(sa.select(sa.func.pg_try_advisory_lock(key)))
        connection.commit()
        try:
            yield connection if acquired else None
        finally:
            if acquired and not connection.invalidated:
                _release(connection, key)


def _release(connection: sa.Connection, key: sa.ColumnElement[int]) -> None:
    """Release the lock, or invalidate the connection, so that the pool cannot reuse it with the lock."""
    released = False
    try:
        with suppress(sa.exc.SQLAlchemyError):
            released = bool(connection.scalar(sa.select(sa.func.pg_advisory_unlock(key))))
            connection.commit()
    finally:
        if not released:
            connection.invalidate()
