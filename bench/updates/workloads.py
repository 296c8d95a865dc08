"""Workloads: updates of random orders, the preparation for them, and the check of their result."""

import random
import time
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from bench.stack import BenchStack
from orderworks.core.errors import OrderworksError
from orderworks.core.keys import customer_cache
from orderworks.core.redis import Redis, make_redis
from orderworks.core.schema import orders

KEYS = 1000
"""Keys in one command to the cache."""


class BenchUpdate(NamedTuple):
    """An update as every side receives it."""

    order_id: int
    total: str
    version: int


class Workload(NamedTuple):
    """The updates of one measurement, with versions above those of all earlier ones."""

    updates: list[BenchUpdate]

    @property
    def first_version(self) -> int:
        """Return the lowest version of the workload."""
        return self.updates[0].version

    def newest(self) -> dict[int, tuple[Decimal, int]]:
        """Return the expected total and version of each order after all updates are applied."""
        return {order_id: (Decimal(total), version) for order_id, total, version in self.updates}

    def write(self, file: Path) -> Path:
        """Write the workload to a file for a sender."""
        file.write_text("".join(f"{o},{t},{v}\n" for o, t, v in self.updates), encoding="ascii")
        return file


def random_workload(stack: BenchStack, count: int) -> Workload:
    """Return `count` updates of random orders with ascending versions; orders may be repeated."""
    dice, first = random.Random(count), time.time_ns() // 1000  # noqa: S311 - reproducible
    ids = dice.choices(stack.sample.orders["id"].to_list(), k=count)
    return Workload([BenchUpdate(each, _total(dice), first + n) for n, each in enumerate(ids)])


def distinct_workload(stack: BenchStack, count: int) -> Workload:
    """Return `count` updates of random orders, each of a different one."""
    dice, first = random.Random(count), time.time_ns() // 1000  # noqa: S311 - reproducible
    ids = dice.sample(stack.sample.orders["id"].to_list(), k=count)
    return Workload([BenchUpdate(each, _total(dice), first + n) for n, each in enumerate(ids)])


def prepare(stack: BenchStack, workload: Workload) -> None:
    """Set the same start for every side: empty log, vacuumed table, a cached read per customer."""
    stack.empty_change_log()
    stack.vacuum_and_checkpoint("orders")
    with make_redis(stack.settings.cache, 5) as cache:
        for keys in _chunks(_cached_reads(stack, workload)):
            with cache.pipeline(transaction=False) as pipeline:
                for key in keys:
                    pipeline.hset(key, "token", "bench")
                pipeline.execute()


def check(stack: BenchStack, workload: Workload) -> None:
    """Check that the workload and nothing else is applied, and that no cached read remains.

    Raises:
        OrderworksError: it is not so; the message has the number of customers or orders.
    """
    with make_redis(stack.settings.cache, 5) as cache:
        remaining = _count(cache, _cached_reads(stack, workload))
    if remaining:
        raise OrderworksError(f"cached reads of {remaining:,} customers were not invalidated")
    expected, written = workload.newest(), _written_since(stack, workload.first_version)
    if wrong := [each for each in expected | written if expected.get(each) != written.get(each)]:
        raise OrderworksError(f"{len(wrong):,} of {len(expected):,} orders are wrong")


def _written_since(stack: BenchStack, version: int) -> dict[int, tuple[Decimal, int]]:
    query = sa.select(*orders.c["id", "total", "version"]).where(orders.c.version >= version)
    with stack.engine.connect() as connection:
        return {id_: (total, version) for id_, total, version in connection.execute(query)}


def _cached_reads(stack: BenchStack, workload: Workload) -> list[str]:
    """Return the cache keys of the customers of the workload's orders."""
    order_ids = {update.order_id for update in workload.updates}
    pairs = stack.sample.orders.select("id", "customer_id").iter_rows()
    customers = {customer_id for order_id, customer_id in pairs if order_id in order_ids}
    return [customer_cache(customer_id) for customer_id in sorted(customers)]


def _count(cache: Redis, keys: list[str]) -> int:
    """Return the number of these keys that exist."""
    return sum(int(cache.exists(*chunk)) for chunk in _chunks(keys))


def _chunks(keys: list[str]) -> Iterable[list[str]]:
    return (keys[start : start + KEYS] for start in range(0, len(keys), KEYS))


def _total(dice: random.Random) -> str:
    cents = dice.randrange(10_000_000)
    return f"{cents // 100}.{cents % 100:02}"
