"""The streams of accepted updates: how many wait in each shard, and for how long."""

import time

import pytest

from orderworks.core.redis import Redis
from orderworks.updates.stream import ShardBacklog, UpdateStream


def test_backlog_has_length_and_age_of_each_shard_by_clock_of_server(
    stream: Redis, updates: UpdateStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds, _microseconds = stream.time()
    stream.xadd("orders:updates:{1}", {"update": b"{}"}, id=f"{(seconds - 60) * 1000}-0")
    updates.append(1, [b"{}", b"{}"])
    monkeypatch.setattr(time, "time", lambda: seconds + 3600.0)
    backlog = updates.backlog()
    empty, waiting = backlog.shards
    assert empty == ShardBacklog(shard=0, waiting=0, lag=0.0)
    assert (waiting.shard, waiting.waiting) == (1, 3)
    assert 59 < waiting.lag < 90
    assert (backlog.waiting, backlog.lag) == (3, waiting.lag)


def test_backlog_of_empty_streams_is_zero(updates: UpdateStream) -> None:
    backlog = updates.backlog()
    assert (backlog.waiting, backlog.lag) == (0, 0.0)
