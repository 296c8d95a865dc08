"""The job for peers that run coroutines: the same statements, by asyncpg and redis.asyncio."""

import asyncio
import os
from decimal import Decimal
from typing import Any

import asyncpg
import redis.asyncio

from bench.peers.clock import clock
from orderworks.core.keys import customer_cache

UPDATE = """
UPDATE orders SET total = $1, version = $2, updated_at = now()
WHERE id = $3 AND version < $2 RETURNING customer_id
"""

CONNECTIONS = 8
"""Connections to PostgreSQL per process: the number of threads of peers with threads."""


class AsyncJobConnections:
    """A pool of PostgreSQL connections, and a client of the cache's Redis."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._database: Any = None
        self._cache: Any = redis.asyncio.Redis.from_url(os.environ["CACHE_REDIS_URL"])

    async def update(self, order_id: int, total: str, version: int) -> None:
        """Do the job for one update."""
        database = self._database or await self._open()
        rows = await database.fetch(UPDATE, Decimal(total), version, order_id)
        for row in rows:
            await self._cache.unlink(customer_cache(row["customer_id"]))

    async def _open(self) -> Any:  # noqa: ANN401 - asyncpg has no types
        async with self._lock:
            if self._database is None:
                self._database = await asyncpg.create_pool(
                    os.environ["DATABASE_URL"], min_size=CONNECTIONS, max_size=CONNECTIONS
                )
                # In a thread, so that the loop is not blocked; other jobs wait for the lock.
                await asyncio.to_thread(clock.start)
        return self._database


connections = AsyncJobConnections()


async def update(order_id: int, total: str, version: int) -> None:
    """The task of peers that run coroutines."""
    await connections.update(order_id, total, version)
    clock.count(1)
