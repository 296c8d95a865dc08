"""The scaling of drains: 1, 2 and 4 of them, a process and a shard each, on filled streams.

The benchmark runs drains in processes of its own without Celery, to measure how much more drains help
and how much they block each other. With more drains than processors only the blocking shows; the gain
of more processors can be measured only on a machine that has them.
"""

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from bench.alternate import Side, compare
from bench.figures import Figures
from bench.stack import BenchStack, open_stack
from bench.updates.drain_process import TIMEOUT, drain
from bench.updates.workloads import check, prepare, random_workload
from orderworks.core import keys
from orderworks.core.redis import Redis, make_redis
from orderworks.core.settings import Settings
from orderworks.updates.stream import UpdateStream
from producer import OrderUpdate

NUMBERS = (1, 2, 4)

CHUNK = 1000
"""Updates appended at once."""

processes = multiprocessing.get_context("spawn")


def run(rows: int, count: int, rounds: int) -> Figures:
    """Measure the rate of each number of drains, until commit and invalidation."""
    with open_stack(rows) as stack:
        return run_on(stack, count, rounds)


def run_on(stack: BenchStack, count: int, rounds: int) -> Figures:
    """Do the same on a stack."""
    stack.with_orders()
    sides = [
        Side(
            f"{number} drains" if number > 1 else "1 drain",
            count,
            partial(_drain_all, stack, number, count),
        )
        for number in NUMBERS
    ]
    return Figures("drains", compare(rounds, *sides), [])


def _drain_all(stack: BenchStack, number: int, count: int) -> float:
    workload = random_workload(stack, count)
    prepare(stack, workload)
    updates = [OrderUpdate(order_id=o, total=t, version=v) for o, t, v in workload.updates]
    with filled(stack.settings, number, updates):
        seconds = time_of(number)
    check(stack, workload)
    return seconds


@contextmanager
def filled(settings: Settings, shards: int, updates: Sequence[OrderUpdate]) -> Iterator[None]:
    """Fill `shards` streams with the updates, without nudging a drain; delete them after the block."""
    with make_redis(settings.stream, 30) as client:
        _delete_streams(client)
        stream = UpdateStream(client, shards, settings.stream_limit)
        for shard in range(shards):
            client.set(keys.update_nudge(shard), b"1")
            entries = [each.encode() for each in updates if stream.shard_of(each.order_id) == shard]
            for start in range(0, len(entries), CHUNK):
                stream.append(shard, entries[start : start + CHUNK])
        try:
            yield
        finally:
            _delete_streams(client)


def _delete_streams(client: Redis) -> None:
    for shard in range(max(NUMBERS)):
        client.delete(
            keys.update_stream(shard), keys.update_nudge(shard), keys.update_layout(shard)
        )


def time_of(number: int) -> float:
    """Return the seconds from the moment all drains are connected until all shards are empty."""
    barrier = processes.Barrier(number + 1)
    drains = [
        processes.Process(target=drain, args=(each, number, barrier)) for each in range(number)
    ]
    for each in drains:
        each.start()
    barrier.wait(TIMEOUT)
    started = time.perf_counter()
    barrier.wait(TIMEOUT)
    seconds = time.perf_counter() - started
    for each in drains:
        each.join()
    return seconds
