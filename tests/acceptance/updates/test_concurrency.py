"""Many producers and many workers at once: order is kept, and nothing is lost or done twice."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa

from orderworks.core.settings import Settings
from orderworks.updates.messages import OrderUpdate
from producer import Producer
from tests.support.celery_inspection import is_drained
from tests.support.oracle import (
    Oracle,
    differences,
    make_rows,
    read_orders,
    read_verdicts,
    write_orders,
)
from tests.support.processes import eventually, running_worker

SHARDS = 4
ORDERS = 200
ROUNDS = 250

SMALL = {"UPDATE_SHARDS": str(SHARDS), "UPDATE_BATCH": "50", "UPDATE_TIME_SLICE": "0.2"}
"""Drains take turns all the time."""


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    """Four shards and drains that take turns all the time."""
    return SMALL


def test_order_of_acceptance_is_kept_under_four_workers(
    engine: sa.Engine, settings: Settings, folder: Path
) -> None:
    rows = make_rows(ORDERS)
    write_orders(engine, rows)
    oracle = Oracle(rows)
    with ExitStack() as workers:
        for number in range(4):
            name = f"--hostname={number}@test"
            workers.enter_context(
                running_worker(folder.with_name(f"worker{number}"), "--concurrency=2", name)
            )
        for part in send_at_once(settings):
            oracle.take(part)
        eventually(lambda: is_drained(settings), 60, "updates wait")
    assert not differences(read_orders(engine), oracle.rows)
    counted = read_verdicts(engine)
    assert counted == {"accepted": ORDERS * ROUNDS, "effective": ORDERS * ROUNDS}


def send_at_once(settings: Settings) -> list[list[OrderUpdate]]:
    """Four threads, each with orders of its own, which it updates again and again, one by one."""
    assert settings.update_shards == SHARDS
    with Producer.from_settings() as producer, ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda first: _send(producer, first), range(1, 5)))


def _send(producer: Producer, first: int) -> list[OrderUpdate]:
    """Updates without versions; those of an order count upwards; some have fewer fields."""
    sent = [
        OrderUpdate(order_id=key, total=number, status=f"{number}" if number % 3 else None)
        for number in range(ROUNDS)
        for key in range(first, ORDERS + 1, 4)
    ]
    middle = len(sent) // 2
    producer.update_many(sent[:middle])
    for update in sent[middle : middle + 500]:
        producer.update(update)
    producer.update_many(sent[middle + 500 :])
    return sent
