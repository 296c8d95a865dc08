"""The sweep: it finds work whose message was lost, and no other work."""

from collections.abc import Callable
from datetime import timedelta

import pytest
import sqlalchemy as sa

from orderworks.core import keys
from orderworks.core.locks import Lock, try_lock
from orderworks.core.redis import Redis
from orderworks.core.schema import import_chunks, imports, parked_updates
from orderworks.imports.chunk_attempt import claim_chunk
from orderworks.imports.importer import Importer
from orderworks.imports.ledger import import_summary
from orderworks.maintenance.sweep import LostWork, find_lost_work
from orderworks.updates.messages import OrderUpdate
from orderworks.updates.stream import UpdateStream
from producer.imports.accept import accept_import
from producer.imports.options import ImportOptions
from tests.support.types import AcceptUpdates

NOTHING = LostWork([], [], [])
CUSTOMERS = b"id,name\n1,Ada\n2,Bob\n"

Sweep = Callable[[], LostWork | None]


@pytest.fixture
def sweep(engine: sa.Engine, updates: UpdateStream, importer: Importer) -> Sweep:
    """A function that sweeps once."""
    return lambda: find_lost_work(engine, updates, importer)


@pytest.fixture
def unplanned_import(importer: Importer) -> str:
    """Accept an import that is not planned; return its id."""
    return accept_customers(importer)


def accept_customers(importer: Importer) -> str:
    """Accept a file as a producer does; return the import's id."""
    job = accept_import(
        CUSTOMERS,
        ImportOptions(kind="customers", again=True),
        spool=importer.spool,
        stream=importer.stream,
        settings=importer.settings,
    )
    return job.id


def long_ago(engine: sa.Engine, import_id: str) -> None:
    """Make an import quiet for long enough that its messages count as lost."""
    past = sa.func.now() - timedelta(minutes=5)
    with engine.begin() as connection:
        connection.execute(
            sa.update(imports).where(imports.c.id == import_id).values(nudged_at=past)
        )


def test_sweep_finds_nothing_when_nothing_waits(sweep: Sweep) -> None:
    assert sweep() == NOTHING


def test_sweep_finds_a_shard_whose_nudge_was_lost(
    sweep: Sweep, accept: AcceptUpdates, stream: Redis
) -> None:
    accept([OrderUpdate(order_id=1, total=1)])
    assert sweep() == NOTHING, "the producer's nudge is pending"
    stream.delete(keys.update_nudge(1))
    assert sweep() == LostWork([1], [], [])
    assert sweep() == NOTHING, "now the sweep's own is pending"


def test_sweep_finds_a_shard_with_a_due_parked_update(sweep: Sweep, engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            sa.insert(parked_updates).values(
                shard=1,
                entry=1,
                order_id=1,
                payload=b"{}",
                reason="",
                next_attempt_at=sa.func.now(),
            )
        )
    assert sweep() == LostWork([1], [], [])


def test_sweep_finds_an_unplanned_import(sweep: Sweep, unplanned_import: str) -> None:
    assert sweep() == LostWork([], [unplanned_import], [])
    assert sweep() == NOTHING, "planning may still run"


def test_sweep_finds_an_abandoned_chunk(
    sweep: Sweep, unplanned_import: str, importer: Importer, engine: sa.Engine
) -> None:
    importer.plan(unplanned_import)
    assert sweep() == NOTHING, "its message is pending"
    long_ago(engine, unplanned_import)
    with engine.begin() as worker:
        assert claim_chunk(worker, unplanned_import, 0)
        assert sweep() == NOTHING, "a worker loads it"
    assert sweep() == LostWork([], [], [(unplanned_import, 0)])
    assert sweep() == NOTHING, "the sweep's message is pending"


def test_sweep_finds_no_more_chunks_than_the_imports_queue_holds(
    unplanned_import: str, importer: Importer, engine: sa.Engine, updates: UpdateStream
) -> None:
    importer.plan(unplanned_import)
    unplanned = {accept_customers(importer) for _import in range(3)}
    long_ago(engine, unplanned_import)
    assert find_lost_work(engine, updates, importer, room=0) == NOTHING
    some = find_lost_work(engine, updates, importer, room=2)
    assert some
    assert (len(some.unplanned), some.chunks) == (2, [(unplanned_import, 0)])
    rest = find_lost_work(engine, updates, importer)
    assert rest
    assert {*some.unplanned, *rest.unplanned} == unplanned, "the others are found later"


def test_sweep_finishes_an_import_whose_last_worker_was_lost(
    sweep: Sweep, unplanned_import: str, importer: Importer, engine: sa.Engine
) -> None:
    importer.plan(unplanned_import)
    with engine.begin() as connection:
        connection.execute(sa.update(import_chunks).values(status="done", applied=2))
    assert sweep() == NOTHING
    with engine.connect() as connection:
        assert import_summary(connection, unplanned_import)["status"] == "done"


def test_sweep_does_nothing_while_another_is_running(sweep: Sweep, engine: sa.Engine) -> None:
    with engine.begin() as other:
        assert try_lock(other, Lock.SWEEP)
        assert sweep() is None
