"""The times at which entries are due: from the database's schedule, and from what was sent."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from worker.beat.due_times import RESEND_AFTER, DueTimes
from worker.beat.entries import BeatEntry

THEN = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE, DAY = 60.0, 86_400.0


def stored(due_in: float | None, every: float = MINUTE) -> BeatEntry:
    """Return an entry as the database has it."""
    return BeatEntry(
        entry="sweep",
        task="tasks.upkeep.sweep",
        every=every,
        configured=every,
        paused=due_in is None,
        runs=0,
        since=THEN,
        slot_at=None,
        succeeded_at=None,
        failed_at=None,
        error=None,
        alive_at=THEN,
        silence=0.0,
        due_in=due_in,
    )


def test_entry_is_due_when_the_database_has_it_due() -> None:
    assert DueTimes().due_at(stored(7), read_at=100) == 107
    assert DueTimes().due_at(stored(-7), read_at=100) == 93


def test_paused_entry_is_never_due() -> None:
    assert DueTimes().due_at(stored(None), read_at=100) is None


def test_slot_left_in_the_future_by_a_clock_change_does_not_delay_the_entry() -> None:
    assert DueTimes().due_at(stored(2.1 * MINUTE), read_at=100) == 100
    assert DueTimes().due_at(stored(1.5 * MINUTE), read_at=100) == 190, "a claim can put it there"


def test_sent_message_counts_until_its_slot_is_claimed() -> None:
    times = DueTimes()
    times.record_sent(stored(0), due_at=100, now=101)
    assert times.due_at(stored(-2), read_at=102) == 160, "no worker has claimed the slot"
    assert times.due_at(stored(58), read_at=102) == 160, "one has"


def test_later_slot_in_the_database_takes_precedence() -> None:
    times = DueTimes()
    times.record_sent(stored(0), due_at=100, now=100)
    assert times.due_at(stored(60), read_at=130) == 190, "it was run by hand at 130"


def test_message_no_worker_took_is_sent_again_within_a_minute() -> None:
    times = DueTimes()
    times.record_sent(stored(0, DAY), due_at=100, now=100)
    assert times.due_at(stored(-10, DAY), read_at=110) == 100 + RESEND_AFTER
    assert times.due_at(stored(DAY - 1, DAY), read_at=101) == 100 + DAY, "its slot is claimed"


def test_shorter_period_takes_effect_at_once() -> None:
    times = DueTimes()
    times.record_sent(stored(0, DAY), due_at=100, now=100)
    assert times.due_at(stored(-200, 1), read_at=300) == 101


def test_one_message_follows_a_long_delay() -> None:
    times = DueTimes()
    times.record_sent(stored(-1000), due_at=100, now=1100)
    assert times.due_at(stored(-1000), read_at=1100) == 1160


@given(
    every=st.floats(1, 2 * MINUTE),
    delays=st.lists(st.floats(0, 0.4), min_size=2, max_size=50),
)
def test_short_delays_do_not_add_up(every: float, delays: list[float]) -> None:
    """No worker claims; each tick comes a fraction of a period late."""
    times, entry = DueTimes(), stored(0.0, every)
    period = min(every, RESEND_AFTER)
    for number, delay in enumerate(delays):
        due_at = times.due_at(entry, read_at=0.0)
        assert due_at is not None
        assert abs(due_at - number * period) < 1e-6
        times.record_sent(entry, due_at, due_at + delay * period)
