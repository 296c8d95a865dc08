"""PostgreSQL ends sessions in the middle of everything: it costs a delay."""

import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from orders.settings import Settings
from producer import Producer
from tests.chunked import FILE, FIRST, ROWS, finish, in_file
from tests.oracle import Oracle, differences, make_updates, read_orders, read_verdicts
from tests.processes import eventually, worker_and_beat
from tests.watching import cut_workers, is_drained

SENT = 50_000

CUTS = 15
PAUSE = 0.2
"""Seconds between two cuts."""


@pytest.mark.usefixtures("small_chunks")
def test_sessions_cut_again_and_again_cost_only_time(
    engine: sa.Engine, settings: Settings, oracle: Oracle, producer: Producer, folder: Path
) -> None:
    updates = make_updates(oracle.rows, SENT, seed=4)
    with worker_and_beat(folder, "--concurrency=3"):
        job = producer.import_file(FILE)
        producer.update_many(updates)
        cut = [cut_after(PAUSE, engine) for _cut in range(CUTS)]
        assert sum(map(bool, cut)) > CUTS // 2, "workers were connected nearly each time"
        assert not is_drained(settings), "it was in the middle"
        summary = finish(job, engine, within=40)
        eventually(lambda: is_drained(settings), 40, "updates wait")
    oracle.take(updates)
    found = read_orders(engine)
    assert (summary["status"], summary["applied"]) == ("done", ROWS)
    assert not differences({key: found[key] for key in found if key >= FIRST}, in_file())
    assert not differences({key: found[key] for key in oracle.rows}, oracle.rows)
    assert read_verdicts(engine) == oracle.verdicts


def cut_after(pause: float, engine: sa.Engine) -> int:
    """End all sessions of workers, a moment after the last time; how many there were."""
    time.sleep(pause)
    return cut_workers(engine)
