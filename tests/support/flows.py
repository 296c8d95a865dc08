"""All flows once, through real workers and commands, for servers that few tests run on."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import sqlalchemy as sa

from migrations import runner
from orderworks.core.schema import beat_runs, orders
from orderworks.core.settings import Settings
from orderworks.reports.rebuild import Rebuild
from orderworks.reports.top_customers import TopCustomers
from orderworks.reports.windows import Window
from orderworks.updates import outbox
from orderworks.updates.messages import OrderUpdate, Verdict
from orderworks_app.observability.metrics import Metrics
from producer import Producer
from tests.support.gateways import running_gateway
from tests.support.processes import CeleryProcess, eventually, worker_and_beat

CUSTOMERS = b"id,name\n" + b"".join(b"%d,Customer %d\n" % (each, each) for each in range(1, 51))
ORDERS = b"id,customer_id,total\n" + b"".join(
    b"%d,%d,%d.25\n" % (each, each % 50 + 1, each) for each in range(1, 2001)
)

WITHIN = 30
"""Seconds for a step: many times what one needs."""

READS = 60
"""Concurrent reads of the gateway: more than a pooler has sessions."""


def run_all_flows(settings: Settings, engine: sa.Engine, folder: Path) -> None:
    """Run imports, updates, the outbox, reports and the gateway; check each result."""
    with worker_and_beat(folder, "--concurrency=2") as worker, Producer.from_settings() as producer:
        check_imports(producer)
        check_updates(producer, engine)
        check_reports(settings, engine)
        check_beat(engine)
        check_operation(settings, engine)
        assert "postgres_listen_failed" not in worker.said()
        check_no_task_failed(worker)
    check_gateway(settings)


def check_imports(producer: Producer) -> None:
    """Import customers and orders, then try the orders once more."""
    first = producer.import_file(CUSTOMERS, kind="customers").wait(timeout=WITHIN)
    second = producer.import_file(ORDERS).wait(timeout=WITHIN)
    third = producer.import_file(ORDERS, dry_run=True).wait(timeout=WITHIN)
    assert [each["status"] for each in (first, second, third)] == ["done"] * 3
    assert (first["applied"], second["applied"], third["unchanged"]) == (50, 2000, 2000)


def check_updates(producer: Producer, engine: sa.Engine) -> None:
    """Apply updates of the stream and of the outbox."""
    producer.update_many(OrderUpdate(order_id=each, status="paid") for each in range(1, 1001))
    receipt = producer.update(OrderUpdate(order_id=1001, status="paid"), track=True)
    assert receipt.wait(timeout=WITHIN) is Verdict.APPLIED
    with engine.begin() as connection:
        outbox.enqueue(connection, [OrderUpdate(order_id=1002, status="paid")])
    eventually(lambda: paid(engine) == 1002, WITHIN, "updates wait")


def check_reports(settings: Settings, engine: sa.Engine) -> None:
    """Compare the published report with the orders."""
    total = sa.func.sum(orders.c.total)
    query = sa.select(orders.c.customer_id, total).group_by(orders.c.customer_id)
    with engine.connect() as connection:
        expected = [tuple(row) for row in connection.execute(query.order_by(total.desc()).limit(5))]
    reports = TopCustomers.from_settings(settings)

    def is_published() -> bool:
        rows = reports.read(Window.ALL, limit=5).rows
        return [(each.customer_id, each.total) for each in rows] == expected

    eventually(is_published, WITHIN, "the report differs from the orders")


def check_beat(engine: sa.Engine) -> None:
    """Check that the tasks of beat succeed."""
    succeeded = sa.select(beat_runs.c.succeeded_at.is_not(None)).where(beat_runs.c.entry == "sweep")
    with engine.connect() as connection:
        eventually(lambda: connection.scalar(succeeded), WITHIN, "no sweep succeeds")


def check_operation(settings: Settings, engine: sa.Engine) -> None:
    """Check what operators see: metrics, schema, rollups, status and doctor."""
    metrics = {
        (sample.name, *sample.labels.values()): sample.value
        for family in Metrics.from_settings(settings).collect()
        for sample in family.samples
    }
    assert metrics["orderworks_up", "postgresql"] == 1
    runner.check()
    drift = Rebuild(engine, lambda: None, lambda _label, _counted: None).check(("cancelled",)).drift
    assert drift
    assert drift.total_differences == 0
    # In processes of their own: the app of Celery in this one may have another broker's connections.
    orderworks("doctor")
    parts = json.loads(orderworks("status", "--json"))["parts"]
    assert all(part["healthy"] for part in parts), parts


def check_no_task_failed(worker: CeleryProcess) -> None:
    """Check the worker's log."""
    failures = [line for line in worker.said().splitlines() if "raised unexpected" in line]
    assert not failures, failures[:3]


def check_gateway(settings: Settings) -> None:
    """Read through the gateway, many reads at a time, three times each."""
    paths = [f"/v1/customers/{each % 50 + 1}/orders?limit={each + 1}" for each in range(READS)]
    with (
        running_gateway(settings) as address,
        httpx.Client(base_url=address, timeout=WITHIN) as client,
        ThreadPoolExecutor(20) as pool,
    ):
        for path in paths[:1] * 3 + ["/readyz", "/v1/imports", "/v1/status"]:
            assert client.get(path).status_code == 200, path
        answers = list(pool.map(client.get, paths))
    assert {answer.status_code for answer in answers} == {200}
    assert [len(answer.json()["orders"]) for answer in answers] == [
        min(each + 1, 40) for each in range(READS)
    ]


def paid(engine: sa.Engine) -> int:
    """The number of orders with the status that the updates give."""
    with engine.connect() as connection:
        query = sa.select(sa.func.count()).where(orders.c.status == "paid")
        return int(connection.scalar(query) or 0)


def orderworks(*arguments: str) -> str:
    """The output of a command that succeeds."""
    command = [sys.executable, "-m", "orderworks_app", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
