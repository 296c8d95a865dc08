"""Messages that carry updates: no fault of worker or database loses one, or counts a letter twice."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from celery import Celery

from orderworks.core.routing import QUEUE_OF, TaskName
from tests.support.celery_inspection import waiting
from tests.support.chunk_locks import AT_THE_TABLE, held_by
from tests.support.oracle import Oracle, read_verdicts
from tests.support.processes import CeleryProcess, eventually, kill

ARGUMENT = [{"order_id": 1, "status": "paid", "version": 1000}, {"order_id": 2, "status": "paid"}]
"""A valid update, and one without a version, whose dead letter needs PostgreSQL."""

SERVED = {"accepted": 2, "effective": 1, "dead": 1}

CUT_ALL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"


@pytest.fixture
def concurrency(oracle: Oracle) -> int:
    """Return the concurrency of a worker with one process, which starts when the orders exist."""
    assert oracle.rows
    return 1


def send(celery_sender: Celery) -> None:
    """Send the message."""
    name = TaskName.APPLY_UPDATES
    celery_sender.send_task(name.value, args=(ARGUMENT,), queue=QUEUE_OF[name].value)


def test_message_of_killed_child_is_processed_exactly_once(
    engine: sa.Engine, worker: CeleryProcess, celery_sender: Celery
) -> None:
    with held_by(engine, "LOCK TABLE dead_updates"):
        send(celery_sender)
        (child,) = eventually(lambda: waiting(engine, AT_THE_TABLE), 20, "it is not served")
        kill(child)
        eventually(
            lambda: waiting(engine, AT_THE_TABLE) not in ([], [child]), 20, "it is not served again"
        )
    eventually(lambda: read_verdicts(engine) == SERVED, 20, "not all is counted once")
    assert f"pid:{child} exited with 'signal 9 (SIGKILL)'" in worker.said()


def test_message_needing_unavailable_postgresql_is_requeued_and_applied_later(
    engine: sa.Engine, worker: CeleryProcess, celery_sender: Celery, admin: sa.Engine
) -> None:
    with database_unavailable(admin, engine):
        send(celery_sender)
        eventually(lambda: "updates_requeued" in worker.said(), 60, "it did not go back")
    eventually(lambda: read_verdicts(engine) == SERVED, 30, "it did not come again")


@contextmanager
def database_unavailable(admin: sa.Engine, engine: sa.Engine) -> Iterator[None]:
    """Refuse connections to the test's database during the block, and end those that exist."""
    name = engine.url.database
    engine.dispose()
    with admin.connect() as connection:
        connection.execute(sa.text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
        connection.execute(sa.text(CUT_ALL), {"name": name})
        try:
            yield
        finally:
            connection.execute(sa.text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
