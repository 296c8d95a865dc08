"""Cached functions: a value is computed once within its lifetime, by one reader at a time."""

import asyncio
import gc
import inspect
import logging
import math
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import psutil
import pytest

from orderworks.cache import READS, Cache, cache_counts, invalidate, read_through, single_flight
from orderworks.core import keys
from orderworks.core.redis import Redis
from orderworks.core.settings import Settings
from tests.support.processes import eventually
from tests.support.tcp_proxy import link_to

TIMEOUT = 20
"""Seconds for which a test waits."""

READERS = 10

HEADER = struct.Struct("<dd")

KEY, FIELD = keys.customer_cache(1), "load(0)"
LEASE = keys.cache_lease(KEY, FIELD)

CACHING = str(Path(read_through.__file__).parent)

T = TypeVar("T")


@pytest.fixture
def cached(settings: Settings) -> Iterator[Cache]:
    """The cache, closed after the test."""
    made = Cache.from_settings(settings)
    yield made
    made.close()


class Source:
    """A function to be cached: returns the number of the call, and can be blocked in a call."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []
        self._may_return = threading.Event()
        self._may_return.set()

    def load(self, customer_id: int, kind: int = 0) -> int:
        """Return the number of this call."""
        self.calls.append((customer_id, kind))
        mine = len(self.calls)
        assert self._may_return.wait(TIMEOUT)
        return mine

    def block(self) -> threading.Event:
        """Block calls from now on until the event is set."""
        self._may_return = threading.Event()
        return self._may_return


@pytest.fixture
def source() -> Source:
    """The function to be cached."""
    return Source()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Threads of readers."""
    with ThreadPoolExecutor(READERS + 1) as made:
        yield made


def stored(cache: Redis, field: str) -> bytes:
    """Return the cached bytes of a field: two times, then the value."""
    (raw,) = cache.hmget(KEY, field)
    assert isinstance(raw, bytes)
    return raw


def age(cache: Redis, seconds: float) -> None:
    """Make the cached value older by these seconds."""
    raw = stored(cache, FIELD)
    moments = (moment - seconds for moment in HEADER.unpack_from(raw))
    cache.hset(KEY, FIELD, HEADER.pack(*moments) + raw[HEADER.size :])


def lookups(cache: Redis) -> int:
    """Return how many lookups of cached values there were."""
    return int(cache.info("commandstats").get("cmdstat_hget", {"calls": 0})["calls"])


def read_and_wait(
    pool: ThreadPoolExecutor, read: Callable[[int], T], cache: Redis
) -> list[Future[T]]:
    """Start readers while a computation runs; return them once they poll for its result."""
    started: list[int] = []

    def count_and_read() -> T:
        started.append(1)
        return read(1)

    readers = [pool.submit(count_and_read) for _reader in range(READERS)]
    eventually(lambda: len(started) == READERS, TIMEOUT)
    before = lookups(cache)
    eventually(lambda: lookups(cache) >= before + 5 * READERS, TIMEOUT, "readers do not wait")
    return readers


def test_cached_value_is_not_computed_again(cached: Cache, source: Source) -> None:
    read = cached.per_customer(ttl=60)(source.load)
    assert [read(1), read(1, 0), read(1, kind=0), read(kind=0, customer_id=1)] == [1, 1, 1, 1]
    assert [read(2), read(1, 5), read(1)] == [2, 3, 1]
    assert source.calls == [(1, 0), (2, 0), (1, 5)]


def test_cached_function_keeps_its_signature_and_docstring(cached: Cache) -> None:
    @cached.per_customer(ttl=60)
    def visits(customer_id: int, since: int = 3) -> int:
        """Return the number of visits."""
        return customer_id + since

    assert visits(1, since=4) == 5
    assert visits.__doc__ == "Return the number of visits."
    assert str(inspect.signature(visits)) == "(customer_id: int, since: int = 3) -> int"


def test_threads_and_tasks_share_values_cached_under_one_name(
    cached: Cache, source: Source
) -> None:
    read = cached.per_customer(ttl=60, name="load")(source.load)

    @cached.per_customer(ttl=60, name="load")
    async def read_async(customer_id: int, kind: int = 0) -> int:
        return source.load(customer_id, kind)

    async def run() -> list[int]:
        found = [await read_async(1), await read_async(2)]
        await cached.aclose()
        return found

    assert read(1) == 1
    assert asyncio.run(run()) == [1, 2]
    assert asyncio.run(run()) == [1, 2], "each event loop has connections of its own"
    assert read(2) == 2


def test_event_loops_leave_no_open_connection(cached: Cache) -> None:
    @cached.per_customer(ttl=60)
    async def read(customer_id: int) -> int:
        return customer_id

    async def run() -> int:
        return await read(1)

    before = psutil.Process().num_fds()
    assert [asyncio.run(run()) for _request in range(50)] == [1] * 50
    assert len(psutil.Process().net_connections()) <= before


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_connections_of_closed_loops_are_closed_by_the_next_loop(cached: Cache) -> None:
    @cached.per_customer(ttl=60)
    async def read(customer_id: int) -> int:
        return customer_id

    async def run() -> int:
        return await read(1)

    before = len(psutil.Process().net_connections())
    for _request in range(20):
        with closing(asyncio.new_event_loop()) as loop:
            assert loop.run_until_complete(run()) == 1
    del loop
    assert asyncio.run(run()) == 1
    gc.collect()
    assert len(psutil.Process().net_connections()) <= before


def test_shared_value_is_removed_by_invalidation_of_any_customer(
    cached: Cache, source: Source, cache: Redis
) -> None:
    @cached.shared(ttl=60)
    def best(limit: int) -> list[int]:
        return [source.load(limit)]

    assert [best(3), best(3), best(limit=3)] == [[1], [1], [1]]
    invalidate(cache, [])
    assert best(3) == [1]
    invalidate(cache, [4711])
    assert best(3) == [2]


def test_expiry_is_spread_over_a_fifth_of_the_ttl(
    cached: Cache, source: Source, cache: Redis
) -> None:
    read = cached.per_customer(ttl=1000, stale=100)(source.load)
    began = time.time()
    for kind in range(20):
        read(1, kind)
    lifetimes = []
    for kind in range(20):
        fresh, stale = HEADER.unpack_from(stored(cache, f"{__name__}.Source.load({kind})"))
        assert stale == pytest.approx(fresh + 100)
        lifetimes.append(fresh - began)
    assert 800 <= min(lifetimes) < max(lifetimes) <= 1000 + time.time() - began
    assert len(set(lifetimes)) > 10
    assert 0 < cache.ttl(KEY) <= 1100


def test_stale_value_is_served_to_all_readers_except_the_computing_one(
    cached: Cache, source: Source, cache: Redis, pool: ThreadPoolExecutor
) -> None:
    read = cached.per_customer(ttl=60, stale=30, name="load")(source.load)
    assert read(1) == 1
    age(cache, 60)
    go_on = source.block()
    computing = pool.submit(read, 1)
    eventually(lambda: len(source.calls) == 2, TIMEOUT)
    assert [read(1) for _reader in range(READERS)] == [1] * READERS
    go_on.set()
    assert computing.result(TIMEOUT) == 2
    assert read(1) == 2
    cached.close()
    assert cache_counts(cache) == {"hit": 1, "stale": READERS, "miss": 2, "error": 0, "refused": 0}


def test_stale_value_is_served_while_another_process_computes(
    cached: Cache, source: Source, cache: Redis
) -> None:
    read = cached.per_customer(ttl=60, stale=30, name="load")(source.load)
    assert read(1) == 1
    age(cache, 60)
    cache.set(LEASE, "another process")
    assert read(1) == 1
    cache.delete(LEASE)
    assert read(1) == 2


@pytest.mark.parametrize("gone", ["past its bound", "invalidated"])
def test_expired_or_invalidated_value_is_never_served(
    cached: Cache, source: Source, cache: Redis, gone: str
) -> None:
    read = cached.per_customer(ttl=60, stale=30, name="load")(source.load)
    assert read(1) == 1
    age(cache, 60 if gone == "invalidated" else 90)
    if gone == "invalidated":
        invalidate(cache, [1])
    assert read(1) == 2


def test_none_is_cached_for_the_negative_ttl(cached: Cache, cache: Redis) -> None:
    answers = [None, 5]

    @cached.per_customer(ttl=60, stale=30, negative_ttl=10, name="load")
    def read(customer_id: int, kind: int = 0) -> int | None:
        return answers.pop(0)

    assert [read(1), read(1)] == [None, None]
    age(cache, 10)
    assert [read(1), read(1)] == [5, 5], "and it is never stale"
    age(cache, 10)
    assert read(1) == 5


def test_an_error_reaches_the_caller_and_is_not_cached(cached: Cache, cache: Redis) -> None:
    outcomes: list[Exception | int] = [ValueError("away"), 7]

    @cached.per_customer(ttl=60, name="load")
    def read(customer_id: int, kind: int = 0) -> int:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    with pytest.raises(ValueError, match="away"):
        read(1)
    assert not cache.exists(LEASE), "the lease is released"
    assert [read(1), read(1)] == [7, 7]


def test_many_readers_of_one_value_wait_for_one_computation(
    cached: Cache, source: Source, cache: Redis, pool: ThreadPoolExecutor
) -> None:
    read = cached.per_customer(ttl=60)(source.load)
    go_on = source.block()
    first = pool.submit(read, 1)
    eventually(lambda: source.calls, TIMEOUT)
    waiting = read_and_wait(pool, read, cache)
    go_on.set()
    assert {reader.result(TIMEOUT) for reader in [first, *waiting]} == {1}


def test_many_tasks_wait_for_one_computation(cached: Cache) -> None:
    calls = started = 0
    all_started = asyncio.Event()

    @cached.per_customer(ttl=60)
    async def read(customer_id: int) -> int:
        nonlocal calls
        calls += 1
        await all_started.wait()
        return calls

    async def count_and_read() -> int:
        nonlocal started
        started += 1
        if started == 200:
            all_started.set()
        return await read(1)

    async def run() -> list[int]:
        async with asyncio.timeout(TIMEOUT):
            found = await asyncio.gather(*(count_and_read() for _task in range(200)))
        await cached.aclose()
        return found

    assert asyncio.run(run()) == [1] * 200


def test_waiting_readers_share_the_second_computation_after_invalidation(
    cached: Cache, source: Source, cache: Redis, pool: ThreadPoolExecutor
) -> None:
    read = cached.per_customer(ttl=60, name="load")(source.load)
    first_goes_on = source.block()
    first = pool.submit(read, 1)
    eventually(lambda: source.calls, TIMEOUT)
    go_on = source.block()
    waiting = read_and_wait(pool, read, cache)
    invalidate(cache, [1])
    first_goes_on.set()
    assert first.result(TIMEOUT) == 1, "its own caller gets the value"
    eventually(lambda: len(source.calls) == 2, TIMEOUT)
    invalidate(cache, [1])
    go_on.set()
    assert {reader.result(TIMEOUT) for reader in waiting} == {2}, "the stored value was invalidated"
    assert not cache.hexists(KEY, FIELD)
    cached.close()
    assert cache_counts(cache)["refused"] == 2


def test_every_reader_waiting_for_a_failed_computation_gets_its_error(
    cached: Cache, cache: Redis, pool: ThreadPoolExecutor
) -> None:
    go_on, calls = threading.Event(), []

    @cached.per_customer(ttl=60)
    def read(customer_id: int) -> int:
        calls.append(customer_id)
        mine = len(calls)
        assert go_on.wait(TIMEOUT)
        raise ValueError(mine)

    first = pool.submit(read, 1)
    eventually(lambda: calls, TIMEOUT)
    waiting = read_and_wait(pool, read, cache)
    go_on.set()
    assert [str(reader.exception(TIMEOUT)) for reader in [first, *waiting]] == ["1"] + [
        "2"
    ] * READERS
    assert len(calls) == 2, "one before, and one for all waiting readers"


def test_cancelled_reader_blocks_no_other_reader(cached: Cache, cache: Redis) -> None:
    begun, computes = 0, asyncio.Event()

    @cached.per_customer(ttl=60, name="load")
    async def read(customer_id: int, kind: int = 0) -> int:
        nonlocal begun
        begun += 1
        computes.set()
        if begun == 1:
            await asyncio.Event().wait()
        return begun

    async def run() -> int:
        first = asyncio.create_task(read(1))
        await computes.wait()
        second = asyncio.create_task(read(1))
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        found = await second
        await cached.aclose()
        return found

    assert asyncio.run(run()) == 2
    assert not cache.exists(LEASE)


def in_a_thread(run: Callable[[], T]) -> T:
    """Return what it returns; run in a thread that cannot prevent the tests from ending."""
    outcome: Future[T] = Future()

    def settle() -> None:
        try:
            outcome.set_result(run())
        except BaseException as error:  # noqa: BLE001 - the caller raises it
            outcome.set_exception(error)

    threading.Thread(target=settle, daemon=True).start()
    return outcome.result(TIMEOUT)


def test_sync_read_in_event_loop_does_not_wait_for_a_task_of_that_loop(
    cached: Cache, source: Source
) -> None:
    read = cached.per_customer(ttl=60, name="load")(source.load)
    computes, goes_on = asyncio.Event(), asyncio.Event()

    @cached.per_customer(ttl=60, name="load")
    async def read_async(customer_id: int, kind: int = 0) -> int:
        computes.set()
        await goes_on.wait()
        return 100

    async def run() -> tuple[int, int]:
        task = asyncio.create_task(read_async(1))
        await computes.wait()
        mine = read(1)
        goes_on.set()
        return mine, await task

    assert in_a_thread(lambda: asyncio.run(run())) == (1, 100)
    assert read(1) == 100, "the computation continued until its store"


@pytest.mark.parametrize("other", ["thread", "process"])
def test_sync_read_in_event_loop_never_waits(
    cached: Cache, source: Source, cache: Redis, pool: ThreadPoolExecutor, other: str
) -> None:
    read = cached.per_customer(ttl=60, name="load")(source.load)
    go_on = source.block()
    if other == "process":
        cache.set(LEASE, "of a process that computes it")
    else:
        pool.submit(read, 1)
        eventually(lambda: source.calls, TIMEOUT)
    source.block().set()

    async def run() -> int:
        return read(1)

    try:
        assert in_a_thread(lambda: asyncio.run(run())) == len(source.calls)
    finally:
        go_on.set()


def test_reader_computes_after_longest_wait_and_later_ones_do_not_wait(
    cached: Cache,
    source: Source,
    cache: Redis,
    pool: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(read_through, "MAX_WAIT", 0.2)
    read = cached.per_customer(ttl=60, name="load")(source.load)
    go_on = source.block()
    stuck = pool.submit(read, 1)
    eventually(lambda: source.calls, TIMEOUT)
    source.block().set()
    try:
        assert in_a_thread(lambda: read(1)) == 2
        cache.delete(LEASE)  # as if it had expired
        assert in_a_thread(lambda: (read(1), read(1))) == (3, 3)
    finally:
        go_on.set()
    assert stuck.result(TIMEOUT) == 1, "its own caller gets the value"


class Interruption(BaseException):
    """An exception of a signal handler, which may be raised at any call."""


def interrupt(read: Callable[[int], int], number: int) -> bool:
    """Raise at a call or return, by number, of a plain function in a read; return whether it came."""
    remaining = number

    def trace(frame: FrameType, event: str, _argument: object) -> Any:  # noqa: ANN401 - it is itself
        nonlocal remaining
        code = frame.f_code
        if CACHING not in code.co_filename or code.co_flags & inspect.CO_GENERATOR:
            return None
        remaining -= event in {"call", "return"}
        if remaining == 0:
            sys.settrace(None)
            raise Interruption
        return trace

    sys.settrace(trace)
    try:
        read(1)
    except Interruption:
        return True
    finally:
        sys.settrace(None)
    return False


def test_reader_interrupted_at_any_point_blocks_no_other_reader(
    cached: Cache, source: Source, cache: Redis
) -> None:
    read = cached.per_customer(ttl=60, name="load")(source.load)
    moment = 1
    while interrupt(read, moment):
        cache.delete(
            KEY, LEASE
        )  # A lease would expire; the next iteration should not wait for that.
        assert in_a_thread(lambda: read(1)) == len(source.calls)
        cache.delete(KEY)
        moment += 1
    assert moment > 30, "a read has more than 30 points at which it can be interrupted"


def test_lease_expires_and_is_released_by_its_owner_only(
    cached: Cache, source: Source, cache: Redis, pool: ThreadPoolExecutor
) -> None:
    read = cached.per_customer(ttl=60, name="load")(source.load)
    cache.set(LEASE, "of a process that was killed", px=300)
    go_on = source.block()
    reader = pool.submit(read, 1)
    eventually(lambda: source.calls, TIMEOUT, "no reader computes")
    assert 0 < cache.pttl(LEASE) <= 1000 * read_through.LEASE_SECONDS
    cache.set(LEASE, "of another process meanwhile")
    go_on.set()
    assert reader.result(TIMEOUT) == 1
    assert cache.get(LEASE) == b"of another process meanwhile"
    assert read(1) == 1


@pytest.mark.parametrize("outcome", ["value", "error"])
def test_lease_is_released_even_when_the_server_is_avoided(
    settings: Settings, cache: Redis, source: Source, pool: ThreadPoolExecutor, outcome: str
) -> None:
    def load(customer_id: int, kind: int = 0) -> int:
        found = source.load(customer_id, kind)
        if outcome == "error" and customer_id == 1:
            raise LookupError
        return found

    with link_to(settings.cache) as link, closing(Cache(link.url, timeout=TIMEOUT)) as cached:
        read = cached.per_customer(ttl=60, name="load")(load)
        goes_on = source.block()
        first = pool.submit(read, 1)
        eventually(lambda: source.calls == [(1, 0)], TIMEOUT)
        link.lose_answers()
        second = pool.submit(read, 2)
        eventually(lambda: link.lost, TIMEOUT)
        eventually(lambda: len(source.calls) == 2, TIMEOUT)
        goes_on.set()
        assert (first.exception() is None) == (outcome == "value")
        assert second.result() == 2
    assert not cache.exists(LEASE), "readers of other processes do not wait until it expires"
    assert cache.hexists(KEY, FIELD) == (outcome == "value")


def test_full_hash_is_cleared_and_keeps_its_token(
    cached: Cache, source: Source, cache: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_through, "MAX_FIELDS", 3)
    read = cached.per_customer(ttl=60, name="load")(source.load)
    tokens = set()
    for kind in range(10):
        read(1, kind)
        assert cache.hlen(KEY) <= 4, "three fields and the token"
        tokens.add(cache.hget(KEY, "token"))
    assert len(tokens) == 1
    assert read(1, 9) == 10, "the newest value is stored"


@pytest.mark.parametrize("remaining", [b"", b"short", HEADER.pack(9e9, 9e9) + b'{"other": 1}'])
def test_value_of_another_release_is_recomputed(
    cached: Cache, source: Source, cache: Redis, remaining: bytes
) -> None:
    read = cached.per_customer(ttl=60, name="load")(source.load)
    assert read(1) == 1
    cache.hset(KEY, FIELD, remaining)
    assert [read(1), read(1)] == [2, 2]


def test_uncacheable_value_is_returned(
    cached: Cache, cache: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    @cached.per_customer(ttl=60, name="load")
    def read(customer_id: int, kind: int = 0) -> int:
        return "no number"  # type: ignore[return-value]

    with caplog.at_level(logging.ERROR):
        assert [str(read(1)), str(read(1))] == ["no number"] * 2
    assert "value_not_cached function=load" in caplog.text
    assert not cache.exists(LEASE)
    cached.close()
    assert cache_counts(cache) == {"hit": 0, "stale": 0, "miss": 2, "error": 0, "refused": 2}


@pytest.mark.parametrize("arrival", ["while it is computed", "soon after"])
def test_readers_of_uncacheable_value_compute_in_parallel(
    cached: Cache, cache: Redis, pool: ThreadPoolExecutor, arrival: str
) -> None:
    source, meet = Source(), threading.Barrier(READERS)

    @cached.per_customer(ttl=60, name="load")
    def load(customer_id: int, kind: int = 0) -> float:
        if source.load(customer_id) > 1:
            meet.wait(TIMEOUT)
        return math.nan

    def read(customer_id: int) -> float:
        return load(customer_id)

    go_on = source.block()
    first = pool.submit(read, 1)
    eventually(lambda: source.calls, TIMEOUT)
    source.block().set()
    if arrival == "soon after":
        go_on.set()
        assert math.isnan(first.result(TIMEOUT))
        cache.set(LEASE, "of another process that retries")
        readers = [pool.submit(read, 1) for _reader in range(READERS)]
    else:
        readers = read_and_wait(pool, read, cache)
        go_on.set()
    assert all(math.isnan(reader.result(TIMEOUT)) for reader in readers)
    assert len(source.calls) == 1 + READERS


def test_caching_is_retried_after_a_while(cached: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single_flight, "DISABLED_SECONDS", 0.0)
    values = [math.nan, 1.0]

    @cached.per_customer(ttl=60)
    def read(customer_id: int) -> float:
        return values.pop(0)

    assert math.isnan(read(1))
    assert [read(1), read(1)] == [1.0, 1.0]


def test_flushed_scripts_are_sent_again(cached: Cache, source: Source, cache: Redis) -> None:
    read = cached.per_customer(ttl=60)(source.load)
    for kind in range(3):
        cache.script_flush()
        assert [read(1, kind), read(1, kind)] == [kind + 1] * 2


def test_error_reply_does_not_disable_the_server(
    cached: Cache, source: Source, cache: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    read = cached.per_customer(ttl=60)(source.load)
    cache.set(KEY, "no hash")
    assert [read(1), read(1)] == [1, 2]
    assert [read(2), read(2)] == [3, 3]
    assert "cache_unavailable error=WRONGTYPE" in caplog.text


def test_hit_counts_of_processes_are_added_up(settings: Settings, cache: Redis) -> None:
    for _process in range(2):
        mine = Cache.from_settings(settings)
        read = mine.per_customer(ttl=60)(Source().load)
        for _read in range(3):
            read(1)
        mine.close()
    counts = cache_counts(cache)
    assert counts == {"hit": 5, "stale": 0, "miss": 1, "error": 0, "refused": 0}
    assert sum(counts[each] for each in READS) == 6


def undecodable(customer_id: int) -> object:
    raise AssertionError


def without_customer() -> int:
    raise AssertionError


def of_a_name(customer: str) -> int:
    raise AssertionError


@pytest.mark.parametrize("function", [undecodable, without_customer, of_a_name, Source.load])
def test_a_function_that_cannot_be_cached_is_refused_by_name(
    cached: Cache, function: Callable[..., object]
) -> None:
    with pytest.raises(TypeError, match=f"^{__name__}.{function.__qualname__}: "):
        cached.per_customer(ttl=60)(function)


def test_functions_of_one_name_in_two_modules_share_nothing(
    settings: Settings, source: Source
) -> None:
    found = []
    for module in ("shop.visits", "shop.offers"):

        def count(customer_id: int) -> int:
            return source.load(customer_id)

        count.__module__ = module
        application = Cache.from_settings(settings)
        found.append(application.per_customer(ttl=60)(count)(1))
        application.close()
    assert found == [1, 2]


def test_two_functions_of_one_name_are_refused(cached: Cache, source: Source) -> None:
    cached.per_customer(ttl=60)(source.load)
    with pytest.raises(ValueError, match=f"^{__name__}.Source.load: .* give a `name`"):
        cached.shared(ttl=60)(source.load)
    with pytest.raises(ValueError, match="a name has letters"):
        cached.shared(ttl=60, name="load(0)")(source.load)


@pytest.mark.parametrize(
    ("ttl", "stale", "negative"),
    [
        (0, 0, None),
        (1, -1, None),
        (1, 0, 2),
        (1, 0, 0),
        (math.inf, 0, None),
        (1, math.inf, None),
        (1, math.nan, None),
        (1e10, 0, None),
    ],
)
def test_times_out_of_range_are_refused(
    cached: Cache, ttl: float, stale: float, negative: float | None
) -> None:
    with pytest.raises(ValueError, match="ttl"):
        cached.per_customer(ttl=ttl, stale=stale, negative_ttl=negative)


@pytest.mark.parametrize("customer_id", [True, "1", 1.0, None])
def test_a_customer_id_that_is_no_int_is_refused(
    cached: Cache, source: Source, customer_id: object
) -> None:
    read = cached.per_customer(ttl=60)(source.load)
    with pytest.raises(TypeError, match="the customer's id must be an int"):
        read(customer_id)  # type: ignore[arg-type]
