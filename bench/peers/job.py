"""The job of all peers' workers: update an order if newer, and invalidate its customer's cached reads.

Each thread keeps its connections, and a statement is a transaction of its own, so that only the job is
measured. The statements are the same for all peers.
"""

import json
import os
import threading
from collections.abc import Iterable
from typing import Any

import psycopg2
import redis

from bench.peers.clock import clock
from orderworks.core.keys import customer_cache

UPDATE = """
UPDATE orders SET total = %s, version = %s, updated_at = now()
WHERE id = %s AND version < %s RETURNING customer_id
"""

UPDATE_MANY = """
UPDATE orders SET total = batch.total, version = batch.version, updated_at = now()
FROM json_to_recordset(%s::json) AS batch (order_id bigint, total numeric(14, 2), version bigint)
WHERE orders.id = batch.order_id AND orders.version < batch.version RETURNING customer_id
"""

KEYS = 1000
"""Keys in one UNLINK; the server answers other clients between two of them."""


class JobConnections:
    """A connection to PostgreSQL, and a client of the cache's Redis."""

    def __init__(self) -> None:
        self.cache: Any = redis.Redis.from_url(os.environ["CACHE_REDIS_URL"])
        self.database = psycopg2.connect(os.environ["DATABASE_URL"])
        self.database.autocommit = True
        self.cursor = self.database.cursor()

    def update(self, order_id: int, total: str, version: int) -> None:
        """Do the job for one update."""
        self.cursor.execute(UPDATE, (total, version, order_id, version))
        for (customer_id,) in self.cursor.fetchall():
            self.cache.unlink(customer_cache(customer_id))

    def update_many(self, batch: str) -> None:
        """Do the job for many updates: a JSON array of objects, one per order, sorted by order."""
        self.cursor.execute(UPDATE_MANY, (batch,))
        keys = [customer_cache(customer_id) for (customer_id,) in self.cursor.fetchall()]
        with self.cache.pipeline(transaction=False) as pipeline:
            for start in range(0, len(keys), KEYS):
                pipeline.unlink(*keys[start : start + KEYS])
            pipeline.execute()


_of_thread = threading.local()


def connections() -> JobConnections:
    """Return the connections of this thread, opened by its first job."""
    if not hasattr(_of_thread, "connections"):
        _of_thread.connections = JobConnections()
    opened: JobConnections = _of_thread.connections
    return opened


def update(order_id: int, total: str, version: int) -> None:
    """The task of peers with one update per message."""
    opened = connections()
    clock.start()
    opened.update(order_id, total, version)
    clock.count(1)


def update_many(updates: Iterable[tuple[int, str, int]]) -> None:
    """The task of peers that receive many messages at once."""
    opened = connections()
    clock.start()
    batch = list(updates)
    newest = {
        order_id: (total, version) for order_id, total, version in sorted(batch, key=_version)
    }
    rows = [
        {"order_id": order_id, "total": total, "version": version}
        for order_id, (total, version) in sorted(newest.items())
    ]
    opened.update_many(json.dumps(rows))
    clock.count(len(batch))


def _version(update: tuple[int, str, int]) -> int:
    return update[2]
