"""Beats killed, frozen, doubled and cut off: one run per slot, and no half minute without a run."""

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from celery import Celery

from orderworks.core.errors import EntryNotFound
from orderworks.core.redis import make_redis
from orderworks.core.routing import Queue, TaskName
from orderworks.core.schema import beat_runs
from orderworks.core.settings import Settings
from tests.support.beat_log import log_slots, longest_gap, runs, shortest_slot
from tests.support.celery_inspection import messages, waiting
from tests.support.chunk_locks import held_by
from tests.support.processes import (
    CeleryProcess,
    eventually,
    frozen,
    kill,
    ready,
    running,
    running_beat,
    running_worker,
)
from tests.support.servers import Valkey, running_valkey
from tests.support.tcp_proxy import TcpProxy, link_to
from worker import heartbeat
from worker.beat import entries
from worker.beat.schedule import Slot, message_options

REFRESH = "refresh-top-customers"
PERIOD = timedelta(seconds=1)
TAKEOVER = 28
"""Seconds: less than half a minute, gaps of a period included."""

HEALED_WITHIN = 10
"""Seconds within which beat recovers from an outage, or from a flushed broker: some ticks of 2 s."""


@pytest.fixture(autouse=True)
def _slots_are_logged(settings: Settings, engine: sa.Engine) -> None:
    assert settings.report_interval == PERIOD.total_seconds()
    log_slots(engine)


@pytest.fixture
def beat(folder: Path) -> Iterator[Callable[..., CeleryProcess]]:
    """Return a function that starts one more `celery -A worker beat`, in a folder of its own."""
    with ExitStack() as stack:

        def start(name: str, *options: str) -> CeleryProcess:
            service = stack.enter_context(
                running(folder.with_name(name), "beat", "-linfo", *options)
            )
            return ready(service, "beat: Starting")

        yield start


def wait_for_runs(engine: sa.Engine, more: int, within: float = 15) -> None:
    """Wait until this many more slots were run."""
    wanted = len(runs(engine, REFRESH)) + more
    eventually(lambda: len(runs(engine, REFRESH)) >= wanted, within, "no run")


def test_second_beat_takes_over_from_frozen_and_from_killed_leader(
    engine: sa.Engine, worker: CeleryProcess, beat: Callable[..., CeleryProcess]
) -> None:
    first = beat("first")
    eventually(lambda: "beat_leadership_acquired" in first.said(), 20, "no beat leads")
    second = beat("second")
    wait_for_runs(engine, 2)
    assert "beat_leadership_acquired" not in second.said()
    with frozen(first.pid):
        eventually(lambda: "beat_leadership_acquired" in second.said(), TAKEOVER, "no takeover")
        wait_for_runs(engine, 2)
    eventually(lambda: "beat_leadership_lost" in first.said(), 10, "it does not notice")
    wait_for_runs(engine, 2)
    assert first.said().count("beat_leadership_acquired") == 1, "it follows"
    kill(second.pid)
    eventually(lambda: first.said().count("beat_leadership_acquired") == 2, TAKEOVER, "no takeover")
    wait_for_runs(engine, 2)
    found = runs(engine, REFRESH)
    assert shortest_slot(found) >= PERIOD, "one run a slot"
    assert longest_gap(found) < timedelta(seconds=30)
    assert "Traceback" not in first.said()
    assert_only_claims_ran(worker, engine)


def assert_only_claims_ran(worker: CeleryProcess, engine: sa.Engine) -> None:
    """Check that every refresh that did work had claimed its slot, except that of the worker's start."""
    ran = set(re.findall(r"refresh_top_customers\[([0-9a-f-]+)\] succeeded.*as_of", worker.said()))
    claimed = {run.message for run in runs(engine, REFRESH)}
    assert len(ran - claimed) <= 1
    assert len(ran & claimed) > 3, "the log was read"


def test_two_sending_beats_cause_one_run_per_slot(
    engine: sa.Engine, worker: CeleryProcess, beat: Callable[..., CeleryProcess]
) -> None:
    beat("ours")
    beat("foreign", "-S", "celery.beat:PersistentScheduler")
    wait_for_runs(engine, 5)
    assert worker.said().count("beat_slot_already_claimed") > 3, "they were sent twice"
    assert shortest_slot(runs(engine, REFRESH)) >= PERIOD
    assert_only_claims_ran(worker, engine)


def test_messages_queued_without_workers_cause_one_run(
    engine: sa.Engine, settings: Settings, beat: Callable[..., CeleryProcess], folder: Path
) -> None:
    beat("lonely")
    with running_worker(folder, "--concurrency=2") as doomed:
        wait_for_runs(engine, 2)
        doomed.kill_all()
    before = len(runs(engine, REFRESH))
    eventually(lambda: messages(settings, Queue.REPORTS) > 5, 20, "beat sends nothing")
    with running_worker(folder, "--concurrency=2") as worker:
        wait_for_runs(engine, 3)
        eventually(lambda: not messages(settings, Queue.REPORTS), 20, "messages are left")
        assert "beat_slot_already_claimed" in worker.said()
    found = runs(engine, REFRESH)
    outage = found[before].started_at - found[before - 1].started_at
    assert outage > 5 * PERIOD, "there was an outage"
    assert shortest_slot(found) >= PERIOD, "one run, then one a slot"


def test_redelivered_message_of_killed_child_continues_its_slot(
    engine: sa.Engine, settings: Settings, worker: CeleryProcess
) -> None:
    with Celery(broker=settings.broker, set_as_current=False) as sender:
        options = message_options(Slot("sweep", 60))
        with held_by(engine, "LOCK TABLE update_shards"):
            sent = sender.send_task(TaskName.SWEEP.value, queue=Queue.UPKEEP.value, **options)
            (child,) = eventually(lambda: waiting(engine, "relation"), 20, "no sweep runs")
            kill(child)
            eventually(lambda: "WorkerLostError" in worker.said(), 10, "the worker did not notice")

    def has_succeeded() -> bool:
        with engine.connect() as connection:
            return entries.read_entry(connection, "sweep").succeeded_at is not None

    eventually(has_succeeded, 20, "it is not continued")
    assert worker.said().count(f"sweep[{sent.id}] received") == 2, "it was redelivered"
    assert [run.message for run in runs(engine, "sweep")] == [sent.id]


@pytest.fixture
def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Valkey]:
    """A broker for this test only."""
    with running_valkey(tmp_path / "valkey") as server:
        monkeypatch.setenv("REDIS_URL", server.url)
        monkeypatch.setenv("CELERY_BROKER_URL", server.url)
        yield server


def test_beat_recovers_from_broker_outage_and_from_flushed_broker(
    engine: sa.Engine, broker: Valkey, folder: Path
) -> None:
    with (
        running_beat(folder.with_name("beat")) as beat,
        make_redis(broker.url, timeout=5) as client,
    ):
        eventually(lambda: client.llen(Queue.REPORTS), 20, "it sends nothing")
        slow_down(engine, 2)
        broker.kill()
        eventually(lambda: "beat_broker_unavailable" in beat.said(), 20, "it does not notice")
        broker.start()
        client.delete(Queue.REPORTS)
        eventually(lambda: client.llen(Queue.REPORTS), HEALED_WITHIN, "it does not recover")
        client.flushall()
        eventually(lambda: client.llen(Queue.REPORTS), HEALED_WITHIN, "it sends nothing more")
        with running_worker(folder, "--concurrency=2"):
            wait_for_runs(engine, 3)
        assert not beat.has_ended()
        assert "Traceback" not in beat.said()
    assert shortest_slot(runs(engine, REFRESH)) >= timedelta(seconds=2), (
        "the changed period still applies"
    )


def slow_down(engine: sa.Engine, seconds: int) -> None:
    """Change the period as `orderworks beat set` does, once beat has registered the entry."""

    def is_changed() -> bool:
        with engine.begin() as connection, suppress(EntryNotFound):
            return bool(entries.set_period(connection, REFRESH, timedelta(seconds=seconds)).every)
        return False

    eventually(is_changed, 10, "it registers nothing")


@pytest.fixture
def postgresql_proxy(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[TcpProxy]:
    """A proxy to PostgreSQL for every process started from now on."""
    with link_to(settings.database) as postgresql_proxy:
        monkeypatch.setenv("DATABASE_URL", postgresql_proxy.url)
        yield postgresql_proxy


@pytest.fixture
def heartbeat_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The heartbeat file of every process started from now on."""
    file = tmp_path / "heartbeat"
    monkeypatch.setenv(heartbeat.VARIABLE, str(file))
    return file


def test_beat_recovers_from_a_postgresql_outage(
    engine: sa.Engine,
    worker: CeleryProcess,
    postgresql_proxy: TcpProxy,
    beat: Callable[..., CeleryProcess],
    heartbeat_file: Path,
) -> None:
    service = beat("beat")
    wait_for_runs(engine, 2)
    postgresql_proxy.refuse_connections(sys.maxsize)
    end_sessions_of_beat(engine)
    eventually(lambda: "beat_leadership_lost" in service.said(), 10, "it does not notice")
    eventually(lambda: "beat_schedule_read_failed" in service.said(), 10, "it could connect")
    assert postgresql_proxy.refused
    since = time.time()
    eventually(lambda: heartbeat_file.stat().st_mtime > since, 10, "the broker still answers")
    postgresql_proxy.refuse_connections(0)
    wait_for_runs(engine, 3, within=HEALED_WITHIN)
    assert service.said().count("beat_leadership_acquired") == 2
    assert not service.has_ended()
    assert "Traceback" not in service.said()
    assert shortest_slot(runs(engine, REFRESH)) >= PERIOD
    assert not worker.has_ended()


def end_sessions_of_beat(engine: sa.Engine) -> None:
    """End them as a restart of PostgreSQL does."""
    ended = sa.text(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE application_name LIKE 'orderworks-beat:%' AND datname = current_database()"
    )
    with engine.connect() as connection:
        assert connection.scalar(ended)


@pytest.mark.usefixtures("worker")
def test_second_beat_takes_over_from_leader_cut_off_from_postgresql(
    engine: sa.Engine,
    postgresql_proxy: TcpProxy,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    beat: Callable[..., CeleryProcess],
) -> None:
    first = beat("first")
    eventually(lambda: "beat_leadership_acquired" in first.said(), 20, "no beat leads")
    monkeypatch.setenv("DATABASE_URL", settings.database)
    second = beat("second")
    with postgresql_proxy.silence():
        eventually(lambda: "beat_leadership_acquired" in second.said(), TAKEOVER, "no takeover")
        wait_for_runs(engine, 2)
    found = runs(engine, REFRESH)
    assert shortest_slot(found) >= PERIOD
    assert longest_gap(found) < timedelta(seconds=30)
    eventually(lambda: "beat_leadership_lost" in first.said(), 60, "it does not notice")
    assert first.said().count("beat_leadership_acquired") == 1, "it follows"


@pytest.mark.usefixtures("worker")
def test_restarted_beat_leads_at_once_and_repeats_no_daily_run(
    engine: sa.Engine, beat: Callable[..., CeleryProcess]
) -> None:
    purge = "purge-expired"
    first = beat("first")
    wait_for_runs(engine, 1)
    make_due(engine, purge)
    eventually(lambda: runs(engine, purge), 10, "it is not run")
    kill(first.pid)
    second = beat("second")
    wait_for_runs(engine, 3, within=10)
    assert "beat_leadership_acquired" in second.said()
    assert len(runs(engine, purge)) == 1


def make_due(engine: sa.Engine, entry: str) -> None:
    """Make a daily entry overdue."""
    two_days = timedelta(days=2)
    moved = {"since": beat_runs.c.since - two_days}
    with engine.begin() as connection:
        connection.execute(sa.update(beat_runs).where(beat_runs.c.entry == entry).values(moved))
