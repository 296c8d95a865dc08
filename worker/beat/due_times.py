"""The times at which entries are due, on the clock of this process.

The database states how many seconds remain until an entry's next slot. Wall clocks of hosts are not
compared.
"""

from worker.beat.entries import BeatEntry

RESEND_AFTER = 60.0
"""Seconds after which a message counts as lost if no worker has claimed its slot. Entries of shorter
periods are sent again after a period."""

MAX_AHEAD_PERIODS = 2
"""Periods until the next slot beyond which it was left by a clock change: `slots.claim` runs it now."""


class DueTimes:
    """The times at which entries are due, from the database's schedule and from what was sent."""

    def __init__(self) -> None:
        self._sent_for: dict[str, float] = {}

    def due_at(self, entry: BeatEntry, read_at: float) -> float | None:
        """Return when the entry is due; None while it is paused.

        `read_at` is the monotonic time at which the entry was read. Until a worker has claimed the
        slot of a message, the database has the entry as due; it is not sent again at once.
        """
        if entry.due_in is None:
            return None
        is_ahead = entry.due_in > MAX_AHEAD_PERIODS * entry.every
        due_at = read_at if is_ahead else read_at + entry.due_in
        if entry.entry not in self._sent_for:
            return due_at
        return max(due_at, self._sent_for[entry.entry] + _resend_period(entry))

    def record_sent(self, entry: BeatEntry, due_at: float, now: float) -> None:
        """Record that a message was sent `now` that was due at `due_at`.

        The next one counts from `due_at`, so that short delays do not add up; after a long one, from
        now.
        """
        is_late = now - due_at > _resend_period(entry)
        self._sent_for[entry.entry] = now if is_late else due_at


def _resend_period(entry: BeatEntry) -> float:
    return min(entry.every, RESEND_AFTER)
