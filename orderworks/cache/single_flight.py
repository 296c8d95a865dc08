"""Single flight: the computations running in this process, at most one per cache key at a time.

A reader that finds a computation running joins it instead of computing. It may use the result directly
only if the computation started after the reader joined: otherwise an invalidation may lie between the
two, and the result may be older than that. In this case the reader waits until the value is in the
cache, or shares the result of the next computation. So it waits for two computations at most, not
counting those whose readers were interrupted.

Results that do not round-trip through the codec disable single flight for that key for 10 s.
"""

import secrets
import threading
import time
from itertools import takewhile
from typing import NamedTuple

DISABLED_SECONDS = 10.0
"""Seconds for which readers compute a value on their own after it could not be cached."""


class CacheKey(NamedTuple):
    """The Redis hash and the field in which a value is cached."""

    key: str
    field: str


class Computation:
    """One computation of a value, by one reader.

    Attributes:
        id: random; the value of its lease, which makes other processes wait.
        has_started: its reader has begun to query the cache or to call the function.
        has_lease: it holds the lease, or may hold it, and has to release it.
        is_finished: no attribute changes any more. Its reader sets it last, without a call.
        body: the encoded value, if others may use it.
        is_unsharable: the value cannot be encoded, so other readers compute it on their own.
        error: the exception that the function raised.
        successor: the computation that the readers waiting for this one joined.
    """

    __slots__ = (
        "body",
        "error",
        "has_lease",
        "has_started",
        "id",
        "is_finished",
        "is_unsharable",
        "successor",
    )

    def __init__(self) -> None:
        self.id = secrets.token_hex(8)
        self.has_started = self.has_lease = self.is_finished = self.is_unsharable = False
        self.body: bytes | None = None
        self.error: Exception | None = None
        self.successor: Computation | None = None


class JoinResult(NamedTuple):
    """The computation that a reader joined.

    Attributes:
        leads: it is the reader's own, which the reader has to run.
        shares: the reader may use its result directly.
    """

    computation: Computation
    leads: bool
    shares: bool


class SingleFlight:
    """All computations of a process. Threads and event loops share it.

    Each reader passes a computation of its own, which is registered if none is running. So the reader
    can finish it however it is interrupted, even before `join` has returned.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[CacheKey, Computation] = {}
        self._disabled_until: dict[CacheKey, float] = {}

    def join(self, cache_key: CacheKey, own: Computation) -> JoinResult:
        """Join the computation running for this key, or register `own`."""
        with self._lock:
            computation = self._running_or(cache_key, own)
            return JoinResult(computation, computation is own, shares=not computation.has_started)

    def join_next(self, cache_key: CacheKey, finished: Computation, own: Computation) -> JoinResult:
        """Join the successor of a finished computation, the same for all readers that waited for it.

        The successor may be finished too. It started after the first one's end, so all may share it.
        """
        with self._lock:
            finished.successor = finished.successor or self._running_or(cache_key, own)
            return JoinResult(finished.successor, finished.successor is own, shares=True)

    def mark_started(self, computation: Computation) -> None:
        """Record that readers joining from now on may not share the result."""
        with self._lock:
            computation.has_started = True

    def release(self, cache_key: CacheKey, computation: Computation) -> None:
        """Allow the next computation to start, even if this one is not finished."""
        with self._lock:
            if self._running.get(cache_key) is computation:
                del self._running[cache_key]

    def disable(self, cache_key: CacheKey) -> None:
        """Disable single flight for this key for `DISABLED_SECONDS`."""
        now = time.monotonic()
        with self._lock:
            self._disabled_until.pop(cache_key, None)
            self._disabled_until[cache_key] = now + DISABLED_SECONDS
            # The dictionary is in order of time. Without this, new arguments would fill the memory.
            expired = list(
                takewhile(lambda each: self._disabled_until[each] <= now, self._disabled_until)
            )
            for each in expired:
                del self._disabled_until[each]

    def is_disabled(self, cache_key: CacheKey) -> bool:
        """Return whether readers of this key compute on their own."""
        deadline = self._disabled_until.get(cache_key)
        return deadline is not None and time.monotonic() < deadline

    def _running_or(self, cache_key: CacheKey, own: Computation) -> Computation:
        """Return the running computation; if none is running, register `own` and return it."""
        computation = self._running.get(cache_key)
        if computation is None or computation.is_finished:
            # A finished one is still registered if its reader was interrupted before `release`.
            computation = self._running[cache_key] = own
        return computation
