"""A cache that was away, and many readers among many writers: no old value is left behind."""

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from celery import Celery

from orders import names
from orders.cache import CustomerReads, CustomerSummary
from orders.messages import OrderUpdate
from orders.names import QUEUE_OF, TaskName
from orders.redis import Redis, make_redis
from orders.reports import Window, published_report
from orders.schema import customer_changes
from orders.settings import Settings
from producer import Producer
from tests.oracle import Oracle, differences, read_orders
from tests.processes import Service, eventually, running_worker, worker_and_beat
from tests.servers import Valkey, running_valkey
from tests.watching import is_drained, run

PEOPLE = range(1, 101)

READERS, WRITES = 4, 400


@pytest.fixture
def cache_server(
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Valkey]:
    """A cache of the test's own. It is durable, so that what it held is old when it comes back."""
    with running_valkey(tmp_path / "cache") as server:
        monkeypatch.setenv("CACHE_REDIS_URL", server.url)
        yield server


def test_a_cache_that_was_away_is_true_after_one_refresh(
    engine: sa.Engine, oracle: Oracle, folder: Path, cache_server: Valkey, producer: Producer
) -> None:
    reads = CustomerReads(engine, make_redis(cache_server.url, timeout=5), ttl=600)
    old = summaries(reads)
    updates = [OrderUpdate(order_id=key, total=key, status="paid") for key in oracle.rows]
    oracle.take(updates)
    with running_worker(folder, "--concurrency=2") as worker:
        cache_server.kill()
        producer.update_many(updates)
        eventually(lambda: is_drained(Settings.load()), 30, "updates do not go on")
        assert not differences(read_orders(engine), oracle.rows)
        eventually(sent(TaskName.REFRESH_TOP_CUSTOMERS, worker, "raised"), 10)
        assert waits_to_be_folded(engine), "a refresh that cannot invalidate takes nothing"
        cache_server.start()
        assert summaries(reads) == old, "the cache has come back with what it held"
        eventually(sent(TaskName.REFRESH_TOP_CUSTOMERS, worker, "succeeded"), 10)
    assert not waits_to_be_folded(engine)
    assert summaries(reads) == uncached(engine)
    assert summaries(reads) != old


def summaries(reads: CustomerReads) -> list[CustomerSummary]:
    """What is read of everybody."""
    return [reads.customer_summary(who) for who in PEOPLE]


def uncached(engine: sa.Engine) -> list[CustomerSummary]:
    """What the database says of everybody."""
    nowhere = make_redis("redis://127.0.0.1:1/0", timeout=0.5)
    return summaries(CustomerReads(engine, nowhere, ttl=1))


def sent(task: TaskName, worker: Service, ending: str) -> Callable[[], bool]:
    """Send a task's message; ask what it gives whether the task has ended like this."""
    with Celery(broker=Settings.load().broker, set_as_current=False) as app:
        message = app.send_task(task.value, queue=QUEUE_OF[task].value)
    return lambda: f"[{message.id}] {ending}" in worker.said()


def waits_to_be_folded(engine: sa.Engine) -> bool:
    """Whether the change log holds anything."""
    with engine.connect() as connection:
        return bool(connection.scalar(sa.select(sa.exists().select_from(customer_changes))))


@pytest.mark.usefixtures("oracle")
def test_many_readers_among_many_writers_leave_no_old_value(
    engine: sa.Engine, settings: Settings, cache: Redis, producer: Producer, folder: Path
) -> None:
    reads, over = CustomerReads(engine, cache, ttl=600), threading.Event()
    with worker_and_beat(folder, "--concurrency=2"), ThreadPoolExecutor() as pool:
        readers = [pool.submit(read_until, over, reads, seed) for seed in range(READERS)]
        writers = [
            pool.submit(write_by_producer, producer),
            pool.submit(write_by_sql, engine),
        ]
        for writer in writers:
            writer.result(timeout=60)
        eventually(lambda: is_drained(settings), 20, "updates wait")
        ended = datetime.now(UTC)
        eventually(lambda: as_of(cache) > ended, 10, "no refresh")
        over.set()
        assert sum(reader.result(timeout=20) for reader in readers) > 1000
    cached = [who for who in PEOPLE if cache.hexists(names.customer_cache(who), "summary")]
    assert len(cached) > len(PEOPLE) // 2, "there is something to compare"
    assert summaries(reads) == uncached(engine)


def read_until(over: threading.Event, reads: CustomerReads, seed: int) -> int:
    """Read anybody's summary again and again; how often."""
    dice, count = random.Random(seed), 0
    while not over.is_set():
        reads.customer_summary(dice.choice(PEOPLE))
        count += 1
    return count


def write_by_producer(producer: Producer) -> None:
    """Move orders about and change their totals."""
    dice = random.Random(1)
    for number in range(WRITES):
        order_id, who = dice.randrange(1, 2000), dice.choice(PEOPLE)
        producer.update(OrderUpdate(order_id=order_id, customer_id=who, total=number))


def write_by_sql(engine: sa.Engine) -> None:
    """Change orders behind the workers' back."""
    dice = random.Random(2)
    for number in range(WRITES):
        run(engine, f"UPDATE orders SET total = {number} WHERE id = {dice.randrange(1, 2000)}")


def as_of(cache: Redis) -> datetime:
    """How fresh the published report is."""
    report = published_report(cache, Window.ALL)
    return report.as_of if report else datetime.fromtimestamp(0, UTC)
