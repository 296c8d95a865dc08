"""PostgreSQL advisory locks: their numbers in one place, so that no two meanings share one."""

from enum import IntEnum

import sqlalchemy as sa

from orderworks.core.database import savepoint


class Lock(IntEnum):
    """What an advisory lock guards: the first of its two numbers."""

    MIGRATE = 7301
    DRAIN = 7302
    FOLD = 7303
    SWEEP = 7304
    RESHARD = 7305
    REFRESH = 7306


MAX_IDLE_IN_TRANSACTION = 15
"""Seconds that a holder may say nothing to PostgreSQL within its transaction. A frozen one is cut off
then, and its lock is free; longer than the waits for Redis that holders go through."""

TIMED_OUT = "55P03"
"""The SQLSTATE of who waited for a lock in vain."""

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
    """Take the lock until the transaction ends, or say at once that another session holds it."""
    # The first column: whether it is taken.
    return bool(connection.scalar(_TRY, {"lock": int(lock), "key": key}))


def wait_for_lock(connection: sa.Connection, lock: Lock, seconds: float, key: int = 0) -> bool:
    """Take the lock until the transaction ends, or say after these seconds that others held it.

    Those who wait have their turn in the order in which they came. So two that take a lock again and
    again, each for a moment, take it by turns.
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
