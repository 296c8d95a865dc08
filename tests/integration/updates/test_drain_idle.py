"""A drain that has nothing to do stays for what comes next, unless its worker is needed."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from decimal import Decimal

import pytest
import sqlalchemy as sa

from orderworks.core.keys import update_nudge
from orderworks.core.locks import Lock
from orderworks.core.redis import Redis
from orderworks.core.settings import Settings
from orderworks.updates.drain import Drain, DrainResult
from orderworks.updates.idle_policy import MAX_IDLE
from orderworks.updates.messages import OrderUpdate
from orderworks.updates.sources import StreamSource
from orderworks.updates.stream import UpdateStream
from tests.support.processes import eventually
from tests.support.types import AcceptUpdates, ReadRows, WriteRows

Start = Callable[[], "Future[DrainResult]"]


@pytest.fixture
def needed() -> threading.Event:
    """Set while other work waits for the worker."""
    return threading.Event()


@pytest.fixture
def start(
    engine: sa.Engine,
    updates: UpdateStream,
    cache: Redis,
    settings: Settings,
    seed: WriteRows,
    needed: threading.Event,
) -> Iterator[Start]:
    """Start a drain of shard 0 in a thread; there are orders 2 and 4."""
    seed({key: (1, "new", Decimal("1.00"), 0) for key in (2, 4)})
    with ThreadPoolExecutor() as pool:

        def run() -> "Future[DrainResult]":
            backlog = StreamSource(updates, 0, 60)
            return pool.submit(Drain(engine, backlog, cache, settings, needed.is_set).run)

        yield run
        needed.set()


def test_updates_arriving_while_a_drain_idles_are_applied_without_a_nudge(
    start: Start, accept: AcceptUpdates, rows: ReadRows, updates: UpdateStream
) -> None:
    accept([OrderUpdate(order_id=2, status="paid")])
    drained = start()
    for status in ("packed", "sent", "back"):
        eventually(lambda: not updates.length(0), 10, "it is not drained")
        appended = updates.append(0, [OrderUpdate(order_id=4, status=status).encode()])
        assert not appended.needs_nudge, "the drain is still there"
    eventually(lambda: rows()[4][1] == "back", 10, "it was not applied")
    assert drained.result(timeout=10) == DrainResult({"applied": 4}, more=False)


def test_drain_ends_after_its_idle_time(start: Start, accept: AcceptUpdates, stream: Redis) -> None:
    accept([OrderUpdate(order_id=2, status="paid")])
    began = time.monotonic()
    assert start().result(timeout=10) == DrainResult({"applied": 1}, more=False)
    assert time.monotonic() - began >= MAX_IDLE
    assert not stream.exists(update_nudge(0)), "the next update nudges"


def test_idle_drain_ends_when_other_work_waits(
    start: Start,
    accept: AcceptUpdates,
    updates: UpdateStream,
    stream: Redis,
    needed: threading.Event,
) -> None:
    accept([OrderUpdate(order_id=2, status="paid")])
    needed.set()
    assert start().result(timeout=10) == DrainResult({"applied": 1}, more=False)
    assert not stream.exists(update_nudge(0)), "the next update nudges"
    assert updates.length(0) == 0


def test_drain_ends_at_once_while_another_idles_on_the_shard(
    start: Start, accept: AcceptUpdates, updates: UpdateStream, engine: sa.Engine
) -> None:
    accept([OrderUpdate(order_id=2, status="paid")])
    first = start()
    eventually(lambda: not updates.length(0) and is_locked(engine), 10, "it does not linger")
    second = start()
    assert second.result(timeout=10) == DrainResult({}, more=False)
    assert first.result(timeout=10).verdicts == {"applied": 1}


def is_locked(engine: sa.Engine) -> bool:
    """Return whether a drain holds the lock of shard 0."""
    query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = :lock"
    with engine.connect() as connection:
        return bool(connection.scalar(sa.text(query), {"lock": int(Lock.DRAIN)}))
