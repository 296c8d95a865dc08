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

GROUNDED = 10.0
"""Seconds for which readers compute for themselves what could not be cached the last time."""


class Place(NamedTuple):
    """Where a value is cached: the key of a hash, and the field."""

    key: str
    field: str


class Flight:
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
        "has_begun",
        "has_lease",
        "id",
        "is_over",
        "is_unsharable",
        "next",
    )

    def __init__(self) -> None:
        self.id = secrets.token_hex(8)
        self.has_begun = self.has_lease = self.is_over = self.is_unsharable = False
        self.body: bytes | None = None
        self.error: Exception | None = None
        self.next: Flight | None = None


class Boarding(NamedTuple):
    """How a reader stands to a flight: whether it leads it, or else may share what it brings."""

    flight: Flight
    leads: bool
    shares: bool


class Flights:
    """All flights of a process. Threads and event loops share it.

    A reader brings a flight of its own, which it leads if there is none. So it can end it however it
    is interrupted, even before it hears that it leads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[Place, Flight] = {}
        self._grounded_until: dict[Place, float] = {}

    def join(self, place: Place, mine: Flight) -> Boarding:
        """Lead `mine` to this place, or wait for the one under way."""
        with self._lock:
            flight = self._seated(place, mine)
            return Boarding(flight, flight is mine, shares=not flight.has_begun)

    def join_next(self, place: Place, over: Flight, mine: Flight) -> Boarding:
        """The same for who waited for a flight that is over: all of them join one and the same.

        It may be over as well by now. It began after the first one's end, so all may share it.
        """
        with self._lock:
            over.next = over.next or self._seated(place, mine)
            return Boarding(over.next, over.next is mine, shares=True)

    def begin(self, flight: Flight) -> None:
        """From now on what the flight brings is not for those who come."""
        with self._lock:
            flight.has_begun = True

    def forget(self, place: Place, flight: Flight) -> None:
        """Let the next one begin, also if this one is not over: nobody waits for it any more."""
        with self._lock:
            if self._under_way.get(place) is flight:
                del self._under_way[place]

    def ground(self, place: Place) -> None:
        """Nobody flies to this place for a while."""
        now = time.monotonic()
        with self._lock:
            self._grounded_until.pop(place, None)
            self._grounded_until[place] = now + GROUNDED
            # The oldest stand first. Calls with ever new arguments would fill the memory.
            past = list(
                takewhile(lambda each: self._grounded_until[each] <= now, self._grounded_until)
            )
            for each in past:
                del self._grounded_until[each]

    def are_grounded(self, place: Place) -> bool:
        """Whether readers of this place compute for themselves."""
        until = self._grounded_until.get(place)
        return until is not None and time.monotonic() < until

    def _seated(self, place: Place, mine: Flight) -> Flight:
        """The flight under way; this reader's, if there is none."""
        flight = self._under_way.get(place)
        if flight is None or flight.is_over:
            # One that is over still stands here if its reader was interrupted once more.
            flight = self._under_way[place] = mine
        return flight
