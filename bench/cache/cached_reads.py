"""Cached reads: what one costs, what it costs to drop many, and the queries that they spare.

**A cached read** is measured beside a bare HGET of the same value by redis-py, over a connection each.
**Dropping** is told in `dropping.py`, the **queries** of a mix of reads and updates in `mix.py`.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

from bench.alternate import Result, Side, compare, stopwatch, take_turns
from bench.cache import invalidation
from bench.cache.invalidation import INVALIDATE, KEYS, KEYS_ASKED, SCAN, UNLINK
from bench.cache.mixed_load import MixedLoad
from bench.figures import Figures, QueryCount
from bench.stack import BenchStack, open_stack
from orderworks.cache import Cache
from orderworks.core import keys
from orderworks.core.redis import Redis, make_redis
from orderworks.reads import CustomerReads

HGET, HIT = "bare HGET", "cached read"
WITHOUT, WITH = "mix without cache", "mix with cache"

NOWHERE = "redis://127.0.0.1:1/0"
"""Nobody answers here: reads go to the database, as they do with the cache away."""

ROOM = "2gb"
"""Memory of the benchmark's own cache: a million values have to fit, or it would evict some."""

PATIENCE = 60
"""Seconds to wait for an answer of the cache."""


def run(rows: int, values: int, reads: int, rounds: int) -> Figures:
    """All of it. `values` lie in the cache when customers are dropped; the mix has so many `reads`."""
    # Reads without a cache say every second that they go without; figures alone are to be printed.
    logging.getLogger("orderworks.cache").setLevel(logging.ERROR)
    with open_stack(rows) as stack, make_redis(stack.settings.cache, PATIENCE) as client:
        client.config_set("maxmemory", ROOM)
        stack.with_orders()
        hits = compare(rounds, *_hits(stack, client, reads))
        drops = compare(rounds, *invalidation.invalidation_sides(client, values))
        client.flushdb()
        loads = _loads(stack, rounds, reads)
        return Figures("cache", [*hits, *drops, *loads], [*compared(hits, drops), spared(loads)])


def compared(hits: Sequence[Result], drops: Sequence[Result]) -> list[str]:
    """How a cached read and `invalidate` stand to those that they are measured by."""
    cost = {result.name: 1 / result.rate for result in [*hits, *drops]}
    ours = cost[INVALIDATE]
    return [
        f"a {HIT} takes {cost[HIT] / cost[HGET]:.2f} times a {HGET}",
        f"{INVALIDATE} takes {ours / cost[UNLINK]:.2f} times a {UNLINK}",
        f"{SCAN} takes {cost[SCAN] / ours:,.0f} times {INVALIDATE}",
        (
            f"{KEYS} would take {cost[KEYS] / ours:,.0f} times {INVALIDATE}, "
            f"by the time of {KEYS_ASKED} customers"
        ),
    ]


def spared(loads: Sequence[QueryCount]) -> str:
    """The share of queries that the cache spares."""
    queries = {load.name: load.queries for load in loads}
    share = 1 - queries[WITH] / queries[WITHOUT]
    return f"the cache spares {share:.1%} of the queries"


def _hits(stack: BenchStack, client: Redis, count: int) -> list[Side]:
    reads = CustomerReads(stack.engine, Cache.from_settings(stack.settings), ttl=3600)
    customer_id = int(stack.sample.orders["customer_id"][0])
    reads.customer_summary(customer_id)
    key, field = keys.customer_cache(customer_id), "customer_summary()"
    return [
        Side(HGET, count, partial(_repeat, count, partial(client.hget, key, field))),
        Side(HIT, count, partial(_repeat, count, partial(reads.customer_summary, customer_id))),
    ]


def _repeat(count: int, read: Callable[[], object]) -> float:
    with stopwatch() as elapsed:
        for _read in range(count):
            read()
        return elapsed()


def _loads(stack: BenchStack, rounds: int, count: int) -> list[QueryCount]:
    """Queries of the mix without the cache and with it: medians."""
    mix = MixedLoad(stack, count)
    runs = {
        WITHOUT: partial(mix.queries, NOWHERE),
        WITH: partial(mix.queries, stack.settings.cache),
    }
    taken, _ = take_turns(rounds, runs, lambda queries: f"{queries:,} queries")
    return [
        QueryCount(name, mix.reads, queries, int(median(queries)))
        for name, queries in taken.items()
    ]
