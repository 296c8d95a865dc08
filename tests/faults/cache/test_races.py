"""Concurrent readers and writers, stopped or with a flushed cache: no old value is ever read."""

import asyncio
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import asyncpg
import pytest
import sqlalchemy as sa

from orderworks.cache import Cache, invalidate, read_through
from orderworks.cache.backend import AVOID_SECONDS
from orderworks.core import keys
from orderworks.core.redis import Redis
from orderworks.core.schema import customers, orders
from orderworks.core.settings import Settings
from orderworks.reads import AsyncCustomerReads, Cursor, CustomerReads, CustomerSummary, Order
from tests.support.processes import dawdle, eventually
from tests.support.reader_process import reading_process

TIMEOUT = 20
PEOPLE = range(1, 11)
THREADS, TASKS, PROCESSES = 24, 24, 2
WRITERS, WRITES = 4, 100

SUMMARY_LEASE = keys.cache_lease(keys.customer_cache(1), "customer_summary()")


@pytest.fixture(autouse=True)
def customers_with_orders(engine: sa.Engine) -> None:
    """A few customers with two orders each."""
    with engine.begin() as connection:
        people = [{"id": each, "name": f"Customer {each}"} for each in PEOPLE]
        connection.execute(sa.insert(customers), people)
        rows = [
            {"id": 2 * who + n, "customer_id": who, "total": 1} for who in PEOPLE for n in (0, 1)
        ]
        connection.execute(sa.insert(orders), rows)


@pytest.fixture
def truth(engine: sa.Engine) -> CustomerReads:
    """Reads from the database, without a cache."""
    return CustomerReads(engine, Cache("redis://127.0.0.1:1/0", timeout=1), ttl=1)


def write(engine: sa.Engine, customer_id: int, total: int) -> None:
    """Change all orders of a customer, and commit."""
    with engine.begin() as connection:
        mine = orders.c.customer_id == customer_id
        connection.execute(sa.update(orders).where(mine).values(total=total))


class HeldReads(CustomerReads):
    """Reads of which one is blocked between its query and its store until it is released."""

    def __init__(self, engine: sa.Engine, settings: Settings) -> None:
        super().__init__(engine, Cache.from_settings(settings), ttl=600)
        self.has_queried, self.goes_on = threading.Event(), threading.Event()

    def _load_summary(self, customer_id: int) -> CustomerSummary:
        found = super()._load_summary(customer_id)
        self.has_queried.set()
        assert self.goes_on.wait(TIMEOUT)
        return found


@pytest.mark.parametrize("second", ["reads before the store", "waits for it", "reads after it"])
def test_reader_stopped_before_store_publishes_no_stale_value(
    engine: sa.Engine, settings: Settings, cache: Redis, truth: CustomerReads, second: str
) -> None:
    held = HeldReads(engine, settings)
    with reading_process() as process, ThreadPoolExecutor() as pool:
        stopped = pool.submit(held.customer_summary, 1)
        assert held.has_queried.wait(TIMEOUT), "the reader is before its store"
        write(engine, 1, total=70)
        invalidate(cache, [1])
        if second == "reads before the store":
            cache.delete(SUMMARY_LEASE)  # as if it had expired
            assert process.customer_summary(1).total == 140
        elif second == "waits for it":
            process.ask(1)
            eventually(
                lambda: cache.exists(keys.customer_cache(1)),
                TIMEOUT,
                "the other process has not read",
            )
        held.goes_on.set()
        assert stopped.result(TIMEOUT).total == 2, "its own caller gets the value"
        seen = process.answer() if second == "waits for it" else process.customer_summary(1)
    assert seen == held.customer_summary(1) == truth.customer_summary(1)


def test_two_processes_compute_a_value_once(
    engine: sa.Engine, settings: Settings, cache: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_through, "LEASE_SECONDS", 2.0 * TIMEOUT)  # on a busy machine too
    held = HeldReads(engine, settings)
    with reading_process() as process, ThreadPoolExecutor() as pool:
        first = pool.submit(held.customer_summary, 1)
        assert held.has_queried.wait(TIMEOUT)
        write(engine, 1, total=70)  # Not invalidated: a second query would return another value.
        before = evaluations(cache)
        process.ask(1)
        eventually(lambda: evaluations(cache) >= before + 2, TIMEOUT, "the reader does not wait")
        held.goes_on.set()
        assert process.answer() == first.result(TIMEOUT)


def evaluations(cache: Redis) -> int:
    """Return how many scripts were run: each asks for a lease, again after a pause, or releases one."""
    return sum(
        int(stats["calls"])
        for command, stats in cache.info("commandstats").items()
        if command in {"cmdstat_eval", "cmdstat_evalsha"}
    )


class Watched:
    """Counts the concurrent computations of each value."""

    def __init__(self) -> None:
        self.most = 0
        self._under_way: Counter[object] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def computing(self, *value: object) -> Iterator[None]:
        """Count one computation during the block."""
        with self._lock:
            self._under_way[value] += 1
            self.most = max(self.most, self._under_way[value])
        try:
            yield
        finally:
            with self._lock:
                self._under_way[value] -= 1


class WatchedReads(CustomerReads):
    """Reads of threads that count computations, and are slow at times between query and store."""

    def __init__(self, engine: sa.Engine, cache: Cache, watched: Watched) -> None:
        super().__init__(engine, cache, ttl=600)
        self._watched = watched

    def _load_summary(self, customer_id: int) -> CustomerSummary:
        with self._watched.computing("summary", customer_id):
            found = super()._load_summary(customer_id)
            dawdle(0.01)
            return found

    def _load_orders(self, customer_id: int, limit: int, before: Cursor | None) -> list[Order]:
        with self._watched.computing("orders", customer_id):
            return super()._load_orders(customer_id, limit, before)


class AsyncWatchedReads(AsyncCustomerReads):
    """The same for tasks."""

    def __init__(self, pool: asyncpg.Pool, cache: Cache, watched: Watched) -> None:
        super().__init__(pool, cache, ttl=600)
        self._watched = watched

    async def _load_summary(self, customer_id: int) -> CustomerSummary:
        with self._watched.computing("summary", customer_id):
            found = await super()._load_summary(customer_id)
            await asyncio.to_thread(dawdle, 0.01)
            return found


@pytest.mark.parametrize("cache_is", ["kept", "flushed at random"])
def test_fifty_readers_among_writers_leave_no_stale_value(
    engine: sa.Engine, settings: Settings, cache: Redis, truth: CustomerReads, cache_is: str
) -> None:
    shared, watched = Cache.from_settings(settings), Watched()
    written, over = threading.Event(), threading.Event()
    reads = WatchedReads(engine, shared, watched)
    with ThreadPoolExecutor(THREADS + PROCESSES + WRITERS + 2) as pool:
        readers = [pool.submit(read_until, over, reads) for _thread in range(THREADS)]
        readers += [pool.submit(read_elsewhere_until, over) for _process in range(PROCESSES)]
        readers.append(pool.submit(run_tasks_until, over, settings, shared, watched))
        if cache_is == "kept":
            written.set()
        flusher = pool.submit(flush_until, written, cache)
        writers = [pool.submit(write_some, engine, cache) for _writer in range(WRITERS)]
        for writer in writers:
            writer.result(100)
        written.set()
        assert bool(flusher.result(TIMEOUT)) == (cache_is == "flushed at random")
        eventually(
            lambda: all(is_cached(each, cache) for each in PEOPLE), TIMEOUT, "nothing is cached"
        )
        over.set()
        assert all(reader.result(TIMEOUT) for reader in readers), "every reader has read"
    with reading_process() as process:
        for who in PEOPLE:
            expected = truth.customer_summary(who)
            assert reads.customer_summary(who) == process.customer_summary(who) == expected
            assert reads.customer_orders(who) == truth.customer_orders(who)
    assert watched.most == 1, "at most one computation of a value in a process"


def is_cached(customer_id: int, cache: Redis) -> bool:
    """Return whether both reads of the customer are cached."""
    fields = ("customer_summary()", "customer_orders(20,None)")
    return all(cache.hmget(keys.customer_cache(customer_id), *fields))


def read_until(over: threading.Event, reads: CustomerReads) -> int:
    """Read repeatedly; return the number of reads."""
    count = 0
    while not over.is_set():
        reads.customer_summary(random.choice(PEOPLE))
        reads.customer_orders(random.choice(PEOPLE))
        count += 1
    return count


def read_elsewhere_until(over: threading.Event) -> int:
    """Do the same in another process."""
    with reading_process() as process:
        count = 0
        while not over.is_set() or not count:
            process.customer_summary(random.choice(PEOPLE))
            count += 1
        return count


def run_tasks_until(
    over: threading.Event, settings: Settings, shared: Cache, watched: Watched
) -> int:
    """Do the same by many tasks of one event loop."""

    async def read_on(reads: AsyncCustomerReads) -> int:
        count = 0
        while not over.is_set():
            await reads.customer_summary(random.choice(PEOPLE))
            count += 1
        return count

    async def run() -> int:
        async with asyncpg.create_pool(settings.database, min_size=1, max_size=3) as pool:
            reads = AsyncWatchedReads(pool, shared, watched)
            counts = await asyncio.gather(*(read_on(reads) for _task in range(TASKS)))
        await shared.aclose()
        return min(counts)

    return asyncio.run(run())


def write_some(engine: sa.Engine, cache: Redis) -> None:
    """Change customers and invalidate them, as a worker does."""
    for _write in range(WRITES):
        who = random.choice(PEOPLE)
        write(engine, who, total=random.randrange(1000))
        invalidate(cache, [who])


def flush_until(over: threading.Event, cache: Redis) -> int:
    """Empty the cache at random times; return how often."""
    count = 0
    while not over.wait(random.random() * 0.05):
        cache.flushall()
        count += 1
    return count


class Silent:
    """A server that accepts connections and never replies.

    Attributes:
        accepted: number of accepted connections.
    """

    def __init__(self, listener: socket.socket) -> None:
        self.accepted: list[socket.socket] = []
        self._listener = listener

    def serve(self) -> None:
        """Accept connections until the socket is closed."""
        with suppress(OSError):
            while True:
                self.accepted.append(self._listener.accept()[0])


@contextmanager
def silent_server() -> Iterator[tuple[str, Silent]]:
    """Yield the server's address, and the server."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        silent = Silent(listener)
        thread = threading.Thread(target=silent.serve, daemon=True)
        thread.start()
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0", silent
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)
    for each in silent.accepted:
        each.close()


def test_reads_try_an_unresponsive_cache_only_once_per_avoidance_period(
    engine: sa.Engine, truth: CustomerReads
) -> None:
    with silent_server() as (url, silent):
        reads = CustomerReads(engine, Cache(url, timeout=0.2), ttl=60)
        began = time.monotonic()
        for _read in range(200):
            assert reads.customer_summary(1) == truth.customer_summary(1)
        elapsed = time.monotonic() - began
        assert 1 <= len(silent.accepted) <= 1 + elapsed / AVOID_SECONDS


def test_async_reads_use_database_while_cache_is_unresponsive(
    engine: sa.Engine, settings: Settings, truth: CustomerReads
) -> None:
    async def run(url: str) -> list[CustomerSummary]:
        cache = Cache(url, timeout=0.2)
        async with asyncpg.create_pool(settings.database, min_size=1, max_size=3) as pool:
            reads = AsyncCustomerReads(pool, cache, ttl=60)
            found = await asyncio.gather(*(reads.customer_summary(who) for who in PEOPLE))
        await cache.aclose()
        return found

    with silent_server() as (url, _silent):
        assert asyncio.run(run(url)) == [truth.customer_summary(who) for who in PEOPLE]


def test_concurrent_readers_without_cache_share_one_computation(
    engine: sa.Engine, truth: CustomerReads
) -> None:
    watched = Watched()
    reads = WatchedReads(engine, Cache("redis://127.0.0.1:1/0", timeout=1), watched)
    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(reads.customer_summary, [1] * 10 * THREADS))
    assert found == [truth.customer_summary(1)] * 10 * THREADS
    assert watched.most == 1
