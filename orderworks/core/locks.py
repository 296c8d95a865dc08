"""PostgreSQL advisory locks: their numbers in one place, so that each has one meaning."""

from enum import IntEnum
from typing import NamedTuple

import sqlalchemy as sa

from orderworks.core.database import LOCK_TIMEOUT, savepoint


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


def _bound_idle() -> sa.Function[str]:
    """Bounds the time for which this transaction may be idle."""
    bound = f"{MAX_IDLE_IN_TRANSACTION}s"
    return sa.func.set_config("idle_in_transaction_session_timeout", bound, sa.true())


_TRY = sa.select(
    sa.func.pg_try_advisory_xact_lock(sa.bindparam("lock"), sa.bindparam("key")), _bound_idle()
)
_WAIT = sa.select(
    sa.func.pg_advisory_xact_lock(sa.bindparam("lock"), sa.bindparam("key")), _bound_idle()
)


_TRY_BOUNDED = _TRY.add_columns(
    sa.func.set_config("lock_timeout", sa.bindparam("lock_wait"), sa.true()),
    sa.func.set_config("statement_timeout", sa.bindparam("run_time"), sa.true()),
)


def try_lock(connection: sa.Connection, lock: Lock, key: int = 0) -> bool:
    """Acquire the lock until the transaction ends; return false if another session holds it."""
    # The first column: whether it was acquired.
    return bool(connection.scalar(_TRY, {"lock": int(lock), "key": key}))


class Bounds(NamedTuple):
    """The bounds of the statements of a transaction, in milliseconds; 0 for none.

    Attributes:
        lock_wait: for which one may wait for a lock.
        run_time: for which one may run.
    """

    lock_wait: int
    run_time: int


def try_lock_bounded(connection: sa.Connection, lock: Lock, key: int, bounds: Bounds) -> bool:
    """Do what `try_lock` does, and bound the transaction's other statements, by one statement."""
    values = {"lock": int(lock), "key": key}
    times = {name: str(value) for name, value in bounds._asdict().items()}
    return bool(connection.scalar(_TRY_BOUNDED, values | times))


def wait_for_lock(connection: sa.Connection, lock: Lock, seconds: float, key: int = 0) -> bool:
    """Acquire the lock until the transaction ends; return false if that takes longer than `seconds`.

    PostgreSQL grants the lock in the order in which sessions began to wait. So two sessions that acquire
    it repeatedly, each for a short time, alternate.
    """
    before = connection.scalar(_BOUND_WAIT, {"bound": f"{max(1, seconds * 1000):.0f}ms"})
    try:
        with savepoint(connection):
            connection.execute(_WAIT, {"lock": int(lock), "key": key})
    except sa.exc.DBAPIError as error:
        if getattr(error.orig, "pgcode", None) == LOCK_TIMEOUT:
            return False
        raise
    connection.execute(_BOUND_WAIT, {"bound": before})
    return True


# The former value first. The default is no substitute: through a pooler it is the server's.
_BOUND_WAIT = sa.select(
    sa.func.current_setting("lock_timeout"),
    sa.func.set_config("lock_timeout", sa.bindparam("bound"), sa.true()),
)


def try_named_lock(connection: sa.Connection, name: str) -> bool:
    """Acquire the lock of this name until the transaction ends; false if another session holds it.

    Its key is one number, and those of the numbered locks are two, so they never conflict.
    """
    key = sa.func.hashtextextended(name, 0)
    return bool(connection.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(key), _bound_idle())))


def touch(connection: sa.Connection) -> None:
    """Execute a statement that does nothing, so that the transaction is not idle for too long."""
    connection.exec_driver_sql("SELECT 1")
