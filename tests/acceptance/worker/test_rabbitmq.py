"""RabbitMQ as the broker: every flow works, and continues after the server was killed."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import amqp
import pytest
import sqlalchemy as sa
from kombu import Connection

from orderworks import outbox
from orderworks.core.redis import Redis
from orderworks.core.routing import Queue
from orderworks.core.settings import Settings
from orderworks.updates.messages import OrderUpdate, Verdict
from orderworks.updates.stream import UpdateStream
from producer import Producer
from tests.support import malformed_messages as malformed
from tests.support.databases import Databases
from tests.support.oracle import (
    Oracle,
    differences,
    make_rows,
    make_updates,
    read_orders,
    seed_orders,
)
from tests.support.processes import ROOT, CeleryProcess, eventually, running_beat, running_worker
from tests.support.rabbitmq import RabbitMQ, find_rabbitmq, running_rabbitmq
from worker import heartbeat

ORDERS, UPDATES = 2_000, 4_000
FILE = "id,customer_id,total\n" + "".join(f"{key},1,5.00\n" for key in range(5001, 6001))

HEALED_WITHIN = 60
"""Seconds from RabbitMQ's restart until all work is done. Celery connects again after 2, 4, 6 … s."""

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """The broker."""
    with running_rabbitmq(find_rabbitmq(), tmp_path_factory.mktemp("rabbitmq") / "run") as server:
        yield server


@pytest.fixture(scope="module")
def settings(
    databases: Databases, environment: Mapping[str, str], folder: Path, rabbitmq: RabbitMQ
) -> Iterator[Settings]:
    """A clean database and Valkeys; the broker is RabbitMQ."""
    variables = {**environment, "CELERY_BROKER_URL": rabbitmq.url}
    with databases.fresh_settings(folder.with_name("home"), **variables) as made:
        yield made


@pytest.fixture(scope="module")
def heartbeat_file(folder: Path) -> Path:
    """The heartbeat file of the worker."""
    return folder.with_name("heartbeat")


@pytest.fixture(scope="module")
def worker(settings: Settings, folder: Path, heartbeat_file: Path) -> Iterator[CeleryProcess]:
    """A worker of two processes, and beat."""
    assert settings.broker.startswith("amqp:")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(heartbeat.VARIABLE, str(heartbeat_file))
        with running_worker(folder, "--concurrency=2") as service:
            patch.delenv(heartbeat.VARIABLE)
            with running_beat(folder):
                yield service


@pytest.fixture(scope="module")
def oracle(settings: Settings) -> Oracle:
    """Orders in the database, and what the updates must make of them."""
    rows = make_rows(ORDERS)
    seed_orders(settings, rows)
    return Oracle(rows)


@pytest.fixture(scope="module")
def sender(oracle: Oracle, worker: CeleryProcess) -> Iterator[Producer]:
    """A producer whose work reaches the worker."""
    assert oracle.rows
    assert not worker.has_ended()
    with Producer.from_settings() as made:
        yield made


def differ(engine: sa.Engine, oracle: Oracle) -> list[object]:
    """The orders that are not as the oracle has them; imported ones are left out."""
    found = read_orders(engine)
    return [*differences({key: found[key] for key in oracle.rows}, oracle.rows)]


def applied(sender: Producer, update: OrderUpdate) -> Callable[[], bool]:
    """Send a tracked update; return a function that waits a moment for it to be applied."""
    receipt = sender.update(update, track=True)
    return lambda: receipt.wait(timeout=20) == Verdict.APPLIED


def orderworks(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own: this one may have used Celery with another broker."""
    return subprocess.run(
        [sys.executable, "-m", "orderworks_app", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_updates_and_imports_are_applied(
    sender: Producer, oracle: Oracle, engine: sa.Engine
) -> None:
    updates = make_updates(oracle.rows, UPDATES, seed=5)
    oracle.take(updates)
    sender.update_many(updates)
    job = sender.import_file(FILE.encode())
    assert job.wait(timeout=30)["applied"] == 1000
    last = OrderUpdate(order_id=1, status="last")
    oracle.take([last])
    assert applied(sender, last)()
    others = OrderUpdate(order_id=2, status="last")
    oracle.take([others])
    assert applied(sender, others)()
    assert not differ(engine, oracle)


def test_update_of_the_outbox_is_applied_at_once(
    sender: Producer, engine: sa.Engine, oracle: Oracle
) -> None:
    update = OrderUpdate(order_id=3, status="from the outbox")
    with engine.begin() as connection:
        outbox.enqueue(connection, [update])
    oracle.take([update])
    eventually(lambda: read_orders(engine)[3][1] == update.status, 10, "it is not applied")


def test_sweep_finds_an_update_without_a_message(
    sender: Producer, engine: sa.Engine, oracle: Oracle, updates: UpdateStream, stream: Redis
) -> None:
    update = OrderUpdate(order_id=4, status="without a message")
    updates.append(0, [update.encode()])
    stream.delete("orders:nudge:{0}")
    oracle.take([update])
    eventually(lambda: read_orders(engine)[4][1] == update.status, 20, "it is not found")


def test_status_and_doctor_are_green(sender: Producer, worker: CeleryProcess) -> None:
    def is_healthy() -> bool:
        status = json.loads(orderworks("status", "--json").stdout)
        return bool(status["healthy"])

    eventually(is_healthy, 40, orderworks("status").stdout, every=1)
    doctor = orderworks("doctor")
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    assert "the broker answers" in doctor.stdout


def test_metrics_count_the_messages(sender: Producer) -> None:
    metrics = orderworks("metrics").stdout
    assert '\norderworks_up{server="broker"} 1.0\n' in metrics
    for queue in Queue:
        assert f'\norderworks_queue_messages{{queue="{queue.value}"}} ' in metrics


def test_worker_renews_its_heartbeat(worker: CeleryProcess, heartbeat_file: Path) -> None:
    eventually(heartbeat_file.exists, 20, "there is no heartbeat")
    before = heartbeat_file.stat().st_mtime
    eventually(lambda: heartbeat_file.stat().st_mtime > before, 5, "it is not renewed")
    assert heartbeat.unhealthy_reason(heartbeat_file) is None


def late_message() -> Any:  # noqa: ANN401 - of py-amqp
    """A message with a header that is a time beyond the year 9999, as no client in Python sends it."""
    valid = malformed.Malformed()
    made: Any = amqp.Message(
        valid.body,
        content_type=valid.kind,
        application_headers={**valid.all_headers(), "when": 1 << 60},
    )
    number, time = b"\x04whenL", b"\x04whenT"
    packed = made._serialize_properties()  # noqa: SLF001 - py-amqp does not write such a time
    assert number in packed
    made._serialize_properties = lambda: packed.replace(number, time)  # noqa: SLF001
    return made


def test_malformed_message_costs_no_other(
    sender: Producer, worker: CeleryProcess, rabbitmq: RabbitMQ, engine: sa.Engine, oracle: Oracle
) -> None:
    messages = [
        *malformed.BODIES.values(),
        *malformed.CONTENT_TYPES.values(),
        *malformed.HEADERS.values(),
    ]
    with Connection(rabbitmq.url) as connection:
        channel: Any = connection.default_channel
        for each in messages:
            made = channel.prepare_message(
                each.body,
                content_type=each.kind,
                content_encoding=each.encoding,
                headers=each.all_headers(),
            )
            channel.basic_publish(made, exchange="", routing_key=Queue.UPDATES.value)
        channel.basic_publish(late_message(), exchange="", routing_key=Queue.UPDATES.value)
    for order_id in (5, 6):
        update = OrderUpdate(order_id=order_id, status="after them")
        oracle.take([update])
        assert applied(sender, update)()
    eventually(lambda: worker.said().count('"message_refused"') == len(messages) + 1, 10)
    assert not worker.has_ended()


def test_work_accepted_while_rabbitmq_is_dead_is_done_when_it_is_back(
    sender: Producer,
    worker: CeleryProcess,
    rabbitmq: RabbitMQ,
    engine: sa.Engine,
    oracle: Oracle,
    heartbeat_file: Path,
) -> None:
    accepted = make_updates(oracle.rows, UPDATES, seed=6)
    sender.update_many(accepted[:1000])
    rabbitmq.kill()
    sender.update_many(accepted[1000:])
    oracle.take(accepted)
    job = sender.import_file(FILE.replace("5.00", "6.00").encode())
    last = OrderUpdate(order_id=7, status="while it is dead")
    oracle.take([last])
    receipt = sender.update(last, track=True)
    rabbitmq.start()
    assert receipt.wait(timeout=HEALED_WITHIN) == Verdict.APPLIED
    assert job.wait(timeout=HEALED_WITHIN)["applied"] == 1000
    eventually(lambda: not differ(engine, oracle), 20, "orders differ")
    restarted = time.time()
    eventually(lambda: heartbeat_file.stat().st_mtime > restarted, 30, "no heartbeat")
    assert not worker.has_ended()
