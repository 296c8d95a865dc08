"""Updates through stream, workers and cache beside a loop that does one transaction an update."""

import random
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from bench.report import Figures
from bench.shop import Shop, open_shop
from bench.sides import Side, compare, stopwatch
from orders.names import customer_cache
from orders.redis import Redis, make_redis
from orders.stream import UpdateStream
from producer import OrderUpdate, Producer

LOOP_SHARE = 20
"""The loop is slow: it does one in so many of the updates."""


def run(count: int, rounds: int) -> Figures:
    """From `update_many` called until the last update is committed and its customer invalidated."""
    with open_shop(count) as shop, Producer.from_settings() as producer:
        shop.with_orders()
        few = count // LOOP_SHARE
        results = compare(
            rounds,
            Side("a transaction an update, in a loop", few, lambda: _loop(shop, _some(shop, few))),
            Side("update_many and two workers", count, lambda: _drain(shop, producer, count)),
        )
        return Figures("updates", results, [])


def _some(shop: Shop, count: int) -> list[OrderUpdate]:
    dice = random.Random(count)  # noqa: S311 - the same for both sides
    ids = shop.sample.orders["id"].to_list()
    return [
        OrderUpdate(order_id=dice.choice(ids), total=dice.randrange(1000)) for _ in range(count)
    ]


def _loop(shop: Shop, updates: Sequence[OrderUpdate]) -> float:
    cache = make_redis(shop.settings.cache, 5)
    connection = shop.engine.raw_connection()
    with stopwatch() as taken, closing(connection.cursor()) as cursor:
        for update in updates:
            _one(cursor, cache, update)
            connection.commit()
        seconds = taken()
    connection.close()
    return seconds


def _one(cursor: Any, cache: Redis, update: OrderUpdate) -> None:  # noqa: ANN401 - psycopg2's
    version = time.time_ns()
    cursor.execute(
        "UPDATE orders SET total = %s, version = %s WHERE id = %s AND version < %s "
        "RETURNING customer_id",
        (update.total, version, update.order_id, version),
    )
    for (customer_id,) in cursor.fetchall():
        cache.unlink(customer_cache(customer_id))


def _drain(shop: Shop, producer: Producer, count: int) -> float:
    settings = shop.settings
    stream = UpdateStream(make_redis(settings.stream, 5), settings.update_shards, count)
    updates = _some(shop, count)
    with stopwatch() as taken:
        producer.update_many(updates)
        while any(stream.length(shard) for shard in range(stream.shards)):
            time.sleep(0.005)
        return taken()
