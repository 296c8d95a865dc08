"""Beat's scheduler: `celery.beat.Scheduler` over the table `beat_runs`.

Any number of beats may run; one leads and sends. Leadership and the schedule are in PostgreSQL
(`worker/beat/schedule_watch.py`), so beat works with every broker that Celery supports, and with one
that lost its data. Sending twice does no harm: a worker claims the slot before it runs the task
(`worker/beat/slots.py`).
"""

import time
from typing import Any

import celery.beat
import structlog
from celery import Celery
from celery.beat import ScheduleEntry, SchedulingError

from orderworks.core.database import make_engine
from orderworks.core.settings import Settings
from worker.beat.due_times import DueTimes
from worker.beat.entries import BeatEntry, PlannedEntry
from worker.beat.leader import MAX_IDLE
from worker.beat.schedule import Slot, message_options, slot_of
from worker.beat.schedule_watch import POLL_INTERVAL, ScheduleSnapshot, ScheduleWatch
from worker.queue_length import queue_length

MAX_WAITING = 100
"""Number of messages in a queue from which beat adds none."""

log = structlog.get_logger()


class Scheduler(celery.beat.Scheduler):
    """Sends the entries of `beat_schedule` that are due, while this beat leads.

    Of entries with a slot the database has the period, the pause and the last run. Entries without one
    follow Celery's rules, from the time at which this beat began to lead: give one with a long period a
    slot.

    Attributes:
        hears_broker: whether the broker answered at the last tick.
    """

    def __init__(self, app: Celery, **options: Any) -> None:  # noqa: ANN401 - Celery's
        self.hears_broker = True
        self._due_times = DueTimes()
        engine = make_engine(Settings.load(), "orderworks-beat")
        self._watch = ScheduleWatch(engine, _planned(app.conf.beat_schedule))
        super().__init__(app, **options)
        self._max_wait = float(self.max_interval or POLL_INTERVAL)

    def setup_schedule(self) -> None:
        """Start to poll the database. Called once beat really starts, not for introspection."""
        self.update_from_dict(self.app.conf.beat_schedule)
        self._watch.start()

    def tick(self, *_: object, **__: object) -> float:
        """Send what is due, if this beat leads; return the seconds until the next tick."""
        self._watch.wait_for_first_poll()
        self.hears_broker = self._broker_answers()
        self._watch.eligible_until = time.monotonic() + MAX_IDLE if self.hears_broker else 0.0
        snapshot = self._watch.snapshot_if_leading()
        if snapshot is None:
            # Entries without a slot count from now: a new leader does not repeat what the old one sent.
            self.update_from_dict(self.app.conf.beat_schedule)
            return self._max_wait
        waits = [self._send_if_due(entry, snapshot) for entry in list(self.schedule.values())]
        return max(0.0, min([*waits, self._max_wait]))

    def _broker_answers(self) -> bool:
        """Open a channel, which takes a reply with every transport that has a server."""
        connection: Any = self.connection
        try:
            connection.channel().close()
        except (OSError, *connection.connection_errors, *connection.channel_errors) as error:
            log.warning("beat_broker_unavailable", error=str(error))
            super().close()  # Celery connects again on the next access.
            return False
        return True

    def _send_if_due(self, entry: ScheduleEntry, snapshot: ScheduleSnapshot) -> float:
        """Send the entry if it is due; return the seconds until it is due again, or is to be tried."""
        if slot_of(_options(entry).get("headers")):
            stored = snapshot.entries.get(entry.name or "")
            return self._send_slot_if_due(entry, stored, snapshot.read_at)
        try:
            is_due, seconds = entry.is_due()
        except Exception as error:  # noqa: BLE001 - one entry's schedule must not end beat
            log.warning("beat_send_failed", entry=entry.name, error=str(error))
            return self._max_wait
        if is_due and self._send(entry):
            self.reserve(entry)
        return seconds

    def _send_slot_if_due(
        self, entry: ScheduleEntry, stored: BeatEntry | None, read_at: float
    ) -> float:
        due_at = None if stored is None else self._due_times.due_at(stored, read_at)
        if stored is None or due_at is None:  # Not registered yet, or paused.
            return self._max_wait
        now = time.monotonic()
        if due_at > now:
            return due_at - now
        entry.options = _options(entry) | message_options(Slot(stored.entry, stored.configured))
        if not self._has_room(entry) or not self._send(entry):
            return self._max_wait
        self._due_times.record_sent(stored, due_at, now)
        return 0.0

    def _has_room(self, entry: ScheduleEntry) -> bool:
        """Return whether the entry's queue is short enough for one more message.

        Without workers it grows, and the messages that it has are enough for their return.
        """
        try:
            queue = self.app.amqp.router.route({}, str(entry.task))["queue"].name
            waiting = queue_length(self.connection, queue)
        except Exception as error:  # noqa: BLE001 - kombu raises any error of its transport
            log.warning("beat_send_failed", entry=entry.name, error=str(error))
            return False
        if waiting >= MAX_WAITING:
            log.warning("beat_queue_full", entry=entry.name, queue=queue)
        return waiting < MAX_WAITING

    def _send(self, entry: ScheduleEntry) -> bool:
        """Send the entry's message; return whether the broker took it. If not, it stays due.

        Celery records an entry as sent before it sends it, and misses a run then.
        """
        try:
            self.apply_async(entry, producer=self.producer, advance=False)
        except SchedulingError as error:
            log.warning("beat_send_failed", entry=entry.name, error=str(error))
            return False
        log.info("beat_entry_sent", entry=entry.name, task=entry.task)
        return True

    def close(self) -> None:
        """Stop leading, so that another beat can lead at once, and disconnect."""
        self._watch.stop()
        super().close()


def _options(entry: ScheduleEntry) -> dict[str, Any]:
    return entry.options or {}


def _planned(schedule: dict[str, Any]) -> list[PlannedEntry]:
    """Return the configured entries that have a slot."""
    slots = {
        name: slot_of(each.get("options", {}).get("headers")) for name, each in schedule.items()
    }
    return [
        PlannedEntry(name, schedule[name]["task"], slot.every)
        for name, slot in slots.items()
        if slot
    ]
