"""What people changed about beat's schedule, read from the database every other second.

A thread does it, so beat never waits for PostgreSQL. While that is away, beat goes on with what it
knows: at start that is its configuration, whose messages no worker could run then anyway.
"""

import threading
import time
from collections.abc import Sequence

import msgspec
import sqlalchemy as sa
import structlog

from orders.database import make_engine
from orders.schedule import Planned, read_entries, register
from orders.settings import Settings

PAUSE = 2.0
"""Seconds between two looks. A change takes one of them and a look of beat's at its schedule."""

log = structlog.get_logger()


class Change(msgspec.Struct, frozen=True):
    """How an entry is to be asked for: every so many seconds, or not at all."""

    every: float
    paused: bool


class Changes:
    """The entries of one beat as the database has them.

    Attributes:
        known: by name, as of the last look that succeeded; replaced as a whole.
        leads: set by beat. One that leads registers its entries.
    """

    def __init__(self, planned: Sequence[Planned]) -> None:
        self.known: dict[str, Change] = {}
        self.leads = False
        self._planned = planned

    def watch(self) -> None:
        """Look every `PAUSE`, for as long as the process lives."""
        engine = make_engine(Settings.load(), "orderworks-beat")
        threading.Thread(target=self._watch, args=(engine,), name="changes", daemon=True).start()

    def _watch(self, engine: sa.Engine) -> None:
        while True:
            try:
                self.look(engine)
            except sa.exc.SQLAlchemyError as error:
                log.warning("beat_schedule_not_read", error=str(error).strip())
            time.sleep(PAUSE)

    def look(self, engine: sa.Engine) -> None:
        """Read what is wanted; first, if this beat leads, say what there is."""
        with engine.begin() as connection:
            if self.leads:
                register(connection, self._planned)
            entries = read_entries(connection)
        self.known = {each.entry: Change(each.every, each.paused) for each in entries}
