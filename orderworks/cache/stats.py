"""How cached reads went: counted in each process, and summed up in the cache's server.

A count is no reason to ask the server: a process tells what came together at most once a second.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Literal

from orderworks.cache.backend import CacheBackend, Script
from orderworks.cache.effects import CacheSteps
from orderworks.core import keys
from orderworks.core.redis import Redis

PUBLISH_INTERVAL = 1.0
"""Seconds between two tellings of one process."""


Count = Literal["hit", "stale", "miss", "error", "refused"]
"""How a read went. These are strings and no enum, whose members are hashed too slowly for every read.

* `hit`: answered from the cache, or with what another reader computed meanwhile;
* `stale`: answered from the cache with a value past its time, while another reader computed it anew;
* `miss`: computed;
* `error`: computed without the cache, whose server did not answer;
* `refused`, which is a miss too: not stored, because the customer changed meanwhile, the value cannot be
  cached, or its reader could not wait for the one who stores it.
"""

READS: tuple[Count, ...] = ("hit", "stale", "miss", "error")
"""What becomes of reads: each is counted as one of these."""


_ADD = Script("""
for i = 1, #ARGV, 2 do redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1]) end
return 1
""")


class CacheStats:
    """The counts of one process that are not told yet. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._unpublished: dict[Count, int] = defaultdict(int)
        self._next = 0.0

    def add(self, count: Count) -> None:
        """One more."""
        with self._lock:
            self._unpublished[count] += 1

    def is_publish_due(self) -> bool:
        """Whether it is time to tell them."""
        return time.monotonic() >= self._next

    def publish(self, server: CacheBackend) -> CacheSteps[None]:
        """Add them to the sums of all processes; they are kept while the server is away."""
        with self._lock:
            told, self._unpublished = self._unpublished, defaultdict(int)
            self._next = time.monotonic() + PUBLISH_INTERVAL
        pairs = [part for count, number in told.items() for part in (count, number)]
        if pairs and (yield from server.run_script(_ADD, (keys.cache_counts(),), *pairs)) is None:
            with self._lock:
                for count, number in told.items():
                    self._unpublished[count] += number


def hit_rate(counts: Mapping[str, int]) -> float | None:
    """The share of the reads that needed no query; None if nothing was read."""
    reads = sum(counts[each] for each in READS)
    return round((counts["hit"] + counts["stale"]) / reads, 3) if reads else None


def cache_counts(client: Redis) -> dict[str, int]:
    """How the cached reads of all processes went so far, by `Count`.

    What a process counted in its last second may be missing.

    Raises:
        redis.RedisError: the server cannot be asked.
    """
    found = client.hgetall(keys.cache_counts())
    return {count: int(found.get(count.encode(), 0)) for count in (*READS, "refused")}
