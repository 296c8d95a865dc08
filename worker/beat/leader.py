"""Leadership among the beats of a database: an advisory lock in a transaction that stays open.

PostgreSQL releases it when the leader's session ends: at once if its process is killed, and after
`MAX_IDLE` seconds without a statement if it is frozen or cut off. No clock of a host counts, and
nothing is stored. The idle transaction has no snapshot, so it does not hold back VACUUM.
"""

import time
from contextlib import ExitStack

import sqlalchemy as sa
import structlog

from orderworks.core.locks import Lock, try_lock

MAX_IDLE = 10
"""Seconds without a statement after which PostgreSQL ends the leader's session. The leader sends one
every 2 s, and stops leading after this time if it could not."""

_BOUND_IDLE = sa.text(f"SET LOCAL idle_in_transaction_session_timeout = '{MAX_IDLE}s'")

log = structlog.get_logger()


class LeaderLock:
    """The leadership of one process. One thread acquires, renews and releases; any may ask `is_held`."""

    def __init__(self, engine: sa.Engine) -> None:
        """`engine` gives a connection for as long as this process leads."""
        self._engine = engine
        self._connection: sa.Connection | None = None
        self._held_until = 0.0

    def is_held(self) -> bool:
        """Return whether this process leads. PostgreSQL cannot have released the lock before."""
        return time.monotonic() < self._held_until

    def acquire_or_renew(self) -> bool:
        """Lead, if no other process does; return whether this process leads.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: PostgreSQL is unavailable; this process does not lead.
        """
        started = time.monotonic()  # The server's idle time begins later, so it ends later.
        leads = self._renew() or self._acquire()
        if leads:
            self._held_until = started + MAX_IDLE
        return leads

    def _renew(self) -> bool:
        if self._connection is None:
            return False
        try:
            self._connection.execute(sa.text("SELECT 1"))
        except sa.exc.SQLAlchemyError as error:
            log.warning("beat_leadership_lost", error=str(error).strip())
            self._end_session(self._connection)
            return False
        return True

    def _acquire(self) -> bool:
        with ExitStack() as stack:
            connection = stack.enter_context(self._engine.connect())
            if not try_lock(connection, Lock.BEAT):
                return False
            connection.execute(_BOUND_IDLE)
            stack.pop_all()
        self._connection = connection
        log.info("beat_leadership_acquired")
        return True

    def release(self) -> None:
        """Stop leading, so that another process can lead at once."""
        if self._connection is None:
            return
        try:
            self._connection.rollback()
            log.info("beat_leadership_released")
        except sa.exc.SQLAlchemyError as error:
            log.warning("beat_leadership_lost", error=str(error).strip())
        self._end_session(self._connection)

    def _end_session(self, connection: sa.Connection) -> None:
        self._held_until = 0.0
        self._connection = None
        connection.invalidate()
        connection.close()
