"""Flights: computations under way in this process, at most one for a value at a time.

A reader that meets a flight does not compute. What the flight brings it may take directly only if the
flight's work began after the reader came: else there may have been an invalidation between the two, and
the reader would get what is from before it. Then it looks into the cache, and at the latest it shares
the next flight. So nobody waits for more than two.
"""

import secrets
import threading
from typing import NamedTuple


class Place(NamedTuple):
    """Where a value is cached: the key of a hash, and the field."""

    key: str
    field: str


class Flight:
    """One computation.

    Attributes:
        id: random; it marks the flight's lease, which keeps other processes from computing.
        has_begun: the cache is being asked, or the function called, or both were.
        is_over: nothing will change any more.
        body: the encoded value, if it brought one that others may take.
        error: what the function raised.
        next: the flight that those who waited for this one joined.
    """

    __slots__ = ("body", "error", "has_begun", "id", "is_over", "next")

    def __init__(self) -> None:
        self.id = secrets.token_hex(8)
        self.has_begun = self.is_over = False
        self.body: bytes | None = None
        self.error: Exception | None = None
        self.next: Flight | None = None


class Boarding(NamedTuple):
    """How a reader stands to a flight: whether it leads it, or else may share what it brings."""

    flight: Flight
    leads: bool
    shares: bool


class Flights:
    """All flights of a process. Threads and event loops share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[Place, Flight] = {}

    def join(self, place: Place) -> Boarding:
        """Lead a flight to this place, or wait for the one under way."""
        with self._lock:
            flight = self._under_way.get(place)
            if flight:
                return Boarding(flight, leads=False, shares=not flight.has_begun)
            flight = self._under_way[place] = Flight()
            return Boarding(flight, leads=True, shares=False)

    def join_next(self, place: Place, over: Flight) -> Boarding:
        """The same for who waited for a flight that is over: all of them join one and the same.

        It may be over as well by now. It began after the first one's end, so all may share it.
        """
        with self._lock:
            if over.next:
                return Boarding(over.next, leads=False, shares=True)
            under_way = self._under_way.get(place)
            over.next = under_way or self._under_way.setdefault(place, Flight())
            return Boarding(over.next, leads=under_way is None, shares=True)

    def begin(self, flight: Flight) -> None:
        """From now on what the flight brings is not for those who come."""
        with self._lock:
            flight.has_begun = True

    def end(self, place: Place, flight: Flight) -> None:
        """Let the next one begin."""
        with self._lock:
            del self._under_way[place]
            flight.is_over = True
