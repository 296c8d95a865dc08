"""The nightly check: its slices, also lost and repeated ones."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
import sqlalchemy as sa
from celery import Celery, Task
from celery.signals import worker_process_init, worker_process_shutdown

from orderworks.core.redis import Redis
from orderworks.core.routing import Queue, TaskName
from orderworks.core.schema import rollup_checks
from orderworks.core.settings import Settings
from orderworks.reports import reconcile_runs
from orderworks.reports.refresh import refresh
from tests.support.celery_inspection import contents, run
from tests.support.servers import running_valkey
from tests.support.types import WriteRows
from worker.beat.entries import read_entries
from worker.beat.schedule import Slot, message_options

CUSTOMERS = 6

Slices = Callable[[], list[tuple[int, int]]]


@pytest.fixture
def worker_app(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Celery]:
    """The worker's app, with the resources of a worker in this process, and a broker of its own.

    No other process consumes from that broker, and no connection of an earlier test is used.
    """
    from worker.celery import app as made  # noqa: PLC0415 - reads the environment

    assert settings.database
    with running_valkey(tmp_path / "broker") as server:
        monkeypatch.setenv("CELERY_BROKER_URL", server.url)
        monkeypatch.setattr(made, "_pool", None)
        monkeypatch.setattr(made.amqp, "_producer_pool", None)
        assert made.conf.broker_url == server.url
        made.loader.import_default_modules()
        worker_process_init.send(sender=None)
        yield made
        worker_process_shutdown.send(sender=None)


@pytest.fixture
def check(worker_app: Celery, monkeypatch: pytest.MonkeyPatch) -> Task[..., Any]:
    """The task, with one customer per range and one range per slice."""
    monkeypatch.setattr("orderworks.reports.reconcile.RANGE_ROWS", 1)
    monkeypatch.setattr("tasks.rollups.SLICE_SECONDS", -1.0)
    return worker_app.tasks[TaskName.CHECK_ROLLUPS.value]


@pytest.fixture
def slices(worker_app: Celery) -> Slices:
    """A function that receives the messages for further slices and returns their arguments."""

    def receive() -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        with (
            worker_app.connection() as connection,
            connection.SimpleQueue(Queue.REPORTS.value) as queue,
        ):
            while True:
                try:
                    message = queue.get(block=False)
                except Empty:
                    return found
                message.ack()
                found.append(tuple(message.payload[0]))

    return receive


@pytest.fixture(autouse=True)
def _shop(engine: sa.Engine, cache: Redis, seed: WriteRows) -> None:
    """Create two orders per customer, in right rollups."""
    seed({key: (1 + key % CUSTOMERS, "new", Decimal(key), 0) for key in range(2 * CUSTOMERS)})
    assert refresh(engine, cache, lambda _ids: None, depth=10)


def state(engine: sa.Engine) -> sa.Row[Any]:
    """Return the only run so far."""
    with engine.connect() as connection:
        return connection.execute(sa.select(rollup_checks)).one()


def run_slices(check: Task[..., Any], slices: Slices) -> int:
    """Run slices until there is no message for one; return their number."""
    done = 0
    while waiting := slices():
        for arguments in waiting:
            done += check(*arguments) is not None
    return done


def test_check_completes_slice_by_slice(
    engine: sa.Engine, check: Task[..., Any], slices: Slices
) -> None:
    run(engine, "UPDATE customer_daily SET total = total + 1 WHERE customer_id IN (2, 5)")
    assert check() is not None
    assert run_slices(check, slices) >= CUSTOMERS - 1
    found = state(engine)
    assert found.finished_at
    assert (found.orders, found.customers) == (2 * CUSTOMERS, CUSTOMERS)
    assert (found.customer_daily, found.customer_totals, found.customer_windows) == (2, 0, 0)


def test_repeated_slice_is_done_once(
    engine: sa.Engine, check: Task[..., Any], slices: Slices
) -> None:
    run(engine, "UPDATE customer_daily SET total = total + 1")
    assert check() is not None
    for _slice in range(3):
        [arguments] = slices()
        assert check(*arguments) is not None
        before = contents(engine)
        assert check(*arguments) is None
        assert contents(engine) == before
    run_slices(check, slices)
    assert state(engine).customer_daily == CUSTOMERS


def test_concurrent_starts_are_one_run(
    engine: sa.Engine, check: Task[..., Any], slices: Slices
) -> None:
    assert check() is not None
    assert check() is not None, "it continues the run, whose pool child may have been killed"
    run_slices(check, slices)
    assert check() is None
    assert state(engine).orders == 2 * CUSTOMERS


def test_each_beat_slot_has_its_own_check(
    engine: sa.Engine, check: Task[..., Any], slices: Slices
) -> None:
    for slot in range(2):
        run(engine, "UPDATE customer_daily SET total = total + 1 WHERE customer_id = 2")
        asked = Slot("check-rollups", every=60, forced=True)
        check.push_request(id=f"slot-{slot}", **message_options(asked))
        assert check() is not None
        check.pop_request()
        run_slices(check, slices)
    with engine.connect() as connection:
        found = connection.scalars(sa.select(rollup_checks.c.customer_daily)).all()
        [entry] = read_entries(connection)
    assert found == [1, 1]
    assert entry.runs == 2


def test_check_with_lost_message_is_restarted_the_next_night(
    engine: sa.Engine, check: Task[..., Any], slices: Slices
) -> None:
    assert check() is not None
    [lost] = slices()
    run(engine, "UPDATE rollup_checks SET moved_at = now() - interval '23 hours'")
    assert check() is not None
    run_slices(check, slices)
    with engine.connect() as connection:
        newest = reconcile_runs.last_finished_run(connection)
        assert newest is not None
        assert newest.counted.orders == 2 * CUSTOMERS
    late = check(*lost)
    assert late is not None, "the run is still at its position: its range is reconciled"


def test_check_never_applies_changed_excluded_statuses(
    engine: sa.Engine,
    check: Task[..., Any],
    slices: Slices,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("UNCOUNTED_STATUSES", "new")
    assert check() is not None
    run_slices(check, slices)
    assert state(engine).orders == 2 * CUSTOMERS
