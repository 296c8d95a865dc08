"""How long cached reads outlived the change that made them old: the last delays, as they were measured.

Workers make reads disappear right after their commit; that delay begins with the commit. For whoever
else writes, the fold of the change log does; that delay begins with the statement that wrote.
"""

import random
import statistics
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import datetime
from enum import StrEnum

import msgspec
import redis
import sqlalchemy as sa

from orderworks.core import keys
from orderworks.core.redis import Redis

UNLINK_BATCH = 1000
"""Keys in one UNLINK; the server answers others between two of them."""

MAX_KEPT_DELAYS = 1000
"""Delays of each path that are kept: the newest."""

MAX_DELAYS_PER_PASS = 100
"""Customers of one pass whose delays are noted at the most, so that one pass is not all there is."""


class Path(StrEnum):
    """Who made the reads disappear."""

    WORKER = "worker"
    LOG = "log"


class Delays(msgspec.Struct, frozen=True):
    """The last delays of a path, in seconds."""

    count: int
    p50: float
    p99: float
    longest: float


def invalidate(client: Redis, customer_ids: Collection[int]) -> None:
    """Make every cached read of these customers, and all shared ones, disappear. After the commit.

    Raises:
        redis.RedisError: some may still be there.
    """
    if not customer_ids:
        return
    hashes = [*keys.customer_caches(customer_ids), keys.shared_cache()]
    with client.pipeline(transaction=False) as pipeline:
        for start in range(0, len(hashes), UNLINK_BATCH):
            pipeline.unlink(*hashes[start : start + UNLINK_BATCH])
        pipeline.execute()


def invalidate_and_record(client: Redis, customer_ids: Collection[int]) -> None:
    """What a worker does right after its commit; notes how long it took, if there was anything to do.

    Raises:
        redis.RedisError: some reads may still be there.
    """
    if not customer_ids:
        return
    began = time.perf_counter()
    invalidate(client, customer_ids)
    record(client, Path.WORKER, [time.perf_counter() - began])


def seconds_since(connection: sa.Connection, moments: Sequence[datetime]) -> list[float]:
    """Seconds from each moment to now, by the database's clock."""
    if not moments:
        return []
    now: datetime = connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
    return [(now - each).total_seconds() for each in moments]


def record(client: Redis, path: Path, seconds: Collection[float]) -> None:
    """Keep these delays, a sample if they are many; none while the cache is away."""
    if not seconds:
        return
    some = random.sample([*seconds], min(MAX_DELAYS_PER_PASS, len(seconds)))
    key = keys.invalidation_delays(path)
    with suppress(redis.RedisError), client.pipeline(transaction=False) as pipeline:
        pipeline.lpush(key, *(f"{each:.6f}" for each in some))
        pipeline.ltrim(key, 0, MAX_KEPT_DELAYS - 1)
        pipeline.execute()


def read_delays(client: Redis) -> dict[Path, Delays]:
    """The last delays of each path that had some.

    Raises:
        redis.RedisError: the cache is away.
    """
    lists = {path: client.lrange(keys.invalidation_delays(path), 0, -1) for path in Path}
    return {path: _summary([*map(float, noted)]) for path, noted in lists.items() if noted}


def _summary(seconds: Sequence[float]) -> Delays:
    # Of a single delay there are no quantiles: it is all of them.
    hundredths = statistics.quantiles([*seconds, *seconds], n=100, method="inclusive")
    return Delays(len(seconds), hundredths[49], hundredths[98], max(seconds))
