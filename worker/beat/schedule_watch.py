"""A thread that polls the database for the stored schedule, and for leadership.

The scheduler never waits for PostgreSQL. While PostgreSQL is unavailable no beat leads: no worker could
claim a slot.
"""

import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa
import structlog

from worker.beat.entries import BeatEntry, PlannedEntry, read_entries, register
from worker.beat.leader import MAX_IDLE, LeaderLock

POLL_INTERVAL = 2.0
"""Seconds between two polls. A change takes effect after one, and after beat's next tick."""

_BOUND_POLL = sa.select(
    sa.func.set_config("lock_timeout", "1s", sa.true()),
    sa.func.set_config("statement_timeout", "3s", sa.true()),
    sa.func.set_config("idle_in_transaction_session_timeout", f"{MAX_IDLE}s", sa.true()),
)
"""Limits of a poll: a locked row of `beat_runs` does not delay the renewal of leadership, and a beat
that is frozen while it stores an entry loses the lock of its row with its leadership."""

log = structlog.get_logger()


class ScheduleSnapshot(NamedTuple):
    """The entries by name, and the monotonic time at which they were read."""

    entries: dict[str, BeatEntry]
    read_at: float


class ScheduleWatch:
    """Polls the database for one beat.

    Attributes:
        snapshot: what the last successful poll read, replaced as a whole; None before the first.
        eligible_until: the monotonic time until which this beat may lead. The scheduler sets it when
            the broker answers, so that a beat that cannot send leaves leadership to others.
    """

    def __init__(self, engine: sa.Engine, planned: Sequence[PlannedEntry]) -> None:
        """`planned` are the configured entries; the leader registers them."""
        self.snapshot: ScheduleSnapshot | None = None
        self.eligible_until = time.monotonic() + MAX_IDLE
        self._engine = engine
        self._planned = planned
        self._leader_lock = LeaderLock(engine)
        self._has_polled = threading.Event()
        self._stopped = threading.Event()

    def snapshot_if_leading(self) -> ScheduleSnapshot | None:
        """Return the schedule by which this beat sends; None if it does not lead."""
        return self.snapshot if self._is_eligible() and self._leader_lock.is_held() else None

    def _is_eligible(self) -> bool:
        return time.monotonic() < self.eligible_until

    def start(self) -> None:
        """Poll every `POLL_INTERVAL`, until `stop` or the end of the process."""
        threading.Thread(target=self._poll_until_stopped, name="schedule", daemon=True).start()

    def stop(self) -> None:
        """Stop polling and leading. The thread needs up to `POLL_INTERVAL`; it is not waited for."""
        self._stopped.set()

    def wait_for_first_poll(self) -> None:
        """Wait until a poll succeeds, at most `POLL_INTERVAL`."""
        self._has_polled.wait(POLL_INTERVAL)

    def _poll_until_stopped(self) -> None:
        while not self._stopped.is_set():
            try:
                self.poll()
            except sa.exc.SQLAlchemyError as error:
                log.warning("beat_schedule_read_failed", error=str(error).strip())
            self._stopped.wait(POLL_INTERVAL)
        self._leader_lock.release()

    def poll(self) -> None:
        """Lead, if possible; read the schedule, and as the leader register the configured one before.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: PostgreSQL is unavailable. The snapshot stays as it is.
        """
        leads = self._lead_if_eligible()
        with self._engine.begin() as connection:
            connection.execute(_BOUND_POLL)
            read_at = time.monotonic()
            if leads:
                register(connection, self._planned)
            entries = {entry.entry: entry for entry in read_entries(connection)}
        self.snapshot = ScheduleSnapshot(entries, read_at)
        self._has_polled.set()

    def _lead_if_eligible(self) -> bool:
        if self._is_eligible():
            return self._leader_lock.acquire_or_renew()
        self._leader_lock.release()
        return False
