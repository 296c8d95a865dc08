"""PostgreSQL advisory locks: their numbers in one place, so that no two meanings share one."""

from enum import IntEnum

import sqlalchemy as sa


class Lock(IntEnum):
    """What an advisory lock guards: the first of its two numbers."""

    MIGRATE = 7301
    DRAIN = 7302
    FOLD = 7303
    SWEEP = 7304
    RESHARD = 7305


SILENCE = 15
"""Seconds that a holder may say nothing to PostgreSQL within its transaction. A frozen one is cut off
then, and its lock is free; longer than the waits for Redis that holders go through."""

_TRY = sa.select(
    sa.func.pg_try_advisory_xact_lock(sa.bindparam("lock"), sa.bindparam("key")),
    sa.func.set_config("idle_in_transaction_session_timeout", f"{SILENCE}s", sa.true()),
)


def try_lock(connection: sa.Connection, lock: Lock, key: int = 0) -> bool:
    """Take the lock until the transaction ends, or say at once that another session holds it."""
    # The first column: whether it is taken.
    return bool(connection.scalar(_TRY, {"lock": int(lock), "key": key}))
