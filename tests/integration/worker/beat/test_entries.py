"""The schedule in the database: registration by the leading beat, manual changes, overdue entries."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from orderworks.core.errors import EntryNotFound
from orderworks.core.schema import beat_runs
from worker.beat import entries, slots
from worker.beat.entries import OVERDUE_GRACE, BeatEntry, PlannedEntry

SWEEP = PlannedEntry("sweep", "tasks.upkeep.sweep", 60)
PURGE = PlannedEntry("purge", "tasks.upkeep.purge_expired", 86_400)


@pytest.fixture(autouse=True)
def _registered(engine: sa.Engine) -> None:
    register(engine, SWEEP, PURGE)


def register(engine: sa.Engine, *planned: PlannedEntry) -> None:
    """Register as the leading beat does."""
    with engine.begin() as connection:
        entries.register(connection, planned)


def entry(engine: sa.Engine, name: str = "sweep") -> BeatEntry:
    """Return an entry with its state."""
    with engine.connect() as connection:
        return entries.read_entry(connection, name)


def let_pass(engine: sa.Engine, seconds: float) -> None:
    """Make every time in the table this much older."""
    names = ("since", "slot_at", "succeeded_at")
    with engine.begin() as connection:
        ago = {name: beat_runs.c[name] - timedelta(seconds=seconds) for name in names}
        connection.execute(sa.update(beat_runs).values(ago))


def test_entry_that_never_ran_is_overdue_after_two_periods(
    engine: sa.Engine,
) -> None:
    assert not entry(engine).is_overdue, "it is new"
    let_pass(engine, 119)
    assert not entry(engine).is_overdue
    let_pass(engine, 2)
    assert entry(engine).is_overdue
    assert not entry(engine, "purge").is_overdue, "its periods are days"


def test_entry_is_overdue_two_periods_after_its_last_success(engine: sa.Engine) -> None:
    let_pass(engine, 1000)
    with engine.begin() as connection:
        slots.record_success(connection, "sweep")
    assert not entry(engine).is_overdue
    let_pass(engine, 121)
    assert entry(engine).is_overdue


def test_short_period_is_not_overdue_during_leader_takeover(engine: sa.Engine) -> None:
    register(engine, PlannedEntry("sweep", SWEEP.task, 1))
    let_pass(engine, OVERDUE_GRACE - 1)
    assert not entry(engine).is_overdue
    let_pass(engine, 2)
    assert entry(engine).is_overdue


def test_changed_period_counts_from_its_change(engine: sa.Engine) -> None:
    let_pass(engine, 40_000)
    with engine.begin() as connection:
        changed = entries.set_period(connection, "purge", timedelta(seconds=60))
    assert (changed.every, changed.configured, changed.is_overdue) == (60, 86_400, False)
    let_pass(engine, 121)
    assert entry(engine, "purge").is_overdue
    with engine.begin() as connection:
        assert entries.set_period(connection, "purge", None).every == 86_400


def test_paused_entry_is_never_overdue_until_resumed(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        entries.pause(connection, "sweep")
    let_pass(engine, 1000)
    assert (entry(engine).is_overdue, entry(engine).due_in) == (False, None)
    with engine.begin() as connection:
        entries.resume(connection, "sweep")
    assert not entry(engine).is_overdue
    let_pass(engine, 121)
    assert entry(engine).is_overdue


def test_registering_again_keeps_manual_changes_and_removes_deleted_entries(
    engine: sa.Engine,
) -> None:
    with engine.begin() as connection:
        entries.set_period(connection, "sweep", timedelta(seconds=7))
    register(engine, PlannedEntry("sweep", SWEEP.task, 90))
    with engine.connect() as connection:
        (kept,) = entries.read_entries(connection)
    assert (kept.entry, kept.every, kept.configured) == ("sweep", 7, 90)


def test_registering_what_is_stored_locks_no_entry(engine: sa.Engine) -> None:
    """A beat that is frozen within its transaction would keep them, and no slot could be claimed."""
    with engine.connect() as frozen, engine.begin() as other:
        entries.register(frozen, [SWEEP, PURGE])
        free = sa.select(beat_runs.c.entry).with_for_update(skip_locked=True)
        assert {*other.scalars(free)} == {"sweep", "purge"}


def test_changed_configured_period_takes_effect_on_registering(engine: sa.Engine) -> None:
    let_pass(engine, 100)
    register(engine, SWEEP)
    assert entry(engine).silence == pytest.approx(100, abs=5), "the same again changes nothing"
    register(engine, PlannedEntry("sweep", SWEEP.task, 45))
    assert entry(engine).silence == pytest.approx(0, abs=5)


def test_unknown_entry_error_lists_known_entries(engine: sa.Engine) -> None:
    with engine.begin() as connection, pytest.raises(EntryNotFound, match="'sweeep'.*purge, sweep"):
        entries.pause(connection, "sweeep")
    register(engine)
    with engine.begin() as connection, pytest.raises(EntryNotFound, match="is `celery"):
        entries.pause(connection, "sweep")
