"""Flights: computations under way in this process, at most one for a value at a time.

A reader that meets a flight does not compute. What the flight brings it may take directly only if the
flight's work began after the reader came: else there may have been an invalidation between the two, and
the reader would get what is from before it. Then it looks into the cache, and at the latest it shares
the next flight. So nobody waits for more than two, but for those whose readers were interrupted.

Where what was brought cannot be shared, because it has no faithful bytes, nobody flies for a while.
"""

import secrets
import threading
import time
from itertools import takewhile
from typing import NamedTuple

DISABLED_SECONDS = 10.0
"""Seconds for which readers compute for themselves what could not be cached the last time."""


class CacheKey(NamedTuple):
    """Where a value is cached: the key of a hash, and the field."""

    key: str
    field: str


class Computation:
    """One computation.

    Attributes:
        id: random; it marks the flight's lease, which keeps other processes from computing.
        has_begun: the cache is being asked, or the function called, or both were.
        has_lease: other processes wait for it, until it gives its lease back.
        is_over: nothing will change any more. Its reader sets it without a call, as the last thing.
        body: the encoded value, if it brought one that others may take.
        is_unsharable: it brought a value that cannot be encoded. Others compute for themselves.
        error: what the function raised.
        next: the flight that those who waited for this one joined.
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
    """How a reader stands to a flight: whether it leads it, or else may share what it brings."""

    computation: Computation
    leads: bool
    shares: bool


class SingleFlight:
    """All flights of a process. Threads and event loops share it.

    A reader brings a flight of its own, which it leads if there is none. So it can end it however it
    is interrupted, even before it hears that it leads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[CacheKey, Computation] = {}
        self._disabled_until: dict[CacheKey, float] = {}

    def join(self, cache_key: CacheKey, own: Computation) -> JoinResult:
        """Lead `mine` to this place, or wait for the one under way."""
        with self._lock:
            flight = self._joined(cache_key, own)
            return JoinResult(flight, flight is own, shares=not flight.has_started)

    def join_next(self, cache_key: CacheKey, finished: Computation, own: Computation) -> JoinResult:
        """The same for who waited for a flight that is over: all of them join one and the same.

        It may be over as well by now. It began after the first one's end, so all may share it.
        """
        with self._lock:
            finished.successor = finished.successor or self._joined(cache_key, own)
            return JoinResult(finished.successor, finished.successor is own, shares=True)

    def mark_started(self, computation: Computation) -> None:
        """From now on what the flight brings is not for those who come."""
        with self._lock:
            computation.has_started = True

    def release(self, cache_key: CacheKey, computation: Computation) -> None:
        """Let the next one begin, also if this one is not over: nobody waits for it any more."""
        with self._lock:
            if self._running.get(cache_key) is computation:
                del self._running[cache_key]

    def disable(self, cache_key: CacheKey) -> None:
        """Nobody flies to this place for a while."""
        now = time.monotonic()
        with self._lock:
            self._disabled_until.pop(cache_key, None)
            self._disabled_until[cache_key] = now + DISABLED_SECONDS
            # The oldest stand first. Calls with ever new arguments would fill the memory.
            past = list(
                takewhile(lambda each: self._disabled_until[each] <= now, self._disabled_until)
            )
            for each in past:
                del self._disabled_until[each]

    def is_disabled(self, cache_key: CacheKey) -> bool:
        """Whether readers of this place compute for themselves."""
        until = self._disabled_until.get(cache_key)
        return until is not None and time.monotonic() < until

    def _joined(self, cache_key: CacheKey, own: Computation) -> Computation:
        """The flight under way; this reader's, if there is none."""
        flight = self._running.get(cache_key)
        if flight is None or flight.is_finished:
            # One that is over still stands here if its reader was interrupted once more.
            flight = self._running[cache_key] = own
        return flight
