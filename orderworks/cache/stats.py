"""Hit statistics of cached reads: counted in each process, and added up in Redis.

No read waits for a command of its own that only counts: a process publishes at most once a second.
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
"""Seconds between two publications of one process."""


Count = Literal["hit", "stale", "miss", "error", "refused"]
"""The result of a read. Strings and not an enum, whose members hash too slowly for every read.

* `hit`: returned from the cache, or from another reader's computation;
* `stale`: returned from the cache after the value's TTL, while another reader computed it again;
* `miss`: computed;
* `error`: computed without the cache, because Redis did not reply;
* `refused`, counted in addition to `miss`: the value was not stored, because the customer changed
  meanwhile, the value cannot be cached, or the reader could not wait for the one that stores it.
"""

READS: tuple[Count, ...] = ("hit", "stale", "miss", "error")
"""The results of which each read has exactly one."""


_ADD = Script("""
for i = 1, #ARGV, 2 do redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1]) end
return 1
""")


class CacheStats:
    """The unpublished counts of one process. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._unpublished: dict[Count, int] = defaultdict(int)
        self._next_publish = 0.0

    def add(self, count: Count) -> None:
        """Count one read."""
        with self._lock:
            self._unpublished[count] += 1

    def is_publish_due(self) -> bool:
        """Return whether the last publication is at least `PUBLISH_INTERVAL` ago."""
        return time.monotonic() >= self._next_publish

    def publish(self, backend: CacheBackend) -> CacheSteps[None]:
        """Add the counts to the sums of all processes; keep them while Redis is unavailable."""
        with self._lock:
            published, self._unpublished = self._unpublished, defaultdict(int)
            self._next_publish = time.monotonic() + PUBLISH_INTERVAL
        pairs = [part for count, number in published.items() for part in (count, number)]
        if pairs and (yield from backend.run_script(_ADD, (keys.cache_counts(),), *pairs)) is None:
            with self._lock:
                for count, number in published.items():
                    self._unpublished[count] += number


def hit_rate(counts: Mapping[str, int]) -> float | None:
    """Return the share of the reads that needed no query; None without any read."""
    reads = sum(counts[each] for each in READS)
    return round((counts["hit"] + counts["stale"]) / reads, 3) if reads else None


def cache_counts(client: Redis) -> dict[str, int]:
    """Return the number of cached reads of all processes so far, by `Count`.

    The last second of each process may be missing.

    Raises:
        redis.RedisError: the cache is unavailable.
    """
    counts = client.hgetall(keys.cache_counts())
    return {count: int(counts.get(count.encode(), 0)) for count in (*READS, "refused")}
