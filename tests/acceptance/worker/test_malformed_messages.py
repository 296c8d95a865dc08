"""Messages that Celery cannot process: each is refused, and the worker serves all its queues."""

import itertools
import json
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from celery import Celery

from orderworks.core.redis import Redis, make_redis
from orderworks.core.routing import Queue
from orderworks.core.settings import Settings
from orderworks.updates.messages import OrderUpdate, Verdict
from producer import Producer
from tests.support import malformed_messages as malformed
from tests.support.malformed_messages import Malformed, envelope
from tests.support.oracle import seed_orders
from tests.support.processes import CeleryProcess, eventually, running_worker

FILE = b"id,customer_id,total\n3,1,5.00\n"

APPLIED_WITHIN = 3.0
"""Seconds until an update that follows malformed messages is applied; a tenth of that if none wait."""

STATUSES = map("probe {}".format, itertools.count())

LEFT_OVER = {
    "not JSON": b"not JSON",
    "not three elements": b"[1]",
    "no object": b'[5, "", "updates"]',
    "no queue": b'[{"headers": {}, "properties": {}}, [], {}]',
    "malformed": json.dumps(
        [json.loads(envelope(malformed.BODIES["no embed"])), "", "updates"]
    ).encode(),
}
"""Unreadable messages that an earlier worker left in `unacked`, by tag."""


@pytest.fixture(scope="module")
def broker(settings: Settings) -> Iterator[Redis]:
    """The Valkey of the queues."""
    with make_redis(settings.broker, timeout=5) as client:
        yield client


@pytest.fixture(scope="module")
def worker(broker: Redis, folder: Path) -> Iterator[CeleryProcess]:
    """A worker that finds unreadable messages in `unacked` when it starts."""
    for tag, content in LEFT_OVER.items():
        broker.hset("unacked", tag, content)
        broker.zadd("unacked_index", {tag: 1})
    with running_worker(folder, "--concurrency=2") as service:
        yield service


@pytest.fixture(scope="module")
def producer(settings: Settings, worker: CeleryProcess) -> Iterator[Producer]:
    """A producer whose updates reach the worker; there are two orders, one in each shard."""
    seed_orders(settings, {key: (1, "new", Decimal(1), 0) for key in (1, 2)})
    assert not worker.has_ended()
    with Producer.from_settings() as made:
        yield made


def push(broker: Redis, elements: Iterable[bytes]) -> None:
    """Push the elements, each to the next one of the four queues."""
    for element, queue in zip(elements, itertools.cycle(Queue), strict=False):
        broker.lpush(queue.value, element)


def check_all_is_well(producer: Producer, broker: Redis, worker: CeleryProcess) -> None:
    """Check that updates of each shard are applied, and that no message is left."""
    receipts = [
        producer.update(OrderUpdate(order_id=key, status=next(STATUSES)), track=True)
        for key in (1, 2)
    ]
    for receipt in receipts:
        assert receipt.wait(timeout=APPLIED_WITHIN) == Verdict.APPLIED
    eventually(lambda: is_done(broker), 10, "messages are left")
    assert not worker.has_ended()


def is_done(broker: Redis) -> bool:
    """Return true if no message waits, and none is unacknowledged."""
    waiting = [broker.llen(queue.value) for queue in Queue]
    return not any([*waiting, broker.hlen("unacked"), broker.zcard("unacked_index")])


def refused(worker: CeleryProcess) -> list[dict[str, str]]:
    """The log lines of refused messages."""
    lines = (line for line in worker.said().splitlines() if '"message_refused"' in line)
    return [json.loads(line) for line in lines]


def test_unreadable_messages_of_an_earlier_worker_are_deleted(
    producer: Producer, broker: Redis, worker: CeleryProcess
) -> None:
    check_all_is_well(producer, broker, worker)
    assert "3) not enough values" not in worker.said()
    assert any("[[0], {}]" in line["content"] for line in refused(worker))


@pytest.mark.parametrize(
    "elements",
    [
        [*map(envelope, malformed.BODIES.values())],
        [*map(envelope, malformed.CONTENT_TYPES.values())],
        [*map(envelope, malformed.HEADERS.values())],
        [*malformed.ENVELOPES.values()],
    ],
    ids=["bodies", "content types", "headers", "envelopes"],
)
def test_malformed_message_is_logged_and_costs_no_other(
    elements: list[bytes], producer: Producer, broker: Redis, worker: CeleryProcess
) -> None:
    before = len(refused(worker))
    push(broker, elements)
    check_all_is_well(producer, broker, worker)
    lines = refused(worker)[before:]
    assert len(lines) == len(elements)
    for line in lines:
        assert line["level"] == "error"
        assert line["reason"]
        assert line["content"].isascii()


def test_message_of_failing_task_costs_no_other(
    producer: Producer, broker: Redis, worker: CeleryProcess
) -> None:
    before = len(refused(worker))
    push(broker, map(envelope, malformed.FAILING.values()))
    check_all_is_well(producer, broker, worker)
    assert len(refused(worker)) == before, "their tasks fail, or Celery logs them"


def test_random_garbage_costs_no_other_message(
    producer: Producer, broker: Redis, worker: CeleryProcess
) -> None:
    push(broker, malformed.garbage(100))
    check_all_is_well(producer, broker, worker)


def test_malformed_message_of_remote_control_costs_no_other_message(
    producer: Producer, broker: Redis, worker: CeleryProcess, settings: Settings
) -> None:
    elements = [*malformed.ENVELOPES.values(), *map(envelope, malformed.BODIES.values())]
    # Celery listens again after an error in a command, and misses those that come meanwhile.
    assert sum(broker.publish("/0.celery.pidbox", element) for element in elements)
    check_all_is_well(producer, broker, worker)
    with Celery(broker=settings.broker, set_as_current=False) as app:
        eventually(lambda: app.control.ping(timeout=0.5), 10, "it does not answer")


def test_malformed_messages_behind_busy_children_cost_no_other_message(
    producer: Producer, broker: Redis, worker: CeleryProcess
) -> None:
    """All children are busy with drains when the messages come."""
    producer.update_many(OrderUpdate(order_id=key, status="busy") for key in (1, 2))
    nested = [
        envelope(Malformed(b"[[" + depth * b"[" + depth * b"]" + b"], {}, {}]"))
        for depth in range(80, 1000, 40)
    ]
    push(broker, [*map(envelope, malformed.HEADERS.values()), *nested])
    check_all_is_well(producer, broker, worker)


def test_every_queue_is_still_served(
    producer: Producer, broker: Redis, worker: CeleryProcess
) -> None:
    assert producer.import_file(FILE).wait(timeout=20)["applied"] == 1
    check_all_is_well(producer, broker, worker)
