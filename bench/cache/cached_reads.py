"""The benchmark of the cache: the time of a hit, of invalidation, and the number of saved queries.

**A cached read** is compared with a bare HGET of the same value by redis-py; each has a connection of
its own. **Invalidation** is in `invalidation.py`, the **queries** of a mixed load in `mixed_load.py`.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

from bench.alternate import Result, Side, compare, stopwatch, take_turns
from bench.cache import invalidation
from bench.cache.invalidation import INVALIDATE, KEYS, KEYS_CUSTOMERS, SCAN, UNLINK
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
"""An address without a server: reads use the database, as while the cache is unavailable."""

MAX_MEMORY = "2gb"
"""Memory of the benchmark's own cache, in which a million values fit without eviction."""

TIMEOUT = 60
"""Seconds to wait for a reply of the cache."""


def run(rows: int, values: int, reads: int, rounds: int) -> Figures:
    """Measure hits, invalidation with `values` cached values, and a mixed load of `reads` operations."""
    # Reads without a cache log that every second; only figures are to be printed.
    logging.getLogger("orderworks.cache").setLevel(logging.ERROR)
    with open_stack(rows) as stack:
        return run_on(stack, values, reads, rounds)


def run_on(stack: BenchStack, values: int, reads: int, rounds: int) -> Figures:
    """Do the same on a stack."""
    with make_redis(stack.settings.cache, TIMEOUT) as client:
        client.config_set("maxmemory", MAX_MEMORY)
        stack.with_orders()
        hits = compare(rounds, *_hits(stack, client, reads))
        removals = compare(rounds, *invalidation.invalidation_sides(client, values))
        client.flushdb()
        counts = _query_counts(stack, rounds, reads)
        notes = [*comparisons(hits, removals), saved_queries(counts)]
        return Figures("cache", [*hits, *removals, *counts], notes)


def comparisons(hits: Sequence[Result], removals: Sequence[Result]) -> list[str]:
    """Return the times of a hit and of `invalidate` relative to those of the other sides."""
    cost = {result.name: 1 / result.rate for result in [*hits, *removals]}
    ours = cost[INVALIDATE]
    return [
        f"a {HIT} takes {cost[HIT] / cost[HGET]:.2f} times a {HGET}",
        f"{INVALIDATE} takes {ours / cost[UNLINK]:.2f} times a {UNLINK}",
        f"{SCAN} takes {cost[SCAN] / ours:,.0f} times {INVALIDATE}",
        (
            f"{KEYS} would take {cost[KEYS] / ours:,.0f} times {INVALIDATE}, "
            f"by the time of {KEYS_CUSTOMERS} customers"
        ),
    ]


def saved_queries(counts: Sequence[QueryCount]) -> str:
    """Return a note with the share of queries that the cache saves."""
    queries = {count.name: count.queries for count in counts}
    share = 1 - queries[WITH] / queries[WITHOUT]
    return f"the cache saves {share:.1%} of the queries"


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


def _query_counts(stack: BenchStack, rounds: int, count: int) -> list[QueryCount]:
    """Return the queries of the mixed load without the cache and with it."""
    load = MixedLoad(stack, count)
    runs = {
        WITHOUT: partial(load.queries, NOWHERE),
        WITH: partial(load.queries, stack.settings.cache),
    }
    by_run, _ = take_turns(rounds, runs, lambda queries: f"{queries:,} queries")
    return [
        QueryCount(name, load.reads, queries, int(median(queries)))
        for name, queries in by_run.items()
    ]
