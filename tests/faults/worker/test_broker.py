"""Lost messages, and kills of the Redis of broker and stream: no accepted work is lost."""

import io
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import sqlalchemy as sa
from celery import Celery
from kombu.exceptions import OperationalError

from orderworks.core.errors import PartlyAccepted, Unavailable
from orderworks.core.redis import make_redis
from orderworks.core.routing import Queue, TaskName
from orderworks.core.settings import Settings
from orderworks.updates.messages import OrderUpdate
from producer import Producer
from tests.support.celery_inspection import is_drained, messages
from tests.support.oracle import Oracle, differences, read_orders, read_verdicts
from tests.support.processes import eventually, frozen, running_beat, running_worker
from tests.support.servers import Valkey, running_valkey

FILE = b"id,customer_id,total,version\n1000001,1,5,7\n1000002,1,6,7\n"

FOUND_WITHIN = 15
"""Seconds: a lost nudge blocks its shard for ten, until the next sweep."""

SENT = 20_000
KILLED_AT = (7_300, 14_800)


@pytest.fixture
def own_broker(
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Valkey]:
    """A server of the test's own for broker and stream."""
    with running_valkey(tmp_path / "valkey") as server:
        monkeypatch.setenv("REDIS_URL", server.url)
        monkeypatch.setenv("CELERY_BROKER_URL", server.url)
        yield server


def test_sweep_finds_all_work_when_every_message_is_lost(
    engine: sa.Engine, settings: Settings, oracle: Oracle, producer: Producer, folder: Path
) -> None:
    updates = [OrderUpdate(order_id=key, status="found") for key in range(1, 1001)]
    with running_beat(folder):
        with running_worker(folder, "--concurrency=2") as doomed, frozen(doomed.pid):
            producer.update_many(updates)
            job = producer.import_file(FILE)
            with make_redis(settings.broker, timeout=5) as broker:
                broker.flushdb()
            doomed.kill_all()
        eventually(lambda: messages(settings, Queue.UPKEEP), 10, "beat sends no sweep")
        assert not any(messages(settings, queue) for queue in (Queue.UPDATES, Queue.IMPORTS))
        assert not is_drained(settings)
        with running_worker(folder, "--concurrency=2"):
            eventually(lambda: is_drained(settings), FOUND_WITHIN, "updates wait")
            assert job.wait(timeout=FOUND_WITHIN)["applied"] == 2
    oracle.take(updates)
    found = read_orders(engine)
    assert not differences({key: found[key] for key in oracle.rows}, oracle.rows)
    assert read_verdicts(engine) == oracle.verdicts


def test_accepted_updates_survive_kill_of_broker_and_stream(
    engine: sa.Engine, oracle: Oracle, own_broker: Valkey, folder: Path
) -> None:
    updates = [
        OrderUpdate(order_id=number % 9000 + 1, total=number, version=1000 + number)
        for number in range(SENT)
    ]
    oracle.take(updates)
    settings = Settings.load()
    with running_worker(folder, "--concurrency=2"), Producer.from_settings() as producer:
        failures = send_all(producer, killing(own_broker, updates), own_broker)
        assert failures >= len(KILLED_AT), "it was killed each time"
        eventually(lambda: is_swept_clean(settings), 40, "updates wait", every=0.5)
    assert not differences(read_orders(engine), oracle.rows)
    assert read_verdicts(engine)["effective"] == SENT, "each one counted once"


def killing(own_broker: Valkey, updates: list[OrderUpdate]) -> Iterator[OrderUpdate]:
    """Yield the updates; kill the server before some of them."""
    for number, update in enumerate(updates):
        if number in KILLED_AT:
            own_broker.kill()
        yield update


def send_all(producer: Producer, updates: Iterator[OrderUpdate], own_broker: Valkey) -> int:
    """Send all, as an application does; restart the server after each failure. Return the failures."""
    failures, again = 0, list[OrderUpdate]()
    while True:
        try:
            producer.update_many(again)
            again = []
            producer.update_many(updates)
        except PartlyAccepted as error:
            failures += 1
            own_broker.start()
            sent = error.uncertain + error.refused
            again = [update for update in sent if isinstance(update, OrderUpdate)]
        else:
            return failures


def is_swept_clean(settings: Settings) -> bool:
    """Send a sweep in place of beat; return whether no update waits."""
    with Celery(broker=settings.broker, set_as_current=False) as app, suppress(OperationalError):
        app.send_task(TaskName.SWEEP.value, queue=Queue.UPKEEP.value, expires=1)
    return is_drained(settings)


def test_import_refused_by_killed_redis_leaves_no_file_in_spool(
    own_broker: Valkey, tmp_path: Path
) -> None:
    class LastBlocks(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            block = super().read(size)
            if not block:
                own_broker.kill()
            return block

    source = LastBlocks(FILE)
    with Producer.from_settings() as producer, pytest.raises(Unavailable, match="Redis"):
        producer.import_file(source)
    assert source.tell() == len(FILE), "the file was read to its end"
    spool = tmp_path / "home" / "spool"
    assert spool.exists()
    assert not [path for path in spool.rglob("*") if path.is_file()]
