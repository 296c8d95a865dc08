"""Updates of random orders: made, got ready for, and what has to have come of them."""

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
    """An update as every side is given it."""

    order_id: int
    total: str
    version: int


class Workload(NamedTuple):
    """Updates of one measurement. Their versions are above all that were given before."""

    updates: list[BenchUpdate]

    @property
    def first_version(self) -> int:
        """The lowest version of the workload."""
        return self.updates[0].version

    def newest(self) -> dict[int, tuple[Decimal, int]]:
        """The oracle: total and version of each order that the workload touches, when all is applied."""
        return {order_id: (Decimal(total), version) for order_id, total, version in self.updates}

    def write(self, file: Path) -> Path:
        """The workload as a file for a sender."""
        file.write_text("".join(f"{o},{t},{v}\n" for o, t, v in self.updates), encoding="ascii")
        return file


def random_workload(stack: BenchStack, count: int) -> Workload:
    """So many updates of random orders, with rising versions. An order may come more than once."""
    dice, first = random.Random(count), time.time_ns() // 1000  # noqa: S311 - the same each time
    ids = dice.choices(stack.sample.orders["id"].to_list(), k=count)
    return Workload([BenchUpdate(each, _total(dice), first + n) for n, each in enumerate(ids)])


def distinct_workload(stack: BenchStack, count: int) -> Workload:
    """So many updates of random orders, each of another one."""
    dice, first = random.Random(count), time.time_ns() // 1000  # noqa: S311 - the same each time
    ids = dice.sample(stack.sample.orders["id"].to_list(), k=count)
    return Workload([BenchUpdate(each, _total(dice), first + n) for n, each in enumerate(ids)])


def prepare(stack: BenchStack, workload: Workload) -> None:
    """The same start for every side: the log empty, the table tidy, a cached read a customer."""
    stack.empty_change_log()
    stack.vacuum_and_checkpoint("orders")
    with make_redis(stack.settings.cache, 5) as cache:
        for keys in _chunks(_cached_reads(stack, workload)):
            with cache.pipeline(transaction=False) as pipeline:
                for key in keys:
                    pipeline.hset(key, "token", "bench")
                pipeline.execute()


def check(stack: BenchStack, workload: Workload) -> None:
    """Make sure that the workload is applied, and nothing else, and that no cached read is left.

    Raises:
        OrderworksError: it is not so; says how much is wrong.
    """
    with make_redis(stack.settings.cache, 5) as cache:
        left = _count(cache, _cached_reads(stack, workload))
    if left:
        raise OrderworksError(f"{left:,} customers still have cached reads from before")
    expected, found = workload.newest(), _written_since(stack, workload.first_version)
    if wrong := [each for each in expected | found if expected.get(each) != found.get(each)]:
        raise OrderworksError(
            f"{len(wrong):,} of {len(expected):,} orders are not as they should be"
        )


def _written_since(stack: BenchStack, version: int) -> dict[int, tuple[Decimal, int]]:
    query = sa.select(*orders.c["id", "total", "version"]).where(orders.c.version >= version)
    with stack.engine.connect() as connection:
        return {order_id: (total, found) for order_id, total, found in connection.execute(query)}


def _cached_reads(stack: BenchStack, workload: Workload) -> list[str]:
    """The keys of the customers that the workload touches."""
    touched = {update.order_id for update in workload.updates}
    pairs = stack.sample.orders.select("id", "customer_id").iter_rows()
    customers = {customer_id for order_id, customer_id in pairs if order_id in touched}
    return [customer_cache(customer_id) for customer_id in sorted(customers)]


def _count(cache: Redis, keys: list[str]) -> int:
    """How many of the keys there are."""
    return sum(int(cache.exists(*some)) for some in _chunks(keys))


def _chunks(keys: list[str]) -> Iterable[list[str]]:
    return (keys[start : start + KEYS] for start in range(0, len(keys), KEYS))


def _total(dice: random.Random) -> str:
    cents = dice.randrange(10_000_000)
    return f"{cents // 100}.{cents % 100:02}"
