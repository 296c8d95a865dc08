"""Chunks yield to updates that have waited for too long: while updates move, and for a bounded time."""

import time

import structlog

from orderworks.updates.stream import UpdateStream

log = structlog.get_logger()

STUCK_SECONDS = 30
"""Time after which a shard whose oldest update is still the same one counts as stuck. The drain of a
killed or frozen worker is replaced within it, and one that waits for a lock has failed."""

MAX_YIELD_SECONDS = 300
"""Longest time for which chunks yield. Workers apply millions of updates in it; where more arrive than
they can apply, imports must not wait for the end of that."""


class Yielding:
    """Decides whether chunks yield to updates. A worker process has one, which remembers what it saw."""

    def __init__(self) -> None:
        self._oldest: dict[int, tuple[int, float]] = {}
        self._since: float | None = None
        self._continues = False

    def must_yield(self, updates: UpdateStream, max_lag: float) -> bool:
        """Return whether updates have waited for more than `max_lag` seconds, and to wait will help.

        Raises:
            redis.RedisError: Redis cannot be reached.
        """
        late = [each.shard for each in updates.backlog().shards if each.lag > max_lag]
        heads = {shard: entries[0].version for shard in late if (entries := updates.read(shard, 1))}
        now = time.monotonic()
        self._oldest = {shard: self._first_seen(shard, head, now) for shard, head in heads.items()}
        if not heads:
            self._since, self._continues = None, False
            return False
        self._since = self._since or now
        moves = any(now - seen < STUCK_SECONDS for _head, seen in self._oldest.values())
        if moves and now - self._since < MAX_YIELD_SECONDS:
            return True
        self._log_once("updates wait, but to yield did not help" if moves else "updates are stuck")
        return False

    def _first_seen(self, shard: int, head: int, now: float) -> tuple[int, float]:
        """The oldest update of the shard, and since when it is that one."""
        known = self._oldest.get(shard)
        return known if known and known[0] == head else (head, now)

    def _log_once(self, reason: str) -> None:
        if not self._continues:
            log.warning("imports_continue", reason=reason, shards=sorted(self._oldest))
        self._continues = True
