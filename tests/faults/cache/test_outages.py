"""Outages of the cache, and many concurrent readers and writers: no old value remains cached."""

import random
import re
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from celery import Celery

from orderworks.cache import Cache
from orderworks.core import keys
from orderworks.core.locks import Lock, wait_for_lock
from orderworks.core.redis import Redis
from orderworks.core.routing import QUEUE_OF, TaskName
from orderworks.core.schema import customer_changes
from orderworks.core.settings import Settings
from orderworks.reads import CustomerReads, CustomerSummary
from orderworks.updates.messages import OrderUpdate
from producer import Producer
from tests.support.celery_inspection import is_drained, waiting_entries
from tests.support.oracle import Oracle, differences, read_orders, read_verdicts
from tests.support.processes import CeleryProcess, dawdle, eventually, running_worker
from tests.support.servers import Valkey, running_valkey

PEOPLE = range(1, 101)

DOOMED = 900
"""Updates committed before the worker is killed: one batch per shard."""

A_FEW = range(1, 41)
READERS, WRITES, LAG = 12, 1000, 0.06


@pytest.fixture
def cache_server(
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Valkey]:
    """A cache of the test's own. It is durable, so after a restart it has old values."""
    with running_valkey(tmp_path / "cache") as server:
        monkeypatch.setenv("CACHE_REDIS_URL", server.url)
        yield server


def test_cache_is_correct_after_outage_and_one_refresh(
    engine: sa.Engine, oracle: Oracle, folder: Path, cache_server: Valkey, producer: Producer
) -> None:
    reads = CustomerReads(engine, Cache(cache_server.url, timeout=5), ttl=600)
    old = summaries(reads)
    updates = [OrderUpdate(order_id=key, total=key, status="paid") for key in oracle.rows]
    oracle.take(updates)
    with running_worker(folder, "--concurrency=2") as worker:
        cache_server.kill()
        producer.update_many(updates)
        eventually(lambda: is_drained(Settings.load()), 30, "updates are not drained")
        assert not differences(read_orders(engine), oracle.rows)
        eventually(a_refresh_raised(worker), 10, "no refresh fails without the cache")
        eventually(lambda: all_have_ended(worker), 10, "a task still runs")
        assert waits_to_be_folded(engine), "a refresh that cannot invalidate folds nothing"
        with engine.begin() as connection:  # Without this lock no refresh can invalidate yet.
            assert wait_for_lock(connection, Lock.FOLD, 10)
            cache_server.start()
            assert summaries(reads) == old, "the restarted cache has its old values"
        eventually(sent(TaskName.REFRESH_TOP_CUSTOMERS, worker, "succeeded"), 10)
        # Another one may have run at that time.
        eventually(lambda: not waits_to_be_folded(engine), 10)
    assert summaries(reads) == uncached(engine)
    assert summaries(reads) != old


def test_invalidation_missed_by_worker_killed_after_commit_is_done_later(
    engine: sa.Engine,
    settings: Settings,
    oracle: Oracle,
    folder: Path,
    producer: Producer,
) -> None:
    reads = CustomerReads(engine, Cache.from_settings(settings), ttl=600)
    old = summaries(reads)
    updates = [OrderUpdate(order_id=key, total=key, status="paid") for key in oracle.rows]
    oracle.take(updates[:DOOMED])
    # Three children: the refresh at start blocks one on the cache, and later each of two shards another.
    with hanging_cache(), running_worker(folder, "--concurrency=3") as doomed:
        producer.update_many(updates[:DOOMED])
        eventually(lambda: read_verdicts(engine) == oracle.verdicts, 10, "no commit")
        assert waiting_entries(settings) == DOOMED, "they are applied, and still in the streams"
        doomed.kill_all()
    assert summaries(reads) == old, "the cached values are old"
    with running_worker(folder, "--concurrency=2") as worker:
        producer.update_many(updates[DOOMED:])
        oracle.take(updates[DOOMED:])
        for shard in range(settings.update_shards):
            eventually(sent(TaskName.DRAIN_UPDATES, worker, "succeeded", shard), 20)
        eventually(sent(TaskName.REFRESH_TOP_CUSTOMERS, worker, "succeeded"), 10)
        eventually(lambda: not waits_to_be_folded(engine), 10)
    assert waiting_entries(settings) == 0
    assert not differences(read_orders(engine), oracle.rows)
    assert read_verdicts(engine) == oracle.verdicts
    assert summaries(reads) == uncached(engine) != old


@contextmanager
def hanging_cache() -> Iterator[None]:
    """For services started in the block, the cache accepts connections and never replies."""
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.MonkeyPatch.context() as patch:
        patch.setenv("CACHE_REDIS_URL", f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        patch.setenv("REDIS_TIMEOUT", "60")
        yield


def summaries(reads: CustomerReads) -> list[CustomerSummary]:
    """Return the summaries of all customers as read through the cache."""
    return [reads.customer_summary(who) for who in PEOPLE]


def uncached(engine: sa.Engine) -> list[CustomerSummary]:
    """Return the summaries of all customers from the database."""
    return summaries(CustomerReads(engine, Cache("redis://127.0.0.1:1/0", timeout=0.5), ttl=1))


def sent(task: TaskName, worker: CeleryProcess, ending: str, *arguments: int) -> Callable[[], bool]:
    """Send a task's message; return a function that returns whether the task ended like this."""
    with Celery(broker=Settings.load().broker, set_as_current=False) as app:
        message = app.send_task(task.value, args=arguments, queue=QUEUE_OF[task].value)
    return lambda: f"[{message.id}] {ending}" in worker.said()


def a_refresh_raised(worker: CeleryProcess) -> Callable[[], bool]:
    """Send refreshes until one raises: of two concurrent ones, one does nothing."""
    ended: list[Callable[[], bool]] = []

    def has_raised() -> bool:
        if not ended or ended[-1]():
            ended.append(sent(TaskName.REFRESH_TOP_CUSTOMERS, worker, "succeeded"))
        return "tasks.reports.refresh_top_customers" in raised(worker.said())

    return has_raised


def all_have_ended(worker: CeleryProcess) -> bool:
    """Return whether all tasks that the worker received have ended."""
    said = worker.said()
    return said.count("] received") == said.count("] succeeded") + len(raised(said))


def raised(said: str) -> list[str]:
    """Return the tasks that raised an exception."""
    return re.findall(r"Task ([\w.]+)\[[^\]]*\] raised", said)


def waits_to_be_folded(engine: sa.Engine) -> bool:
    """Return whether the change log has entries."""
    with engine.connect() as connection:
        return bool(connection.scalar(sa.select(sa.exists().select_from(customer_changes))))


class SlowReads(CustomerReads):
    """Reads that often pause between their query and their store, as on a busy machine."""

    def _load_summary(self, customer_id: int) -> CustomerSummary:
        found = super()._load_summary(customer_id)
        dawdle(LAG)
        return found


@pytest.mark.usefixtures("oracle")
def test_slow_readers_among_writers_leave_no_stale_value(
    engine: sa.Engine, settings: Settings, cache: Redis, producer: Producer, folder: Path
) -> None:
    slow, over = SlowReads(engine, Cache.from_settings(settings), ttl=600), threading.Event()
    with running_worker(folder, "--concurrency=2"), ThreadPoolExecutor(READERS + 1) as pool:
        readers = [pool.submit(read_until, over, slow) for _reader in range(READERS)]
        pool.submit(write_orders_of_a_few, producer).result(timeout=60)
        eventually(lambda: is_drained(settings), 20, "updates are pending")
        eventually(lambda: all(is_cached(each, cache) for each in A_FEW), 10, "nothing is cached")
        over.set()
        assert all(reader.result(timeout=20) for reader in readers), "every reader has read"
    assert summaries(slow) == uncached(engine)


def is_cached(customer_id: int, cache: Redis) -> bool:
    """Return whether the customer's summary is cached."""
    return bool(cache.hexists(keys.customer_cache(customer_id), "customer_summary()"))


def read_until(over: threading.Event, reads: CustomerReads) -> int:
    """Read the summaries of a few customers repeatedly; return the number of reads."""
    count = 0
    while not over.is_set():
        reads.customer_summary(random.choice(A_FEW))
        count += 1
    return count


def write_orders_of_a_few(producer: Producer) -> None:
    """Change totals, one update at a time."""
    for number in range(WRITES):
        order_id = random.choice(A_FEW) + 499  # Orders belong to 500 customers in turn.
        producer.update(OrderUpdate(order_id=order_id, total=number))
