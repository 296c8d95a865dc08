"""How cached reads went: counted in each process, and summed up in the cache's server.

A count is no reason to ask the server: a process tells what came together at most once a second.
"""

import threading
import time
from collections import Counter
from enum import StrEnum

from orders import names
from orders.caching.server import Script, Server
from orders.caching.steps import Steps
from orders.redis import Redis

INTERVAL = 1.0
"""Seconds between two tellings of one process."""


class Count(StrEnum):
    """What is counted. A read is one of the first four; the last is one of the misses as well."""

    HIT = "hit"
    """Answered from the cache, or with what another reader computed meanwhile."""
    STALE = "stale"
    """Answered from the cache with a value past its time, while another reader computed it anew."""
    MISS = "miss"
    """Computed."""
    ERROR = "error"
    """Computed without the cache, whose server did not answer."""
    REFUSED = "refused"
    """Computed, and not stored: the customer changed meanwhile, or the value cannot be cached."""


READS = (Count.HIT, Count.STALE, Count.MISS, Count.ERROR)
"""What becomes of reads: each is counted as one of these."""


_ADD = Script("""
for i = 1, #ARGV, 2 do redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1]) end
return 1
""")


class Counts:
    """The counts of one process that are not told yet. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._untold: Counter[Count] = Counter()
        self._next = 0.0

    def add(self, count: Count) -> None:
        """One more."""
        with self._lock:
            self._untold[count] += 1

    def are_due(self) -> bool:
        """Whether it is time to tell them."""
        return time.monotonic() >= self._next

    def tell(self, server: Server) -> Steps[None]:
        """Add them to the sums of all processes; they are kept while the server is away."""
        with self._lock:
            told, self._untold = self._untold, Counter()
            self._next = time.monotonic() + INTERVAL
        pairs = [part for count, number in told.items() for part in (count.value, number)]
        if pairs and (yield from server.run(_ADD, (names.cache_counts(),), *pairs)) is None:
            with self._lock:
                self._untold.update(told)


def cache_counts(client: Redis) -> dict[str, int]:
    """How the cached reads of all processes went so far, by what `Count` says.

    What a process counted in its last second may be missing.

    Raises:
        redis.RedisError: the server cannot be asked.
    """
    found = client.hgetall(names.cache_counts())
    return {count.value: int(found.get(count.value.encode(), 0)) for count in Count}
