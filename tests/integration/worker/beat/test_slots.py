"""Slots: any number of messages, at any times, cause one run per slot.

The clock is the database's, so tests move the times in the table instead.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from itertools import count

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orderworks.core.schema import beat_runs
from worker.beat import entries, slots
from worker.beat.schedule import Slot, message_options, slot_of

PERIOD = 60.0
SWEEP = Slot("sweep", PERIOD)
TASK = "tasks.upkeep.sweep"

Claim = Callable[..., bool]

_messages = count(1)


@pytest.fixture
def claim(engine: sa.Engine) -> Claim:
    """Return a function that claims as a worker does that received a message with a new id."""

    def attempt(message: str | None = None, slot: Slot = SWEEP) -> bool:
        with engine.begin() as connection:
            return slots.claim(connection, slot, TASK, message or f"message-{next(_messages)}")

    return attempt


def state(engine: sa.Engine) -> sa.Row[int, float]:
    """Return the number of runs, and the seconds since the time of the last slot."""
    runs = beat_runs.c
    ago = sa.func.extract("epoch", sa.func.clock_timestamp() - runs.slot_at)
    with engine.connect() as connection:
        return connection.execute(sa.select(runs.runs, sa.cast(ago, sa.Double))).one()


def pass_time(engine: sa.Engine, seconds: float) -> None:
    """Make every time in the table this much older."""
    moved = {
        name: beat_runs.c[name] - timedelta(seconds=seconds)
        for name in ("slot_at", "started_at", "succeeded_at", "since")
    }
    with engine.begin() as connection:
        connection.execute(sa.update(beat_runs).values(moved))


def test_entry_that_never_ran_runs_once(engine: sa.Engine, claim: Claim) -> None:
    assert [claim(), claim(), claim()] == [True, False, False]
    assert state(engine)[0] == 1


@pytest.mark.parametrize("later", [31, 60, 89])
def test_slot_is_run_once_from_half_a_period_before_its_time(
    engine: sa.Engine, claim: Claim, later: float
) -> None:
    claim()
    pass_time(engine, later)
    assert [claim(), claim()] == [True, False]
    assert state(engine)[1] == pytest.approx(later - PERIOD, abs=2), "it kept its phase"


def test_slot_is_not_run_before_half_a_period(engine: sa.Engine, claim: Claim) -> None:
    claim()
    pass_time(engine, 29)
    assert not claim()


def test_one_run_follows_an_outage(engine: sa.Engine, claim: Claim) -> None:
    claim()
    pass_time(engine, 5.4 * PERIOD)
    assert [claim() for _message in range(5)] == [True, False, False, False, False]
    assert state(engine)[1] == pytest.approx(0, abs=2), "slots start again"


def test_concurrent_messages_cause_one_run(engine: sa.Engine, claim: Claim) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda _number: claim(), range(24))) == 1
    assert state(engine)[0] == 1


def test_redelivered_message_continues_its_slot_until_success(
    engine: sa.Engine, claim: Claim
) -> None:
    assert claim("killed")
    assert not claim()
    assert claim("killed")
    assert state(engine)[0] == 1, "it is still the one run"
    with engine.begin() as connection:
        slots.record_success(connection, "sweep")
    assert not claim("killed"), "delivered once more after its success, it does nothing"


def test_slot_in_the_future_does_not_block_runs(engine: sa.Engine, claim: Claim) -> None:
    claim()
    pass_time(engine, -24 * 3600)
    assert claim()
    assert state(engine)[1] == pytest.approx(0, abs=2)


def test_period_comes_from_the_database_not_the_message(engine: sa.Engine, claim: Claim) -> None:
    claim()
    with engine.begin() as connection:
        entries.set_period(connection, "sweep", timedelta(seconds=10 * PERIOD))
    pass_time(engine, PERIOD)
    assert not claim()
    pass_time(engine, 5 * PERIOD)
    assert claim()


def test_paused_entry_runs_only_when_forced(engine: sa.Engine, claim: Claim) -> None:
    claim()
    with engine.begin() as connection:
        entries.pause(connection, "sweep")
    pass_time(engine, PERIOD)
    assert not claim()
    assert claim(slot=Slot("sweep", PERIOD, forced=True))
    with engine.begin() as connection:
        entries.resume(connection, "sweep")
    assert not claim(), "the run by hand took the slot"
    pass_time(engine, PERIOD)
    assert claim()


@given(gaps=st.lists(st.floats(0, 3 * PERIOD), min_size=1, max_size=30))
@settings(
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_messages_at_any_times_cause_one_run_per_slot(
    engine: sa.Engine, claim: Claim, gaps: list[float]
) -> None:
    with engine.begin() as connection:
        connection.execute(sa.delete(beat_runs))
    clock, asked, ran = 0.0, list[float](), list[float]()
    for gap in gaps:
        pass_time(engine, gap)
        clock += gap
        asked.append(clock)
        if claim():
            ran.append(clock)
    lasted = clock - ran[0]
    assert len(ran) <= lasted / PERIOD + 1.5 + 0.1, "no more than there were slots"
    for before, after in zip(ran, [*ran[1:], None], strict=True):
        waited = [each for each in asked if each > before and (after is None or each < after)]
        assert all(each - before < PERIOD + 1 for each in waited), (
            "no message waited for longer than a period"
        )


def test_failed_run_is_recorded_with_its_reason(engine: sa.Engine, claim: Claim) -> None:
    claim()
    with engine.begin() as connection:
        slots.record_failure(connection, "sweep", "ValueError: no")
        (entry,) = entries.read_entries(connection)
    assert (entry.has_failed, entry.error, entry.succeeded_at) == (True, "ValueError: no", None)
    with engine.begin() as connection:
        slots.record_success(connection, "sweep")
        (entry,) = entries.read_entries(connection)
    assert not entry.has_failed
    assert isinstance(entry.succeeded_at, datetime)


def test_messages_not_sent_by_beat_have_no_slot() -> None:
    assert slot_of(None) is None
    assert slot_of({"celery_beat_task": True}) is None
    options = message_options(SWEEP)
    assert slot_of(options["headers"]) == SWEEP
    assert "expires" not in options, "a worker would decide by the clock of its host"
