"""Invalidation of cached reads, and its latency: the time from a change to the removal of the reads.

A worker invalidates right after its commit; its latency starts at the commit. What other writers change
is invalidated by the fold of the change log; that latency starts at the statement that wrote.

Nothing here needs SQLAlchemy, which an application that only reads and invalidates may lack.
"""

import random
import statistics
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from enum import StrEnum

import msgspec
import redis

from orderworks.core import keys
from orderworks.core.redis import Redis

UNLINK_BATCH = 1000
"""Keys in one UNLINK; the server answers other clients between two of them."""

MAX_KEPT_DELAYS = 1000
"""Delays kept for each path: the newest."""

MAX_DELAYS_PER_PASS = 100
"""Delays recorded of one pass, so that a single large pass does not displace all others."""


class Path(StrEnum):
    """The process that invalidated: a worker after its own commit, or the fold of the change log."""

    WORKER = "worker"
    LOG = "log"


class Delays(msgspec.Struct, frozen=True):
    """The last delays of a path, in seconds."""

    count: int
    p50: float
    p99: float
    longest: float


def invalidate(client: Redis, customer_ids: Collection[int]) -> None:
    """Invalidate every cached read of these customers and all shared reads. Call it after the commit.

    Raises:
        redis.RedisError: some reads may still be cached.
    """
    if not customer_ids:
        return
    hashes = [*keys.customer_caches(customer_ids), keys.shared_cache()]
    with client.pipeline(transaction=False) as pipeline:
        for start in range(0, len(hashes), UNLINK_BATCH):
            pipeline.unlink(*hashes[start : start + UNLINK_BATCH])
        pipeline.execute()


def invalidate_and_record(client: Redis, customer_ids: Collection[int]) -> None:
    """Invalidate as a worker does right after its commit, and record the delay unless there are no ids.

    Raises:
        redis.RedisError: some reads may still be cached.
    """
    if not customer_ids:
        return
    started = time.perf_counter()
    invalidate(client, customer_ids)
    record(client, Path.WORKER, [time.perf_counter() - started])


def record(client: Redis, path: Path, seconds: Collection[float]) -> None:
    """Store these delays, a random sample if there are many; nothing if the cache is unavailable."""
    if not seconds:
        return
    sample = random.sample([*seconds], min(MAX_DELAYS_PER_PASS, len(seconds)))
    key = keys.invalidation_delays(path)
    with suppress(redis.RedisError), client.pipeline(transaction=False) as pipeline:
        pipeline.lpush(key, *(f"{each:.6f}" for each in sample))
        pipeline.ltrim(key, 0, MAX_KEPT_DELAYS - 1)
        pipeline.execute()


def read_delays(client: Redis) -> dict[Path, Delays]:
    """Return the last delays of each path that has any.

    Raises:
        redis.RedisError: the cache is unavailable.
    """
    stored = {path: client.lrange(keys.invalidation_delays(path), 0, -1) for path in Path}
    return {path: _summary([*map(float, delays)]) for path, delays in stored.items() if delays}


def _summary(seconds: Sequence[float]) -> Delays:
    # Quantiles need two values at least: each value is given twice, which changes none of them.
    hundredths = statistics.quantiles([*seconds, *seconds], n=100, method="inclusive")
    return Delays(len(seconds), hundredths[49], hundredths[98], max(seconds))
