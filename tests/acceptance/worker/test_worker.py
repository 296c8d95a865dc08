"""A prefork worker: the owner of each connection, and the effect of a second message."""

from collections.abc import Callable
from decimal import Decimal

import pytest
import sqlalchemy as sa
from celery import Celery

from orderworks.core.routing import QUEUE_OF, TaskName
from orderworks.core.settings import Settings
from orderworks.updates.messages import OrderUpdate
from producer import Producer
from tests.support.celery_inspection import backends, contents, gate, is_drained
from tests.support.oracle import ExpectedRows, read_orders, read_verdicts, seed_orders
from tests.support.processes import CeleryProcess, eventually, has_loaded, pool_children, ports_of

ROWS: ExpectedRows = {key: (1, "new", Decimal(1), 0) for key in range(1, 21)}
FILE = "id,customer_id,total\n" + "".join(f"{key},1,5.00\n" for key in ROWS)

Send = Callable[..., Callable[[], bool]]


@pytest.fixture(scope="module", autouse=True)
def _orders(settings: Settings) -> None:
    seed_orders(settings, ROWS)


@pytest.fixture
def send_task(settings: Settings, worker: CeleryProcess) -> Send:
    """Return a function that sends a task's message; it returns one that reports if the task has run."""
    sender = Celery(broker=settings.broker, set_as_current=False)

    def send_message(task: TaskName, *arguments: object) -> Callable[[], bool]:
        sent = sender.send_task(task.value, args=arguments, queue=QUEUE_OF[task].value)
        return lambda: f"[{sent.id}] succeeded" in worker.said()

    return send_message


def test_processes_share_no_connection(
    worker: CeleryProcess, engine: sa.Engine, settings: Settings
) -> None:
    children = set(pool_children(worker))
    with gate(engine) as barrier, Producer.from_settings() as producer:
        with barrier.shut():
            producer.update_many(OrderUpdate(order_id=key, status="paid") for key in ROWS)
            eventually(lambda: set(barrier.held()) == children, 10, "each child has a shard")
            seen = backends(engine)
            ports = {child: ports_of(child) for child in children}
        eventually(lambda: is_drained(settings), 10)
    assert all(each.port in ports[each.client] for each in seen), (seen, ports)
    assert len(seen) <= 2 * (settings.db_pool_size + settings.db_max_overflow)
    assert not {each.port for each in seen} & ports_of(worker.pid), "the parent holds none"


def test_only_pool_children_load_fork_unsafe_modules(worker: CeleryProcess) -> None:
    with Producer.from_settings() as producer:
        assert producer.import_file(FILE.encode(), again=True).wait(timeout=20)["status"] == "done"
    assert any(has_loaded(child, "polars") for child in pool_children(worker))
    assert not has_loaded(worker.pid, "polars")


@pytest.mark.parametrize("task", TaskName)
def test_redelivered_message_changes_nothing(
    task: TaskName, send_task: Send, engine: sa.Engine, settings: Settings
) -> None:
    with Producer.from_settings() as producer:
        producer.update_many(OrderUpdate(order_id=key, total=key) for key in ROWS)
        job = producer.import_file(FILE.encode(), again=True)
        assert job.wait(timeout=20)["rows"] == len(ROWS)
    eventually(lambda: is_drained(settings), 10)
    eventually(send_task(TaskName.REFRESH_TOP_CUSTOMERS), 10)
    arguments = {
        TaskName.DRAIN_UPDATES: (0,),
        TaskName.APPLY_UPDATES: ([{"order_id": 1, "total": "5"}],),
        TaskName.PLAN_IMPORT: (job.id,),
        TaskName.LOAD_CHUNK: (job.id, 0),
        TaskName.REFRESH_TOP_CUSTOMERS: (),
        TaskName.CHECK_ROLLUPS: (),
        TaskName.SWEEP: (),
        TaskName.PURGE_EXPIRED: (),
    }
    eventually(send_task(task, *arguments[task]), 10, f"{task} ran")
    before = contents(engine)
    for done in [send_task(task, *arguments[task]) for _twice in range(2)]:
        eventually(done, 10, f"{task} ran")
    assert contents(engine) == before


def test_concurrent_duplicate_messages_do_the_work_once(
    send_task: Send, engine: sa.Engine, settings: Settings
) -> None:
    counted = read_verdicts(engine)["accepted"]
    with gate(engine) as barrier, Producer.from_settings() as producer:
        with barrier.shut():
            producer.update(OrderUpdate(order_id=2, total=77))
            eventually(barrier.held, 10, "a drain runs")
            job = producer.import_file(FILE.replace("5.00", "6.00").encode())
            sent = [send_task(TaskName.PLAN_IMPORT, job.id), send_task(TaskName.DRAIN_UPDATES, 0)]
        eventually(lambda: (job.progress() or {}).get("rows") is not None, 10, "no plan")
        sent += [send_task(TaskName.LOAD_CHUNK, job.id, 0) for _twice in range(2)]
        summary = job.wait(timeout=20)
        for done in sent:
            eventually(done, 10)
        eventually(lambda: is_drained(settings), 10)
    assert summary["applied"] + summary["stale"] == len(ROWS)
    assert read_verdicts(engine)["accepted"] == counted + 1
    assert read_orders(engine)[1][2] == 6
