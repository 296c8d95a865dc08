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


_TRY = sa.select(sa.func.pg_try_advisory_xact_lock(sa.bindparam("lock"), sa.bindparam("key")))


def try_lock(connection: sa.Connection, lock: Lock, key: int = 0) -> bool:
    """Take the lock until the transaction ends, or say at once that another session holds it."""
    return bool(connection.scalar(_TRY, {"lock": int(lock), "key": key}))
