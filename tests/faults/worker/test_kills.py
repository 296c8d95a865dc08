"""kill -9 at any moment: accepted work takes effect once and is counted once."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from orderworks.core.schema import import_chunks
from orderworks.core.settings import Settings
from producer import Producer
from tests.faults.conftest import ORDERS
from tests.support.celery_inspection import drainers, gate, is_drained, run, waiting
from tests.support.oracle import Oracle, differences, make_updates, read_orders, read_verdicts
from tests.support.processes import eventually, kill, running_worker, worker_and_beat
from tests.support.ten_chunk_file import CHUNK, FILE, FIRST, ROWS, counted_orders, finish, in_file

SENT = 50_000
KILLS = 4
BY_SIGKILL = "exited with 'signal 9 (SIGKILL)'"

POISON = FIRST + 3 * CHUNK + 17


def test_killed_children_neither_lose_nor_repeat_an_update(
    engine: sa.Engine, settings: Settings, oracle: Oracle, producer: Producer, folder: Path
) -> None:
    updates = make_updates(oracle.rows, SENT, seed=2)
    with worker_and_beat(folder, "--concurrency=2") as worker:
        assert producer.update_many(updates) == SENT
        oracle.take(updates)
        killed = {kill_one(engine) for _kill in range(KILLS)}
        assert not is_drained(settings), "it was in the middle"
        eventually(lambda: is_drained(settings), 40, "updates wait")
        assert all(f"pid:{pid} {BY_SIGKILL}" in worker.said() for pid in killed)
    assert len(killed) == KILLS
    assert not differences(read_orders(engine), oracle.rows)
    assert read_verdicts(engine) == oracle.verdicts


def kill_one(engine: sa.Engine) -> int:
    """Wait for a child in the middle of a batch, and kill it."""
    victim = eventually(lambda: drainers(engine), 20, "no child drains")[0]
    kill(victim)
    eventually(lambda: victim not in drainers(engine), 10, "its session still exists")
    return victim


def test_killed_worker_neither_loses_nor_repeats_updates_or_chunks(
    engine: sa.Engine,
    settings: Settings,
    oracle: Oracle,
    producer: Producer,
    folder: Path,
    small_chunks: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The chunk is to begin while updates wait, however slowly it comes.
    monkeypatch.setenv("IMPORT_YIELD_LAG", "60")
    updates = make_updates(oracle.rows, SENT, seed=3)
    oracle.take(updates)
    with worker_and_beat(folder, "--concurrency=3") as worker:
        producer.update_many(updates[: SENT // 2])
        eventually(lambda: read_verdicts(engine), 10, "nothing is applied")
        with gate(engine) as barrier, barrier.shut():
            producer.update_many(updates[SENT // 2 :])
            job = producer.import_file(FILE)
            eventually(lambda: len(set(barrier.held())) == 3, 20, "two drain and one imports")
            worker.kill_all()
        assert read_verdicts(engine)["accepted"] < SENT, "it was in the middle"
        with running_worker(folder, "--concurrency=2"):
            assert finish(job, engine)["applied"] == ROWS
            eventually(lambda: is_drained(settings), 30, "updates wait")
    found = read_orders(engine)
    assert not differences({key: found[key] for key in oracle.rows}, oracle.rows)
    assert not differences({key: found[key] for key in found if key >= FIRST}, in_file())
    assert read_verdicts(engine) == oracle.verdicts


@pytest.mark.usefixtures("oracle", "small_chunks")
def test_child_killed_during_import_leaves_each_chunk_loaded_exactly_once(
    engine: sa.Engine, producer: Producer, folder: Path
) -> None:
    with worker_and_beat(folder, "--concurrency=2") as worker:
        with gate(engine) as barrier, barrier.shut():
            job = producer.import_file(FILE)
            killed = eventually(barrier.held, 20, "a chunk is being written")
            kill(killed[0])
        summary = finish(job, engine)
        eventually(lambda: f"pid:{killed[0]} {BY_SIGKILL}" in worker.said(), 10)
    assert (summary["status"], summary["applied"]) == ("done", ROWS)
    assert sum(attempts(engine)) == ROWS // CHUNK + 1
    found = {key: row for key, row in read_orders(engine).items() if key >= FIRST}
    assert not differences(found, in_file())
    assert counted_orders(engine) == ORDERS + ROWS


@pytest.mark.usefixtures("oracle", "small_chunks")
def test_chunk_that_kills_its_workers_is_quarantined_and_others_continue(
    engine: sa.Engine, producer: Producer, folder: Path
) -> None:
    delay_writes_of(engine, POISON)
    with worker_and_beat(folder, "--concurrency=2"):
        job = producer.import_file(FILE)
        victims = {kill_delayed(engine) for _attempt in range(2)}
        summary = finish(job, engine)
    assert len(victims) == 2, "both starts ended with their worker"
    assert summary["status"] == "failed"
    assert summary["error"] == "given up after 2 starts: its worker was lost each time"
    assert (summary["quarantined"], summary["applied"]) == (1, ROWS - CHUNK)
    assert POISON not in read_orders(engine)


def attempts(engine: sa.Engine) -> list[int]:
    """Return the number of starts of each chunk."""
    with engine.connect() as connection:
        return list(connection.scalars(sa.select(import_chunks.c.attempts)))


def delay_writes_of(engine: sa.Engine, order_id: int) -> None:
    """Delay each transaction that writes this order, so that it can be killed."""
    run(
        engine,
        "CREATE FUNCTION delay() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_sleep(0.5); RETURN NEW; END $$",
        "CREATE TRIGGER delay BEFORE INSERT ON orders "
        f"FOR EACH ROW WHEN (NEW.id = {order_id}) EXECUTE FUNCTION delay()",
    )


def kill_delayed(engine: sa.Engine) -> int:
    """Wait for a delayed child, and kill it."""
    victim = eventually(lambda: waiting(engine, "PgSleep"), 20, "no child is delayed")[0]
    kill(victim)
    eventually(lambda: victim not in waiting(engine, "PgSleep"), 10)
    return victim
