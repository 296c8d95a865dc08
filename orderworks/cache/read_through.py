"""A cached read, from the first look to the store, as steps without I/O.

A hit is one HGET. Else the reader joins the flight of this value, or leads one. Who leads takes the
hash's token (making one if there is none) and the lease in one server-side step, computes, and stores:
only if the same token is still there, again in one step. An invalidation takes the token with the hash,
so what was read before it is never stored after it. The lease is a key of its own beside the hash, so
that an invalidation does not let a second computation begin.
"""

import random
import struct
import time
from collections.abc import Iterator
from itertools import takewhile
from typing import Generic, NamedTuple, TypeVar

import msgspec

from orderworks.cache.backend import Script, Server
from orderworks.cache.codec import Codec
from orderworks.cache.effects import Load, Pause, Steps, pauses
from orderworks.cache.single_flight import Flight, Flights, Place
from orderworks.cache.stats import Counts
from orderworks.core import keys

LEASE = 5.0
"""Seconds after which another process may compute, because the one that began must have died."""

TOKEN_LIFE = 60.0
"""Seconds that a computation may take and still be stored, if nothing is cached beside it."""

LONGEST_WAIT = 60.0
"""Seconds after which a reader gives up waiting for the others of its process, and computes for itself.

Much longer than the lease: where all are of one process, a slow function is no sign that one died.
"""

MOST_FIELDS = 500
"""Fields of one hash. Calls with cursors and search words would make fields without end."""

T = TypeVar("T")

_HEADER = struct.Struct("<dd")
"""In front of a value: until when it is fresh, and until when it may be served; Unix time."""

# The token, whether this flight has the lease, and what is cached by now. Keys: hash, lease.
# Arguments: new token, flight, lease in ms, life of a token in ms, field.
_BEGIN = Script("""
local token = redis.call('HGET', KEYS[1], 'token')
if not token then
  token = ARGV[1]
  redis.call('HSET', KEYS[1], 'token', token)
end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[4]) then redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
local leads = redis.call('SET', KEYS[2], ARGV[2], 'NX', 'PX', ARGV[3])
return {token, leads and 1 or 0, redis.call('HGET', KEYS[1], ARGV[5])}
""")

_RELEASE_TEXT = """
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
"""

# Arguments: flight.
_RELEASE = Script(_RELEASE_TEXT)

# Arguments: flight, token, field, value, life of the value in ms, most fields. A hash that is full is
# begun anew under the same token: refusing would close it to new fields for as long as it is read.
_STORE = Script(f"""{_RELEASE_TEXT}
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[2] then return 0 end
if redis.call('HLEN', KEYS[1]) > tonumber(ARGV[6])
  and redis.call('HEXISTS', KEYS[1], ARGV[3]) == 0
then
  redis.call('UNLINK', KEYS[1])
  redis.call('HSET', KEYS[1], 'token', ARGV[2])
end
redis.call('HSET', KEYS[1], ARGV[3], ARGV[4])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[5]) then redis.call('PEXPIRE', KEYS[1], ARGV[5]) end
return 1
""")


class Lives(NamedTuple):
    """How long values live, in seconds.

    Attributes:
        ttl: until a value is computed anew.
        stale: that it may be served beyond that, to those who do not compute.
        negative: until the answer None is computed anew.
    """

    ttl: float
    stale: float
    negative: float

    def of(self, value: object) -> tuple[float, float]:
        """How long this value is fresh, shortened at random so that not all end at once; and stale."""
        share = random.uniform(0.8, 1)  # noqa: S311 - spreads load only
        return (self.negative * share, 0.0) if value is None else (self.ttl * share, self.stale)


class Found(NamedTuple, Generic[T]):
    """A cached value that may be served, and its bytes."""

    value: T
    body: bytes
    is_fresh: bool


class Begun(NamedTuple, Generic[T]):
    """How a flight begins: under which token, if the server answers; whether it may compute."""

    token: bytes | None
    leads: bool
    found: Found[T] | None


class Reading(Generic[T]):
    """Reads of one function. What it is given, all functions of the process share."""

    def __init__(
        self, server: Server, flights: Flights, counts: Counts, codec: Codec[T], lives: Lives
    ) -> None:
        self._server = server
        self._flights = flights
        self._counts = counts
        self._codec = codec
        self._lives = lives

    def steps(self, place: Place) -> Steps[T]:
        """What the caller gets of this place."""
        found = yield from self._look(place)
        if found and found.is_fresh:
            value = self._taken(found)
        else:
            value = yield from self._miss(place, found)
        if self._counts.are_due():
            yield from self._counts.tell(self._server)
        return value

    def _look(self, place: Place) -> Steps[Found[T] | None]:
        return self._served((yield from self._server.ask("HGET", place.key, place.field)))

    def _miss(self, place: Place, old: Found[T] | None) -> Steps[T]:
        """Join flights. However this ends, the next one can begin."""
        mine = Flight()
        try:
            if old:
                return (yield from self._renew(place, old, mine))
            return (yield from self._wait(place, mine))
        finally:
            # No call comes before it: a signal, which may come with any call, finds the flight over.
            mine.is_over = True
            self._flights.forget(place, mine)

    def _renew(self, place: Place, old: Found[T], mine: Flight) -> Steps[T]:
        """One reader computes anew what is stale, the others get the old."""
        leads = self._flights.join(place, mine).leads
        return (yield from self._fly(place, mine)) if leads else self._taken(old)

    def _wait(self, place: Place, mine: Flight) -> Steps[T]:
        """What the flight under way brings, if that is not from before this call; else the next one.

        Looking into the cache is never wrong: an invalidation would have taken what is old.
        """
        if self._flights.are_grounded(place):
            return (yield from self._alone())
        flight, leads, shares = self._flights.join(place, mine)
        patience = _patience()
        while not leads:
            if not (yield from self._stay(place, flight, patience)):
                return (yield from self._alone())
            if not shares and (found := (yield from self._look(place))):
                return self._taken(found)
            if flight.is_over:
                if shares and (flight.body is not None or flight.error):
                    return self._shared(flight)
                flight, leads, shares = self._flights.join_next(place, flight, mine)
        return (yield from self._fly(place, mine))

    def _stay(self, place: Place, flight: Flight, patience: Iterator[float]) -> Steps[bool]:
        """Wait a moment for a flight; whether it is worth it to go on."""
        pause = next(patience, None)
        if pause is None:
            # Its reader may be stuck for ever, or wait for this one in ways that nobody sees.
            self._flights.forget(place, flight)
            return False
        could_pause: bool = yield Pause(pause)
        return could_pause and not flight.is_unsharable

    def _alone(self) -> Steps[T]:
        """Compute for this reader only, without waiting for anybody."""
        self._counts.add("miss")
        self._counts.add("refused")
        value: T = yield Load()
        return value

    def _shared(self, flight: Flight) -> T:
        if flight.error:
            raise flight.error
        self._counts.add("hit")
        return self._codec.decode(flight.body or b"")

    def _fly(self, place: Place, flight: Flight) -> Steps[T]:
        """Lead a flight. If it fails, other processes need not wait for the end of its lease."""
        try:
            return (yield from self._lead(place, flight))
        except GeneratorExit:
            # Nobody carries steps out any more. The lease ends by itself.
            raise
        except BaseException as error:
            # Who waits is told of failures, but not that this reader was interrupted or cancelled.
            flight.error = error if isinstance(error, Exception) else None
            yield from self._release(place, flight)
            raise

    def _lead(self, place: Place, flight: Flight) -> Steps[T]:
        """Compute, or take what another process computed meanwhile."""
        # From here on an answer may be from before an invalidation that a later reader knows of.
        self._flights.begin(flight)
        for pause in pauses():
            begun = yield from self._begin(place, flight)
            if begun.found and (begun.found.is_fresh or not begun.leads):
                flight.body = begun.found.body
                yield from self._release(place, flight)
                return self._taken(begun.found)
            if begun.leads or not (yield Pause(pause)):
                return (yield from self._compute(place, flight, begun.token))
        raise AssertionError("pauses do not end")

    def _begin(self, place: Place, flight: Flight) -> Steps[Begun[T]]:
        lives = (round(LEASE * 1000), round(TOKEN_LIFE * 1000))
        arguments = (flight.id, flight.id, *lives, place.field)
        # It may be interrupted while the answer is on its way.
        flight.has_lease = True
        answer = yield from self._server.run(_BEGIN, _keys(place), *arguments)
        if answer is None:
            flight.has_lease = False
            return Begun(None, leads=True, found=None)
        token, leads, raw = answer
        flight.has_lease = bool(leads)
        return Begun(token, bool(leads), self._served(raw))

    def _compute(self, place: Place, flight: Flight, token: bytes | None) -> Steps[T]:
        self._counts.add("error" if token is None else "miss")
        value: T = yield Load()
        flight.body = self._codec.encode(value)
        if flight.body is None:
            self._flights.ground(place)
            flight.is_unsharable = True
        if token is not None:
            yield from self._store(place, flight, token, value)
        return value

    def _store(self, place: Place, flight: Flight, token: bytes, value: T) -> Steps[None]:
        """Store what the flight brings, unless the token has changed, and give the lease back."""
        if flight.body is None:
            self._counts.add("refused")
            yield from self._release(place, flight)
            return
        fresh, stale = self._lives.of(value)
        until = time.time() + fresh
        raw = _HEADER.pack(until, until + stale) + flight.body
        life = round((fresh + stale) * 1000)
        arguments = (flight.id, token, place.field, raw, life, MOST_FIELDS)
        if (yield from self._server.give_back(_STORE, _keys(place), *arguments)) == 0:
            self._counts.add("refused")

    def _release(self, place: Place, flight: Flight) -> Steps[None]:
        """Give the lease back, if the flight has it: others need not wait for its end."""
        if flight.has_lease:
            yield from self._server.give_back(_RELEASE, _keys(place), flight.id)

    def _served(self, raw: bytes | None) -> Found[T] | None:
        """What the hash has, if it may be served."""
        if raw is None:
            return None
        try:
            fresh_until, stale_until = _HEADER.unpack_from(raw)
            now = time.time()
            if now >= stale_until:
                return None
            body = raw[_HEADER.size :]
            return Found(self._codec.decode(body), body, now < fresh_until)
        except (struct.error, msgspec.MsgspecError):
            # Another release of the application returned something else.
            return None

    def _taken(self, found: Found[T]) -> T:
        self._counts.add("hit" if found.is_fresh else "stale")
        return found.value


def _patience() -> Iterator[float]:
    """Pauses until a reader has waited long enough."""
    until = time.monotonic() + LONGEST_WAIT
    return takewhile(lambda _pause: time.monotonic() < until, pauses())


def _keys(place: Place) -> tuple[str, str]:
    return place.key, keys.cache_lease(place.key, place.field)
