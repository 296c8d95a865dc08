"""How drains add up: 1, 2 and 4 of them, a process and a shard each, on the same filled streams.

Processes of the benchmark's own run the drains without Celery: what is measured is how far more drains
help, and what they cost each other. More of them than processors show that they do not get in each
other's way; what more processors bring, only a machine that has them can tell.
"""

import logging
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import structlog

from bench.alternate import Side, compare
from bench.figures import Figures
from bench.stack import BenchStack, open_stack
from bench.updates.workloads import check, prepare, random_workload
from orderworks.core import keys
from orderworks.core.database import make_engine
from orderworks.core.redis import Redis, make_redis
from orderworks.core.settings import Settings
from orderworks.updates.drain import Drain
from orderworks.updates.sources import StreamSource
from orderworks.updates.stream import UpdateStream
from producer import OrderUpdate

NUMBERS = (1, 2, 4)

CHUNK = 1000
"""Updates appended in one go."""

PATIENCE = 300
"""Seconds that the drains may take."""

processes = multiprocessing.get_context("spawn")


def run(rows: int, count: int, rounds: int) -> Figures:
    """The rate of so many drains, committed and with cached reads dropped."""
    with open_stack(rows) as stack:
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
    """So many streams with all of the updates, which nobody is nudged to drain; gone at the end."""
    with make_redis(settings.stream, 30) as client:
        _forget_streams(client)
        stream = UpdateStream(client, shards, settings.stream_limit)
        for shard in range(shards):
            client.set(keys.update_nudge(shard), b"1")
            mine = [each.encode() for each in updates if stream.shard_of(each.order_id) == shard]
            for start in range(0, len(mine), CHUNK):
                stream.append(shard, mine[start : start + CHUNK])
        try:
            yield
        finally:
            _forget_streams(client)


def _forget_streams(client: Redis) -> None:
    for shard in range(max(NUMBERS)):
        client.delete(
            keys.update_stream(shard), keys.update_nudge(shard), keys.update_layout(shard)
        )


def time_of(number: int) -> float:
    """Seconds from the moment all drains are connected until the last one has nothing left."""
    together = processes.Barrier(number + 1)
    drains = [
        processes.Process(target=drain, args=(each, number, together)) for each in range(number)
    ]
    for each in drains:
        each.start()
    together.wait(PATIENCE)
    started = time.perf_counter()
    together.wait(PATIENCE)
    seconds = time.perf_counter() - started
    for each in drains:
        each.join()
    return seconds


def drain(shard: int, shards: int, together: Any) -> None:  # noqa: ANN401 - a barrier of processes
    """Drain one shard until it is empty; the start and the end are common to all."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    settings = Settings.load()
    engine = make_engine(settings, "orderworks-bench")
    stream, cache = make_redis(settings.stream, 5), make_redis(settings.cache, 5)
    backlog = StreamSource(
        UpdateStream(stream, shards, settings.stream_limit), shard, settings.verdict_ttl
    )
    engine.connect().close()
    together.wait(PATIENCE)
    while Drain(engine, backlog, cache, settings).run().more:
        pass
    together.wait(PATIENCE)
