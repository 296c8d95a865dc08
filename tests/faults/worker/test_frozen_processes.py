"""A worker process that is frozen until another one has done its work, and then continues."""

from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path

import sqlalchemy as sa
from celery import Celery

from orderworks.core.routing import Queue, TaskName
from orderworks.core.schema import import_chunks
from orderworks.core.settings import Settings
from orderworks.updates.messages import OrderUpdate
from producer import Producer
from tests.support.celery_inspection import backends, gate, is_drained, run
from tests.support.oracle import Oracle, differences, read_orders, read_verdicts
from tests.support.processes import (
    CeleryProcess,
    eventually,
    frozen,
    running_beat,
    worker_and_beat,
)

FILE = b"id,customer_id,total,version\n1000001,1,5,7\n1000002,1,6,7\n"


def test_batch_of_thawed_worker_has_no_effect(
    engine: sa.Engine,
    settings: Settings,
    oracle: Oracle,
    worker: CeleryProcess,
    celery_sender: Celery,
) -> None:
    first = [OrderUpdate(order_id=key, status="first") for key in range(2, 400, 2)]
    second = [OrderUpdate(order_id=key, total=77) for key in range(2, 100, 2)]
    oracle.take(first + second)
    with Producer.from_settings() as producer, gate(engine) as barrier, ExitStack() as shut:
        shut.enter_context(barrier.shut())
        producer.update_many(first)
        thawed = eventually(barrier.held, 10, "a batch is being written")[0]
        with frozen(thawed):
            shut.close()
            end_session_of(thawed, engine)
            producer.update_many(second)
            celery_sender.send_task(
                TaskName.DRAIN_UPDATES.value, args=(0,), queue=Queue.UPDATES.value
            )
            eventually(lambda: is_drained(settings), 10, "the other one drains")
            by_the_other = read_orders(engine)
            assert thawed not in clients(engine)
        eventually(lambda: thawed in clients(engine), 10, "the thawed process runs again")
        settled(worker)
    assert not differences(by_the_other, oracle.rows)
    assert not differences(read_orders(engine), oracle.rows)
    assert read_verdicts(engine) == oracle.verdicts


def test_frozen_child_blocks_its_shard_for_at_most_half_a_minute(
    engine: sa.Engine, settings: Settings, oracle: Oracle, worker: CeleryProcess, folder: Path
) -> None:
    updates = [OrderUpdate(order_id=key, status="paid") for key in range(2, 400, 2)]
    oracle.take(updates)
    with Producer.from_settings() as producer, gate(engine) as barrier, ExitStack() as shut:
        shut.enter_context(barrier.shut())
        producer.update_many(updates)
        thawed = eventually(barrier.held, 10, "a batch is being written")[0]
        with running_beat(folder.with_name("beat")), frozen(thawed):
            shut.close()
            eventually(
                lambda: is_drained(settings), 30, "the lock of the frozen process blocks the shard"
            )
            assert thawed not in clients(engine), "PostgreSQL ended its session"
        settled(worker)
    assert not differences(read_orders(engine), oracle.rows)
    assert read_verdicts(engine) == oracle.verdicts


def test_messages_of_frozen_worker_are_processed_by_others(
    engine: sa.Engine, settings: Settings, oracle: Oracle, worker: CeleryProcess, folder: Path
) -> None:
    updates = [OrderUpdate(order_id=key, status="paid") for key in range(1, 400)]
    oracle.take(updates)
    with Producer.from_settings() as producer, frozen(worker.pid):
        producer.update_many(updates)
        with worker_and_beat(folder.with_name("other"), "--concurrency=2"):
            eventually(lambda: is_drained(settings), 30, "the frozen worker has the messages")
    settled(worker)
    assert not differences(read_orders(engine), oracle.rows)
    assert read_verdicts(engine) == oracle.verdicts


def test_chunk_of_thawed_worker_has_no_effect(
    engine: sa.Engine, oracle: Oracle, worker: CeleryProcess, celery_sender: Celery
) -> None:
    with Producer.from_settings() as producer, gate(engine) as barrier, ExitStack() as shut:
        shut.enter_context(barrier.shut())
        job = producer.import_file(FILE)
        thawed = eventually(barrier.held, 10, "the chunk is being written")[0]
        with frozen(thawed):
            shut.close()
            end_session_of(thawed, engine)
            celery_sender.send_task(
                TaskName.LOAD_CHUNK.value, args=(job.id, 0), queue=Queue.IMPORTS.value
            )
            assert job.wait(timeout=10)["applied"] == 2
            run(engine, "UPDATE orders SET total = 99, version = 8 WHERE id = 1000001")
            assert thawed not in clients(engine)
        eventually(lambda: thawed in clients(engine), 10, "the thawed process runs again")
        settled(worker)
    assert read_orders(engine)[1000001][2:] == (Decimal(99), 8)
    assert chunk(engine) == ("done", 2)


def end_session_of(worker: int, engine: sa.Engine) -> None:
    """End the session of a silent worker, as PostgreSQL itself does after a minute."""
    for backend in backends(engine):
        if backend.client == worker:
            run(engine, f"SELECT pg_terminate_backend({backend.pid})")
    eventually(lambda: worker not in clients(engine), 10, "its session still exists")


def clients(engine: sa.Engine) -> set[int]:
    """Return the worker processes that have connections."""
    return {backend.client for backend in backends(engine)}


def settled(worker: CeleryProcess) -> None:
    """Wait until the worker has completed every task that it received."""

    def is_idle() -> bool:
        said = worker.said()
        return said.count("] received") == said.count("] succeeded")

    eventually(is_idle, 10, "a task does not end")


def chunk(engine: sa.Engine) -> tuple[str, int]:
    """Return the status of the only chunk, and the number of its applied rows."""
    query = sa.select(import_chunks.c.status, import_chunks.c.applied)
    with engine.connect() as connection:
        status, applied = connection.execute(query).one()
    return status, applied
