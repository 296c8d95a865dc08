"""The schedule as the database has it, with what people changed, read every other second.

A thread does it, so a beat that leads never waits for PostgreSQL, and goes on with what it knows while
that is away.
"""

import threading
import time
from collections.abc import Sequence

import sqlalchemy as sa
import structlog

from orderworks.core.database import make_engine
from orderworks.core.settings import Settings
from worker.beat.entries import BeatEntry, PlannedEntry, read_entries, register

POLL_INTERVAL = 2.0
"""Seconds between two looks. A change takes one of them, and a look of beat's at it."""

log = structlog.get_logger()


class ScheduleWatch:
    """The entries of one beat as the database has them.

    Attributes:
        known: by name, as of the last look that succeeded, and replaced as a whole; None until then.
        leads: set by beat. One that leads registers its entries.
    """

    def __init__(self, planned: Sequence[PlannedEntry]) -> None:
        self.entries: dict[str, BeatEntry] | None = None
        self.leads = False
        self._planned = planned
        self._first = threading.Event()

    def start(self) -> None:
        """Look every `PAUSE`, for as long as the process lives."""
        engine = make_engine(Settings.load(), "orderworks-beat")
        threading.Thread(target=self._watch, args=(engine,), name="changes", daemon=True).start()

    def wait_for_first_poll(self) -> None:
        """Wait for the first look that succeeds, for `PAUSE` at the most."""
        self._first.wait(POLL_INTERVAL)

    def _watch(self, engine: sa.Engine) -> None:
        while True:
            try:
                self.poll(engine)
            except sa.exc.SQLAlchemyError as error:
                log.warning("beat_schedule_not_read", error=str(error).strip())
            time.sleep(POLL_INTERVAL)

    def poll(self, engine: sa.Engine) -> None:
        """Read what is wanted; first, if this beat leads, say what there is."""
        with engine.begin() as connection:
            if self.leads:
                register(connection, self._planned)
            self.entries = {each.entry: each for each in read_entries(connection)}
        self._first.set()
