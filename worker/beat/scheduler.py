"""Beat's scheduler: Redbeat's, with a lead that is taken and lost without the process ending.

Redbeat waits for its lock once, at start, and `celery beat` ends when the lock is lost. Here every
beat looks, every few seconds, whether it leads: a frozen one that wakes up follows, and one whose
broker was away or emptied goes on. Sending twice does no harm (`worker/beat/slots.py`).
"""

from datetime import timedelta
from typing import Any

import structlog
from celery import Celery
from celery.result import AsyncResult
from redbeat.schedulers import RedBeatScheduler, RedBeatSchedulerEntry, ensure_conf, get_redis
from redis.exceptions import RedisError

from worker.beat.entries import BeatEntry, PlannedEntry
from worker.beat.leader import LeaderLock
from worker.beat.schedule_watch import ScheduleWatch
from worker.beat.slots import Slot, message_options, slot_of

EntryTiming = tuple[float, bool]
"""How an entry is asked for: every so many seconds, or, if it is paused, not at all."""

log = structlog.get_logger()


class Scheduler(RedBeatScheduler):  # type: ignore[misc]  # Redbeat is untyped
    """Sends what is due while it leads; takes changes of the schedule over from the database.

    Attributes:
        hears_broker: whether the broker answered at the last look.
    """

    def __init__(self, app: Celery, **options: Any) -> None:  # noqa: ANN401 - Celery's
        self.hears_broker = True
        self._watch = ScheduleWatch(_planned(app.conf.beat_schedule))
        self._written: dict[str, EntryTiming] | None = None
        super().__init__(app, **options)
        conf = ensure_conf(app)
        self._leader_lock = LeaderLock(get_redis(app), conf.lock_key, conf.lock_timeout)
        self.lock_key = None  # What Redbeat does with its lock is done here.

    def setup_schedule(self) -> None:
        """Nothing in Redis yet: who leads writes the schedule. Called once beat really starts."""
        self._watch.start()

    def tick(self, *_: object, **__: object) -> float:
        """Send what is due, if this beat leads; seconds until the next look."""
        try:
            seconds = self._tick_as_leader()
        except RedisError as error:
            self.hears_broker = False
            log.warning("beat_without_broker", error=str(error))
            return float(self.max_interval)
        self.hears_broker = True
        return seconds

    def _tick_as_leader(self) -> float:
        self._watch.wait_for_first_poll()
        if self._watch.entries is None:
            return 0  # It waited. Without the database nobody could run what is asked for.
        if not self._leader_lock.renew():
            self._watch.leads = self._leader_lock.acquire()
            self._written = None  # Another one may have written since, or the broker lost it all.
        if not self._watch.leads:
            return float(self.max_interval)
        self._write_schedule(self._watch.entries)
        return float(super().tick())

    def _write_schedule(self, entries: dict[str, BeatEntry]) -> None:
        """Write the schedule where it is not as it was written last."""
        wanted = {name: (each.every, each.paused) for name, each in entries.items()}
        if wanted != self._written:
            super().setup_schedule()
            self._written = wanted

    def update_from_dict(self, entries: dict[str, Any]) -> None:
        """Write these entries, as people changed them."""
        known = self._watch.entries or {}
        super().update_from_dict(
            {
                name: _with_database_timing(entry, known[name]) if name in known else entry
                for name, entry in entries.items()
            }
        )

    def apply_async(
        self,
        entry: RedBeatSchedulerEntry,
        producer: Any = None,  # noqa: ANN401 - kombu's
        advance: bool = True,  # noqa: FBT001, FBT002 - the signature is Celery's
        **options: Any,  # noqa: ANN401 - likewise
    ) -> AsyncResult[Any]:
        """Send, then note that it was sent: a message that the broker refuses stays due.

        Celery does it the other way round, and leaves one out then. Here one sent twice is none.
        """
        sent: AsyncResult[Any] = super().apply_async(entry, producer, advance=False, **options)
        if advance:
            self.reserve(entry)
        return sent

    def close(self) -> None:
        """End, and let another beat lead at once."""
        try:
            self._leader_lock.release()
        except RedisError as error:
            log.warning("beat_lead_runs_out", error=str(error))
        super().close()


def _with_database_timing(entry: dict[str, Any], stored: BeatEntry) -> dict[str, Any]:
    """The configured entry at the pace that the database says.

    Redbeat takes `last_run_at` only where it has none itself: a broker that lost everything does not
    put off what is due once a day.
    """
    slot = Slot(stored.entry, stored.configured)
    return {
        **entry,
        "schedule": timedelta(seconds=stored.every),
        "enabled": not stored.paused,
        "options": entry["options"] | message_options(slot, stored.every),
        "last_run_at": stored.slot_at or stored.since,
    }


def _planned(schedule: dict[str, Any]) -> list[PlannedEntry]:
    """The configured entries whose messages are guarded."""
    slots = {name: slot_of(each["options"].get("headers")) for name, each in schedule.items()}
    return [
        PlannedEntry(name, schedule[name]["task"], slot.every)
        for name, slot in slots.items()
        if slot
    ]
