"""Start and end of a worker: also with threads, and on SIGTERM in the middle of its work."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from orderworks.core.routing import Queue
from orderworks.core.settings import Settings
from orderworks.updates.messages import OrderUpdate
from producer import Producer
from tests.support.celery_inspection import backends, drainers, is_drained, messages, run
from tests.support.oracle import ExpectedRows, read_orders, read_verdicts, seed_orders
from tests.support.processes import ROOT, eventually, pool_children, running_worker

ROWS: ExpectedRows = {key: (1, "new", Decimal(1), 0) for key in range(1, 21)}

SOFT_SHUTDOWN = 2
SENT = 150

OUTSIDE = """
import os
import worker.celery
from celery.signals import worker_process_init
from worker.lifecycle import NotStarted, current

def is_refused():
    try:
        current()
    except NotStarted:
        return True

assert is_refused()
worker_process_init.send(None)
assert current().pid == os.getpid()
if not os.fork():
    os._exit(0 if is_refused() else 1)
assert os.wait()[1] == 0
print("refused before, and in the fork")
"""


@pytest.fixture(scope="module", autouse=True)
def _orders(settings: Settings) -> None:
    seed_orders(settings, ROWS)


def test_threads_pool_does_the_same_work_as_prefork(
    folder: Path, engine: sa.Engine, settings: Settings
) -> None:
    file = b"id,customer_id,total\n500,1,3.50\n"
    with running_worker(folder, "-P", "threads", "--concurrency=2") as worker:
        with Producer.from_settings() as producer:
            assert producer.import_file(file).wait(timeout=20)["applied"] == 1
            producer.update_many(OrderUpdate(order_id=key, status="paid") for key in ROWS)
        eventually(lambda: is_drained(settings), 20)
        assert {each.client for each in backends(engine)} == {worker.pid}
        assert worker.stop(within=15) == 0
    assert {row[1] for key, row in read_orders(engine).items() if key in ROWS} == {"paid"}
    eventually(lambda: not backends(engine), 5, "its connections are closed")


def test_sigterm_stops_busy_worker_in_time_and_requeues_its_message(
    folder: Path, engine: sa.Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPDATE_BATCH", "1")
    monkeypatch.setenv("UPDATE_TIME_SLICE", "60")
    shutdown = f"worker.soft_shutdown_timeout={SOFT_SHUTDOWN}"
    before = read_verdicts(engine)["accepted"]
    with Producer.from_settings() as producer, slowly(engine):
        producer.update_many(OrderUpdate(order_id=2, total=each) for each in range(SENT))
        with running_worker(folder, "--concurrency=1", "--", shutdown) as worker:
            eventually(lambda: drainers(engine), 30, "the task runs")
            children = pool_children(worker)
            assert messages(settings, Queue.UPDATES) == 0, "its message is taken"
            worker.stop(within=SOFT_SHUTDOWN + 10)
    assert messages(settings, Queue.UPDATES) == 1
    assert 0 < read_verdicts(engine)["accepted"] - before < SENT, "it was in the middle"
    assert not any(psutil.pid_exists(child) for child in children)
    with running_worker(folder, "--concurrency=1"):
        eventually(lambda: is_drained(settings), 30, "the next worker takes it")
    assert read_verdicts(engine)["accepted"] - before == SENT
    assert read_orders(engine)[2][2] == SENT - 1


@contextmanager
def slowly(engine: sa.Engine) -> Iterator[None]:
    """Delay every statement that updates orders, inside the block."""
    run(
        engine,
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_sleep(0.2); RETURN NULL; END $$",
        "CREATE TRIGGER dawdle BEFORE UPDATE ON orders "
        "FOR EACH STATEMENT EXECUTE FUNCTION dawdle()",
    )
    try:
        yield
    finally:
        run(engine, "DROP TRIGGER dawdle ON orders", "DROP FUNCTION dawdle()")


@pytest.mark.usefixtures("settings")
def test_task_outside_a_worker_or_in_its_fork_has_no_connections() -> None:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", OUTSIDE],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.stdout == "refused before, and in the fork\n", result.stderr
