"""The resources of one worker process: its engine, Redis clients and spool.

They are made after the fork, so no two processes share a connection.
"""

import os
from collections.abc import Collection
from dataclasses import dataclass
from typing import Self

import sqlalchemy as sa

from orderworks import cache
from orderworks.core.database import make_engine
from orderworks.core.errors import OrderworksError
from orderworks.core.redis import Redis, make_redis
from orderworks.core.routing import OUTBOX
from orderworks.core.sessions import SELF_INVALIDATING
from orderworks.core.settings import Settings
from orderworks.imports.importer import Importer
from orderworks.imports.spool import Spool
from orderworks.updates.outbox import OutboxSource
from orderworks.updates.sources import StreamSource, UpdateSource
from orderworks.updates.stream import UpdateStream


class NotStarted(OrderworksError):
    """A task ran in a process that is no worker and has no connections."""


@dataclass(frozen=True)
class WorkerResources:
    """The connections of one process; each is opened on first use. Threads may share them."""

    pid: int
    settings: Settings
    engine: sa.Engine
    redis: Redis
    cache: Redis
    stream: UpdateStream
    importer: Importer

    @classmethod
    def start(cls, settings: Settings) -> Self:
        """Make engine and clients for the calling process."""
        engine = make_engine(settings, "orderworks-worker", SELF_INVALIDATING)
        redis = make_redis(settings.stream, settings.redis_timeout)
        cache_redis = make_redis(settings.cache, settings.redis_timeout)
        return cls(
            pid=os.getpid(),
            settings=settings,
            engine=engine,
            redis=redis,
            cache=cache_redis,
            stream=UpdateStream(redis, settings.update_shards, settings.stream_limit),
            importer=Importer(engine, Spool(settings.spool), redis, cache_redis, settings),
        )

    def stop(self) -> None:
        """Close every connection."""
        self.engine.dispose()
        self.redis.close()
        self.cache.close()

    def update_source(self, shard: int) -> UpdateSource:
        """Return the source of the updates that wait in a shard, or in the outbox."""
        if shard == OUTBOX:
            return OutboxSource(self.stream)
        return StreamSource(self.stream, shard, self.settings.verdict_ttl)

    def invalidate(self, customer_ids: Collection[int]) -> None:
        """Invalidate the cached reads of these customers."""
        cache.invalidate(self.cache, customer_ids)
