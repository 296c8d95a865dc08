"""Chunks yield to updates that have waited too long."""

from orderworks.core.redis import Redis
from orderworks.imports.importer import Importer
from orderworks.updates.messages import OrderUpdate
from orderworks.updates.stream import UpdateStream


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
