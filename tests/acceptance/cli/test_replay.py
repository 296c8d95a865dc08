"""Dead updates whose cause was fixed are replayed, and applied by a real worker."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from orderworks.core.settings import Settings
from orderworks.updates.messages import OrderUpdate
from producer import Producer
from tests.support.celery_inspection import is_drained
from tests.support.celery_inspection import run as run_sql
from tests.support.commands import RunCommand
from tests.support.oracle import read_orders, read_verdicts, write_orders
from tests.support.processes import CeleryProcess, eventually, worker_and_beat


@pytest.fixture(scope="module", autouse=True)
def worker_without_patience(settings: Settings, folder: Path) -> Iterator[CeleryProcess]:
    """A worker that gives an update up after its second attempt, and beat."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNKNOWN_ORDER_PATIENCE", "0")
        with worker_and_beat(folder, "--concurrency=2") as service:
            yield service


def test_update_dead_lettered_for_unknown_customer_is_replayed_without_overwriting_newer(
    engine: sa.Engine, settings: Settings, run: RunCommand
) -> None:
    def dead(*filters: str) -> int:
        return int(json.loads(run("dead", "--json", *filters).out)["total"])

    write_orders(engine, {2: (1, "new", Decimal(1), 0)})
    with Producer.from_settings() as producer:
        producer.update(OrderUpdate(order_id=7, customer_id=404, total="5"))
        producer.update(OrderUpdate(order_id=2, customer_id=404, total="5"))
        eventually(lambda: dead() == 2, 30, "they wait for their customer")
        producer.update(OrderUpdate(order_id=2, total="9"))
        eventually(lambda: read_orders(engine)[2][2] == 9, 30, "the newer one is not applied")
    assert run("dead").out.count("customer 404 does not exist") == 2
    run_sql(engine, "INSERT INTO customers (id, name) VALUES (404, 'Late')")
    before = read_verdicts(engine)
    assert run("dead", "--replay-all").out == "Replayed 2 updates.\n"
    counted = {"accepted": 2, "effective": 2}
    eventually(lambda: read_verdicts(engine) - before == counted, 30, "not all have a verdict")
    assert is_drained(settings)
    assert read_orders(engine)[7][:3] == (404, "new", Decimal(5))
    # The customer is from the replayed update, the total from the newer one.
    assert read_orders(engine)[2][:3] == (404, "new", Decimal(9))
    assert (dead("--replayed"), dead("--not-replayed")) == (2, 0)
