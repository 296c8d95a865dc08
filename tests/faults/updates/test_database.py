"""PostgreSQL ends sessions in the middle of everything: it costs a delay."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from orderworks.core.settings import Settings
from orderworks.updates.messages import OrderUpdate
from orderworks_app.embedded.stack import Stack
from producer import Producer
from tests.support.celery_inspection import drainers, is_drained, terminate_worker_sessions
from tests.support.oracle import Oracle, differences, make_updates, read_orders, read_verdicts
from tests.support.processes import eventually, kill, poll, worker_and_beat
from tests.support.stack_process import server_of
from tests.support.ten_chunk_file import FILE, FIRST, ROWS, finish, in_file

SENT = 50_000

CUTS = 15
PAUSE = 0.15
"""Seconds to wait for a drain before sessions are terminated."""


@pytest.mark.usefixtures("small_chunks")
def test_updates_survive_repeated_session_terminations(
    engine: sa.Engine, settings: Settings, oracle: Oracle, producer: Producer, folder: Path
) -> None:
    updates = make_updates(oracle.rows, SENT, seed=4)
    with worker_and_beat(folder, "--concurrency=3"):
        job = producer.import_file(FILE)
        met = [cut_while_sending(part, producer, engine) for part in parts(updates)]
        assert sum(map(bool, met)) > CUTS // 3, "work was met in the middle again and again"
        summary = finish(job, engine, within=40)
        eventually(lambda: is_drained(settings), 40, "updates wait")
    oracle.take(updates)
    found = read_orders(engine)
    assert (summary["status"], summary["applied"]) == ("done", ROWS)
    assert not differences({key: found[key] for key in found if key >= FIRST}, in_file())
    assert not differences({key: found[key] for key in oracle.rows}, oracle.rows)
    assert read_verdicts(engine) == oracle.verdicts


def test_updates_survive_kill_of_postgresql(
    stack: Stack,
    engine: sa.Engine,
    admin: sa.Engine,
    settings: Settings,
    oracle: Oracle,
    producer: Producer,
    folder: Path,
) -> None:
    updates = make_updates(oracle.rows, SENT, seed=6)
    oracle.take(updates)
    server = server_of(stack)
    with worker_and_beat(folder, "--concurrency=2"):
        producer.update_many(updates)
        eventually(lambda: drainers(engine), 20, "no drain runs")
        kill(server)
        assert not is_drained(settings), "it was in the middle"
        for each in (engine, admin):
            each.dispose()
        eventually(lambda: is_drained(settings), 40, "updates wait")
    assert server_of(stack) != server, "it was started again"
    assert not differences(read_orders(engine), oracle.rows)
    assert read_verdicts(engine) == oracle.verdicts


def parts(updates: list[OrderUpdate]) -> list[list[OrderUpdate]]:
    """The updates, divided among the terminations."""
    size = SENT // CUTS + 1
    return [updates[start : start + size] for start in range(0, SENT, size)]


def cut_while_sending(updates: list[OrderUpdate], producer: Producer, engine: sa.Engine) -> int:
    """Send some updates, and then end all sessions of workers; return the number of busy ones."""
    producer.update_many(updates)
    poll(lambda: drainers(engine), PAUSE)
    return terminate_worker_sessions(engine)
