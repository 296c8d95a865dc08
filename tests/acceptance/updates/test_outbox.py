"""The outbox with real workers: heard at once, found after silence, and not lost with Redis."""

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from orderworks.core.schema import orders
from orderworks.core.settings import Settings
from orderworks.updates import outbox
from orderworks.updates.messages import OrderUpdate
from producer import Producer
from tests.support.celery_inspection import run
from tests.support.oracle import make_rows, write_orders
from tests.support.processes import (
    BEAT_NEVER,
    CeleryProcess,
    eventually,
    running_worker,
    worker_and_beat,
)
from tests.support.servers import running_valkey

LISTENERS = (
    "datname = current_database() AND application_name LIKE 'orderworks-listener:%' "
    "AND wait_event = 'ClientRead'"
)


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    """Nothing is found by the sweep."""
    return BEAT_NEVER


@pytest.fixture(autouse=True)
def order(engine: sa.Engine) -> Iterator[None]:
    """Order 1, new again for each test."""
    write_orders(engine, make_rows(1))
    yield
    run(engine, "TRUNCATE orders, customers")


def enqueue(engine: sa.Engine, total: int) -> None:
    """An app's transaction."""
    with engine.begin() as connection:
        outbox.enqueue(connection, [OrderUpdate(order_id=1, total=total)])


def has_total(engine: sa.Engine, total: int) -> Callable[[], bool]:
    """Return a function that tests whether order 1 has it."""

    def check() -> bool:
        with engine.connect() as connection:
            query = sa.select(orders.c.total).where(orders.c.id == 1)
            return bool(connection.scalar(query) == Decimal(total))

    return check


def listeners(engine: sa.Engine) -> list[int]:
    """The workers that listen."""
    with engine.connect() as connection:
        pid = "split_part(application_name, ':', 2)::int"
        query = f"SELECT {pid} FROM pg_stat_activity WHERE {LISTENERS}"
        return list(connection.scalars(sa.text(query)))


def test_commit_is_noticed(engine: sa.Engine, worker: CeleryProcess) -> None:
    eventually(lambda: listeners(engine), 10, "no worker listens")
    for total in (11, 12, 13):
        enqueue(engine, total)
        eventually(has_total(engine, total), 10, "no listener noticed it")


def test_disconnected_listener_listens_again(engine: sa.Engine, worker: CeleryProcess) -> None:
    eventually(lambda: listeners(engine), 10, "no worker listens")
    with engine.connect() as connection:
        cut = f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {LISTENERS}"
        assert connection.scalar(sa.text(cut)) == 1
    enqueue(engine, 21)  # Missed, or noticed by the listener that has reconnected.
    eventually(has_total(engine, 21), 20, "no sweep found it")
    enqueue(engine, 22)
    eventually(has_total(engine, 22), 10, "no listener noticed it")


def test_only_a_worker_that_takes_updates_listens(
    engine: sa.Engine, worker: CeleryProcess, tmp_path: Path
) -> None:
    with running_worker(tmp_path / "run", "--concurrency=1", "--queues=imports") as other:
        with Producer.from_settings() as producer:
            # Long enough for a listener to connect.
            producer.import_file(b"id,name\n7,Ada\n", kind="customers").wait(timeout=30)
        assert other.pid not in listeners(engine)
        assert worker.pid in listeners(engine)


def test_what_is_committed_while_redis_is_down_is_applied_when_it_is_back(
    engine: sa.Engine, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings.database
    with running_valkey(tmp_path / "valkey") as server:
        monkeypatch.setenv("REDIS_URL", server.url)
        monkeypatch.setenv("CELERY_BROKER_URL", server.url)
        monkeypatch.setenv("SWEEP_INTERVAL", "1")
        with worker_and_beat(tmp_path / "run", "--concurrency=1"):
            server.kill()
            enqueue(engine, 31)
            server.start()
            eventually(has_total(engine, 31), 40, "it was lost")
