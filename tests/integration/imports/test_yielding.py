"""Chunks yield to updates that have waited too long."""

import itertools

import pytest

from orderworks.core.redis import Redis
from orderworks.imports import yielding
from orderworks.imports.importer import Importer
from orderworks.updates.messages import OrderUpdate
from orderworks.updates.stream import UpdateStream
from tests.support.processes import eventually


def test_chunks_wait_while_the_oldest_update_exceeds_the_lag_limit(
    importer: Importer, stream: Redis, updates: UpdateStream
) -> None:
    assert not importer.must_yield()
    updates.append(1, [OrderUpdate(order_id=1, total="1").encode()])
    assert not importer.must_yield(), "it came just now"
    seconds, _microseconds = stream.time()
    old = f"{(seconds - 60) * 1000}-0"
    stream.xadd("orders:updates:{0}", {"update": b"{}"}, id=old)
    assert importer.must_yield()
    updates.trim(0, updates.read(0, 1))
    assert not importer.must_yield()


def test_chunks_continue_beside_a_shard_that_does_not_move(
    importer: Importer, updates: UpdateStream, stream: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yielding, "STUCK_SECONDS", 0.3)
    append_old(stream, 0, "1-0")
    assert importer.must_yield()
    eventually(lambda: not importer.must_yield(), 10, "chunks wait for a shard that is stuck")
    append_old(stream, 1, "1-0")
    assert importer.must_yield(), "another shard is late, and may move"
    eventually(lambda: not importer.must_yield(), 10, "both are stuck")
    append_old(stream, 0, "2-0")
    updates.trim(0, updates.read(0, 1))
    assert importer.must_yield(), "the shard has moved"


def test_chunks_yield_for_a_bounded_time_to_updates_that_never_catch_up(
    importer: Importer, updates: UpdateStream, stream: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yielding, "MAX_YIELD_SECONDS", 0.5)
    numbers = itertools.count(1)
    append_old(stream, 0, f"{next(numbers)}-0")

    def yields_while_updates_move() -> bool:
        append_old(stream, 0, f"{next(numbers)}-0")
        updates.trim(0, updates.read(0, 1))
        return importer.must_yield()

    assert yields_while_updates_move()
    eventually(lambda: not yields_while_updates_move(), 10, "chunks wait without a limit")
    updates.trim(0, updates.read(0, 10))
    assert not importer.must_yield()
    append_old(stream, 0, f"{next(numbers)}-0")
    assert importer.must_yield(), "the time begins again once no update is late"


def append_old(stream: Redis, shard: int, entry: str) -> None:
    """Append an update that was accepted in 1970."""
    stream.xadd(f"orders:updates:{{{shard}}}", {"update": b"{}"}, id=entry)
