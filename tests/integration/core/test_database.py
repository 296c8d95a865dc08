"""Sessions that became read-only are replaced, and the work that met one is done again."""

from decimal import Decimal

import polars as pl
import pytest
import sqlalchemy as sa
from tenacity import stop_after_attempt

from orderworks.core.database import is_transient, make_engine
from orderworks.core.keys import import_nudge, import_plan
from orderworks.core.redis import Redis
from orderworks.core.schema import customers, orders
from orderworks.core.settings import Settings
from orderworks.imports import ledger
from orderworks.imports.importer import Importer
from orderworks.imports.loading.copy import copy_rows
from orderworks.imports.planner import Planner
from orderworks.reports.refresh import refresh
from orderworks.updates.messages import OrderUpdate
from producer import Producer
from tests.support.chunk_locks import attempts
from tests.support.read_only import (
    fill_pool_with_read_only_sessions,
    new_sessions_are_read_only,
)
from tests.support.types import AcceptUpdates, DrainAll, ReadRows, WriteRows
from worker.beat.entries import PlannedEntry, read_entries
from worker.beat.schedule_watch import ScheduleWatch

FILE = b"id,customer_id,total\n" + b"".join(b"%d,1,5.00\n" % number for number in range(1, 8))


@pytest.fixture
def read_only_engine(engine: sa.Engine, seed: WriteRows) -> sa.Engine:
    """An engine with one order, all of whose pooled sessions are read-only; new ones may write."""
    seed({900: (1, "new", Decimal(5), 1)})
    fill_pool_with_read_only_sessions(engine)
    return engine


@pytest.mark.usefixtures("read_only_engine")
def test_drain_applies_updates_with_a_pool_of_read_only_sessions(
    accept: AcceptUpdates, drain: DrainAll, rows: ReadRows
) -> None:
    accept([OrderUpdate(order_id=900, status="paid")])
    drain()
    assert rows()[900][1] == "paid"


@pytest.mark.usefixtures("read_only_engine")
def test_import_with_read_only_sessions_is_loaded_with_one_counted_start_per_chunk(
    importer: Importer, producer: Producer
) -> None:
    job = producer.import_file(FILE)
    for number in importer.plan(job.id):
        fill_pool_with_read_only_sessions(importer.engine)
        importer.load_chunk(job.id, number)
    with importer.engine.connect() as connection:
        summary = ledger.import_summary(connection, job.id)
    assert (summary["status"], summary["applied"]) == ("done", 7)
    assert attempts(importer.engine, job.id) == [1, 1, 1]


def test_import_whose_plan_met_a_read_only_server_may_be_nudged_at_once(
    engine: sa.Engine, importer: Importer, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Planner.plan.retry, "stop", stop_after_attempt(1))
    job = producer.import_file(FILE)
    with (
        new_sessions_are_read_only(engine),
        pytest.raises(sa.exc.DBAPIError, match="read-only transaction"),
    ):
        importer.plan(job.id)
    assert not importer.stream.exists(import_nudge(job.id))
    assert importer.stream.hget(import_plan(job.id), "starts") == b"0"


def test_second_refresh_with_read_only_sessions_publishes(
    read_only_engine: sa.Engine, cache: Redis
) -> None:
    def invalidate(_ids: object) -> None: ...

    with pytest.raises(sa.exc.DBAPIError, match="read-only"):
        refresh(read_only_engine, cache, invalidate, 10)
    refreshed = refresh(read_only_engine, cache, invalidate, 10)
    assert refreshed
    assert refreshed.published


def test_beat_registers_its_entries_by_its_second_poll_with_read_only_sessions(
    read_only_engine: sa.Engine,
) -> None:
    watch = ScheduleWatch(read_only_engine, [PlannedEntry("sweep", "tasks.upkeep.sweep", 5)])
    with pytest.raises(sa.exc.DBAPIError, match="read-only"):
        watch.poll()
    watch.poll()
    with read_only_engine.connect() as connection:
        assert [each.entry for each in read_entries(connection)] == ["sweep"]
    assert watch.snapshot_if_leading()
    watch._leader_lock.release()  # noqa: SLF001 - as its thread does at its end


def test_copy_into_a_read_only_session_ends_the_session_and_may_be_retried(
    settings: Settings,
) -> None:
    engine = make_engine(settings, "orderworks-test")
    with engine.connect() as connection:
        connection.execute(sa.insert(customers), {"id": 1, "name": "Ada"})
        connection.commit()
        connection.execute(sa.text("SET TRANSACTION READ ONLY"))
        with pytest.raises(sa.exc.DBAPIError, match="read-only") as caught:
            copy_rows(connection, orders, pl.DataFrame({"id": [1], "customer_id": [1]}))
        assert connection.invalidated
        assert is_transient(caught.value)
    engine.dispose()
