"""PostgreSQL is read-only for a while, as during a switchover, and sessions opened meanwhile stay so."""

import time
from pathlib import Path

import sqlalchemy as sa

from orderworks.core.schema import beat_runs, orders
from orderworks.core.settings import Settings
from orderworks.updates import outbox
from orderworks.updates.messages import OrderUpdate
from producer import Producer
from tests.support.celery_inspection import backends, is_drained, terminate_worker_sessions
from tests.support.oracle import Oracle
from tests.support.processes import CeleryProcess, eventually, pool_children, worker_and_beat
from tests.support.read_only import new_sessions_are_read_only
from tests.support.ten_chunk_file import FILE, ROWS, finish

HEALED = 10
"""Seconds after which all work is done, once new sessions may write again."""


def test_all_work_is_done_soon_after_new_sessions_may_write_again(
    engine: sa.Engine, settings: Settings, oracle: Oracle, producer: Producer, folder: Path
) -> None:
    first, second = sorted(oracle.rows)[:2]
    with worker_and_beat(folder, "--concurrency=2") as worker:
        eventually(lambda: last_success(engine), 20, "no task of beat succeeds")
        with new_sessions_are_read_only(engine):
            terminate_worker_sessions(engine)
            producer.update(OrderUpdate(order_id=first, status="held"))
            job = producer.import_file(FILE)
            await_sessions(engine, worker)
            assert not is_drained(settings)
        since, before = time.monotonic(), last_success(engine)
        with engine.begin() as connection:
            outbox.enqueue(connection, [OrderUpdate(order_id=second, status="held")])
        summary = finish(job, engine, HEALED)
        eventually(lambda: held(engine) == {first, second}, HEALED, "updates wait")
        eventually(lambda: last_success(engine) > before, HEALED, "beat's tasks fail")
        assert time.monotonic() - since < HEALED
    assert (summary["status"], summary["applied"]) == ("done", ROWS)


def await_sessions(engine: sa.Engine, worker: CeleryProcess) -> None:
    """Wait until each pool child has had a session; it closes those that turn out to be read-only."""
    seen: set[int] = set()

    def all_seen() -> bool:
        seen.update(each.client for each in backends(engine))
        return seen >= {*pool_children(worker)}

    eventually(all_seen, 40, "no sessions")


def last_success(engine: sa.Engine) -> float:
    """The time of the earliest of the last successes of sweep and refresh; 0 without one."""
    succeeded = sa.func.coalesce(sa.extract("epoch", beat_runs.c.succeeded_at), 0)
    often = beat_runs.c.entry.in_(("sweep", "refresh-top-customers"))
    with engine.connect() as connection:
        return float(connection.scalar(sa.select(sa.func.min(succeeded)).where(often)) or 0)


def held(engine: sa.Engine) -> set[int]:
    """The orders with the status that the test gave."""
    with engine.connect() as connection:
        return set(connection.scalars(sa.select(orders.c.id).where(orders.c.status == "held")))
