"""The messages that beat sends, with a broker that is not Redis: kombu's transport in memory."""

import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa
from celery import Celery
from celery.schedules import crontab, schedule
from kombu.exceptions import OperationalError

from orderworks.core.schema import beat_runs
from orderworks.core.settings import Settings
from tests.support.processes import ROOT
from worker.beat import entries, schedule_watch, scheduler, slots
from worker.beat.leader import MAX_IDLE
from worker.beat.schedule import HEADER, Slot, make_schedule, message_options
from worker.beat.schedule_watch import ScheduleWatch
from worker.beat.scheduler import MAX_WAITING, Scheduler

SWEEP = Slot("sweep", 60)
TASK = "tasks.upkeep.sweep"


class Beat(NamedTuple):
    """One beat without its thread: the test polls."""

    scheduler: Scheduler
    watch: ScheduleWatch

    def tick(self) -> float:
        """Poll, then tick."""
        self.watch.poll()
        return self.scheduler.tick()

    def end(self) -> None:
        """End as a process does, which leaves its session."""
        self.watch._leader_lock.release()  # noqa: SLF001
        self.scheduler.close()


@pytest.fixture
def app(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Celery]:
    """An app with one entry that has a slot."""
    assert settings.database
    monkeypatch.delenv("CELERY_BROKER_URL")  # Celery prefers it.
    with Celery(broker="memory://", set_as_current=False) as made:
        made.conf.beat_max_loop_interval = 2
        made.conf.beat_schedule = {
            "sweep": {
                "task": TASK,
                "schedule": timedelta(seconds=60),
                "options": message_options(SWEEP),
            }
        }
        yield made
        received(made)


def new_beat(app: Celery, monkeypatch: pytest.MonkeyPatch) -> Beat:
    """Start one more beat."""
    monkeypatch.setattr(ScheduleWatch, "start", lambda _self: None)
    made = Scheduler(app)
    return Beat(made, made._watch)  # noqa: SLF001


@pytest.fixture
def beat(app: Celery, monkeypatch: pytest.MonkeyPatch) -> Iterator[Beat]:
    """A beat that leads, and has registered its entries."""
    made = new_beat(app, monkeypatch)
    made.watch.poll()
    yield made
    made.end()


def received(app: Celery) -> list[Any]:
    """Take what is in the queue: the header of each message."""
    with app.connection_for_write() as connection:
        assert connection.transport.driver_name == "memory"
        channel: Any = connection.default_channel
        channel.queue_declare("celery")
        messages = iter(lambda: channel.basic_get("celery", no_ack=True), None)
        return [message.headers for message in messages]


def pass_time(engine: sa.Engine, seconds: float) -> None:
    """Make everything in the database this much older."""
    moved = {name: beat_runs.c[name] - timedelta(seconds=seconds) for name in ("since", "slot_at")}
    with engine.begin() as connection:
        connection.execute(sa.update(beat_runs).values(moved))


def claim(engine: sa.Engine, message_id: str = "message") -> bool:
    """Claim the slot, as a worker does that received the message."""
    with engine.begin() as connection:
        return slots.claim(connection, SWEEP, TASK, message_id)


def test_new_entry_is_registered_and_due_after_a_period(
    app: Celery, beat: Beat, engine: sa.Engine
) -> None:
    assert beat.tick() == 2, "it polls again before"
    assert received(app) == []
    pass_time(engine, 59.5)
    assert 0 < beat.tick() <= 0.5
    pass_time(engine, 1)
    assert beat.tick() == 0
    (headers,) = received(app)
    assert headers["task"] == TASK
    assert headers[HEADER] == {"entry": "sweep", "every": 60}


def test_poll_that_stores_an_entry_may_be_idle_no_longer_than_a_leader(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounds = []

    def read_bound(connection: sa.Connection, _planned: object) -> None:
        bounds.append(connection.scalar(sa.text("SHOW idle_in_transaction_session_timeout")))

    monkeypatch.setattr(schedule_watch, "register", read_bound)
    beat = new_beat(app, monkeypatch)
    beat.watch.poll()
    beat.end()
    assert bounds == [f"{MAX_IDLE}s"]


def test_entry_is_sent_once_per_period_while_no_worker_claims_it(
    app: Celery, beat: Beat, engine: sa.Engine
) -> None:
    pass_time(engine, 600)
    for _tick in range(5):
        beat.tick()
    assert len(received(app)) == 1
    assert beat.tick() == 2


def test_claimed_slot_is_not_due_for_the_next_beat(
    app: Celery, beat: Beat, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pass_time(engine, 61)
    beat.tick()
    assert len(received(app)) == 1
    assert claim(engine)
    beat.end()
    restarted = new_beat(app, monkeypatch)
    restarted.tick()
    assert received(app) == [], "it was run before the restart"
    pass_time(engine, 61)
    restarted.tick()
    assert len(received(app)) == 1
    restarted.end()


def test_entry_due_while_no_beat_runs_is_sent_after_the_restart(
    app: Celery, beat: Beat, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat.end()
    pass_time(engine, 1000)
    restarted = new_beat(app, monkeypatch)
    restarted.tick()
    restarted.tick()
    assert len(received(app)) == 1
    restarted.end()


def test_message_lost_by_the_broker_is_sent_again_after_a_restart(
    app: Celery, beat: Beat, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pass_time(engine, 61)
    beat.tick()
    assert len(received(app)) == 1, "the broker loses it here"
    beat.end()
    restarted = new_beat(app, monkeypatch)
    restarted.tick()
    assert len(received(app)) == 1
    restarted.end()


def test_one_of_two_beats_sends(
    app: Celery, beat: Beat, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = new_beat(app, monkeypatch)
    pass_time(engine, 61)
    assert second.tick() == 2
    assert received(app) == []
    beat.tick()
    assert len(received(app)) == 1
    beat.end()
    second.tick()
    assert len(received(app)) == 1, "it leads; the slot is not claimed yet"
    second.end()


def test_pause_and_period_of_the_database_take_effect_at_the_next_poll(
    app: Celery, beat: Beat, engine: sa.Engine
) -> None:
    pass_time(engine, 61)
    with engine.begin() as connection:
        entries.pause(connection, "sweep")
    beat.tick()
    assert received(app) == []
    with engine.begin() as connection:
        entries.resume(connection, "sweep")
        entries.set_period(connection, "sweep", timedelta(seconds=5))
    pass_time(engine, 5)
    beat.tick()
    (headers,) = received(app)
    assert headers[HEADER]["every"] == 60, "the configured period"
    assert beat.tick() == 2


def test_beat_that_lost_the_lead_sends_nothing(
    app: Celery, beat: Beat, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pass_time(engine, 61)
    beat.watch.poll()
    later = time.monotonic() + 11
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert beat.scheduler.tick() == 2, "it was frozen since the poll"
    assert received(app) == []


def test_beat_without_its_broker_gives_up_the_lead(
    app: Celery, beat: Beat, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = new_beat(app, monkeypatch)
    pass_time(engine, 61)
    with monkeypatch.context() as patch:
        patch.setattr(beat.scheduler.connection, "channel", refuse)
        assert beat.tick() == 2
    hears_broker: bool = getattr(beat.scheduler, "hears_broker")  # noqa: B009 - mypy narrows it
    assert not hears_broker
    beat.watch.poll()
    second.tick()
    assert len(received(app)) == 1, "the other one leads"
    beat.tick()
    assert beat.scheduler.hears_broker, "it has a connection again"
    second.end()


def refuse() -> None:
    raise ConnectionRefusedError("no broker")


def test_message_that_the_broker_refuses_stays_due(
    app: Celery, beat: Beat, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pass_time(engine, 61)

    def fail(*_: object, **__: object) -> None:
        raise OperationalError("OOM command not allowed")

    with monkeypatch.context() as patch:
        patch.setattr(app, "send_task", fail)
        assert beat.tick() == 2
    assert received(app) == []
    beat.tick()
    assert len(received(app)) == 1


def test_entry_is_not_added_to_a_queue_with_a_hundred_messages(
    app: Celery, beat: Beat, engine: sa.Engine
) -> None:
    for _each in range(MAX_WAITING):
        app.send_task("tasks.other")
    pass_time(engine, 61)
    assert beat.tick() == 2, "it tries again"
    assert len(received(app)) == MAX_WAITING
    beat.tick()
    assert len(received(app)) == 1, "it is still due"


def test_entry_without_slot_is_sent_by_celerys_rules(
    app: Celery, monkeypatch: pytest.MonkeyPatch, engine: sa.Engine
) -> None:
    app.conf.beat_schedule = {
        "nightly": {"task": "app.nightly", "schedule": crontab("0", "4")},
        "often": {"task": "app.often", "schedule": schedule(timedelta(hours=1))},
    }
    beat = new_beat(app, monkeypatch)
    assert beat.tick() == 2
    assert received(app) == []
    often = beat.scheduler.schedule["often"]
    often.last_run_at = often.default_now() - timedelta(hours=1)
    beat.tick()
    assert [headers["task"] for headers in received(app)] == ["app.often"]
    with engine.connect() as connection:
        assert entries.read_entries(connection) == []
    beat.end()


def test_scheduler_made_for_introspection_neither_connects_nor_polls(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = list[ScheduleWatch]()
    monkeypatch.setattr(ScheduleWatch, "start", started.append)
    monkeypatch.setattr(scheduler, "make_engine", lambda *_: sa.create_engine("sqlite://"))
    Scheduler(app, lazy=True)
    assert started == []


def test_celeryconfig_loads_no_sqlalchemy(settings: Settings) -> None:
    assert set(make_schedule(settings)) == {
        "refresh-top-customers",
        "sweep",
        "check-rollups",
        "purge-expired",
    }
    code = "import sys, celeryconfig; print('sqlalchemy' in sys.modules, 'celery' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout == "False False\n"
