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
from typing import Generic, NamedTuple, TypeVar

import msgspec

from orderworks.cache.backend import CacheBackend, Script
from orderworks.cache.codec import Codec
from orderworks.cache.effects import CacheSteps, LoadValue, pauses
from orderworks.cache.single_flight import CacheKey, Computation, SingleFlight
from orderworks.cache.stats import CacheStats
from orderworks.core import keys
from orderworks.core.effects import Pause

LEASE_SECONDS = 5.0
"""Seconds after which another process may compute, because the one that began must have died."""

TOKEN_SECONDS = 60.0
"""Seconds that a computation may take and still be stored, if nothing is cached beside it."""

MAX_WAIT = 60.0
"""Seconds after which a reader gives up waiting for the others of its process, and computes for itself.

Much longer than the lease: where all are of one process, a slow function is no sign that one died.
"""

MAX_FIELDS = 500
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


class Lifetimes(NamedTuple):
    """How long values live, in seconds.

    Attributes:
        ttl: until a value is computed anew.
        stale: that it may be served beyond that, to those who do not compute.
        negative: until the answer None is computed anew.
    """

    ttl: float
    stale: float
    negative: float

    def for_value(self, value: object) -> tuple[float, float]:
        """How long this value is fresh, shortened at random so that not all end at once; and stale."""
        share = random.uniform(0.8, 1)  # noqa: S311 - spreads load only
        return (self.negative * share, 0.0) if value is None else (self.ttl * share, self.stale)


class CacheEntry(NamedTuple, Generic[T]):
    """A cached value that may be served, and its bytes."""

    value: T
    body: bytes
    is_fresh: bool


class LeaseResult(NamedTuple, Generic[T]):
    """How a flight begins: under which token, if the server answers; whether it may compute."""

    token: bytes | None
    leads: bool
    entry: CacheEntry[T] | None


class ReadThrough(Generic[T]):
    """Reads of one function. What it is given, all functions of the process share."""

    def __init__(
        self,
        backend: CacheBackend,
        single_flight: SingleFlight,
        stats: CacheStats,
        codec: Codec[T],
        lifetimes: Lifetimes,
    ) -> None:
        self._backend = backend
        self._single_flight = single_flight
        self._stats = stats
        self._codec = codec
        self._lifetimes = lifetimes

    def read(self, cache_key: CacheKey) -> CacheSteps[T]:
        """What the caller gets of this place."""
        found = yield from self._fetch(cache_key)
        if found and found.is_fresh:
            value = self._count_hit(found)
        else:
            value = yield from self._miss(cache_key, found)
        if self._stats.is_publish_due():
            yield from self._stats.publish(self._backend)
        return value

    def _fetch(self, cache_key: CacheKey) -> CacheSteps[CacheEntry[T] | None]:
        return self._decode_entry(
            (yield from self._backend.execute("HGET", cache_key.key, cache_key.field))
        )

    def _miss(self, cache_key: CacheKey, old: CacheEntry[T] | None) -> CacheSteps[T]:
        """Join flights. However this ends, the next one can begin."""
        mine = Computation()
        try:
            if old:
                return (yield from self._refresh_stale(cache_key, old, mine))
            return (yield from self._join_or_compute(cache_key, mine))
        finally:
            # No call comes before it: a signal, which may come with any call, finds the flight over.
            mine.is_finished = True
            self._single_flight.release(cache_key, mine)

    def _refresh_stale(
        self, cache_key: CacheKey, old: CacheEntry[T], own: Computation
    ) -> CacheSteps[T]:
        """One reader computes anew what is stale, the others get the old."""
        leads = self._single_flight.join(cache_key, own).leads
        return (yield from self._run_computation(cache_key, own)) if leads else self._count_hit(old)

    def _join_or_compute(self, cache_key: CacheKey, own: Computation) -> CacheSteps[T]:
        """What the flight under way brings, if that is not from before this call; else the next one.

        Looking into the cache is never wrong: an invalidation would have taken what is old.
        """
        if self._single_flight.is_disabled(cache_key):
            return (yield from self._compute_unshared())
        flight, leads, shares = self._single_flight.join(cache_key, own)
        patience = pauses(MAX_WAIT)
        while not leads:
            if not (yield from self._keep_waiting(cache_key, flight, patience)):
                return (yield from self._compute_unshared())
            if not shares and (found := (yield from self._fetch(cache_key))):
                return self._count_hit(found)
            if flight.is_finished:
                if shares and (flight.body is not None or flight.error):
                    return self._shared_result(flight)
                flight, leads, shares = self._single_flight.join_next(cache_key, flight, own)
        return (yield from self._run_computation(cache_key, own))

    def _keep_waiting(
        self, cache_key: CacheKey, computation: Computation, remaining_pauses: Iterator[float]
    ) -> CacheSteps[bool]:
        """Wait a moment for a flight; whether it is worth it to go on."""
        pause = next(remaining_pauses, None)
        if pause is None:
            # Its reader may be stuck for ever, or wait for this one in ways that nobody sees.
            self._single_flight.release(cache_key, computation)
            return False
        could_pause: bool = yield Pause(pause)
        return could_pause and not computation.is_unsharable

    def _compute_unshared(self) -> CacheSteps[T]:
        """Compute for this reader only, without waiting for anybody."""
        self._stats.add("miss")
        self._stats.add("refused")
        value: T = yield LoadValue()
        return value

    def _shared_result(self, computation: Computation) -> T:
        if computation.error:
            raise computation.error
        self._stats.add("hit")
        return self._codec.decode(computation.body or b"")

    def _run_computation(self, cache_key: CacheKey, computation: Computation) -> CacheSteps[T]:
        """Lead a flight. If it fails, other processes need not wait for the end of its lease."""
        try:
            return (yield from self._compute_or_adopt(cache_key, computation))
        except GeneratorExit:
            # Nobody carries steps out any more. The lease ends by itself.
            raise
        except BaseException as error:
            # Who waits is told of failures, but not that this reader was interrupted or cancelled.
            computation.error = error if isinstance(error, Exception) else None
            yield from self._release_lease(cache_key, computation)
            raise

    def _compute_or_adopt(self, cache_key: CacheKey, computation: Computation) -> CacheSteps[T]:
        """Compute, or take what another process computed meanwhile."""
        # From here on an answer may be from before an invalidation that a later reader knows of.
        self._single_flight.mark_started(computation)
        for pause in pauses():
            begun = yield from self._acquire_lease(cache_key, computation)
            if begun.entry and (begun.entry.is_fresh or not begun.leads):
                computation.body = begun.entry.body
                yield from self._release_lease(cache_key, computation)
                return self._count_hit(begun.entry)
            if begun.leads or not (yield Pause(pause)):
                return (yield from self._compute(cache_key, computation, begun.token))
        raise AssertionError("pauses do not end")

    def _acquire_lease(
        self, cache_key: CacheKey, computation: Computation
    ) -> CacheSteps[LeaseResult[T]]:
        lives = (round(LEASE_SECONDS * 1000), round(TOKEN_SECONDS * 1000))
        arguments = (computation.id, computation.id, *lives, cache_key.field)
        # It may be interrupted while the answer is on its way.
        computation.has_lease = True
        answer = yield from self._backend.run_script(_BEGIN, _keys(cache_key), *arguments)
        if answer is None:
            computation.has_lease = False
            return LeaseResult(None, leads=True, entry=None)
        token, leads, raw = answer
        computation.has_lease = bool(leads)
        return LeaseResult(token, bool(leads), self._decode_entry(raw))

    def _compute(
        self, cache_key: CacheKey, computation: Computation, token: bytes | None
    ) -> CacheSteps[T]:
        self._stats.add("error" if token is None else "miss")
        value: T = yield LoadValue()
        computation.body = self._codec.encode(value)
        if computation.body is None:
            self._single_flight.disable(cache_key)
            computation.is_unsharable = True
        if token is not None:
            yield from self._store(cache_key, computation, token, value)
        return value

    def _store(
        self, cache_key: CacheKey, computation: Computation, token: bytes, value: T
    ) -> CacheSteps[None]:
        """Store what the flight brings, unless the token has changed, and give the lease back."""
        if computation.body is None:
            self._stats.add("refused")
            yield from self._release_lease(cache_key, computation)
            return
        fresh, stale = self._lifetimes.for_value(value)
        until = time.time() + fresh
        raw = _HEADER.pack(until, until + stale) + computation.body
        life = round((fresh + stale) * 1000)
        arguments = (computation.id, token, cache_key.field, raw, life, MAX_FIELDS)
        if (yield from self._backend.force_script(_STORE, _keys(cache_key), *arguments)) == 0:
            self._stats.add("refused")

    def _release_lease(self, cache_key: CacheKey, computation: Computation) -> CacheSteps[None]:
        """Give the lease back, if the flight has it: others need not wait for its end."""
        if computation.has_lease:
            yield from self._backend.force_script(_RELEASE, _keys(cache_key), computation.id)

    def _decode_entry(self, raw: bytes | None) -> CacheEntry[T] | None:
        """What the hash has, if it may be served."""
        if raw is None:
            return None
        try:
            fresh_until, stale_until = _HEADER.unpack_from(raw)
            now = time.time()
            if now >= stale_until:
                return None
            body = raw[_HEADER.size :]
            return CacheEntry(self._codec.decode(body), body, now < fresh_until)
        except (struct.error, msgspec.MsgspecError):
            # Another release of the application returned something else.
            return None

    def _count_hit(self, entry: CacheEntry[T]) -> T:
        self._stats.add("hit" if entry.is_fresh else "stale")
        return entry.value


def _keys(cache_key: CacheKey) -> tuple[str, str]:
    return cache_key.key, keys.cache_lease(cache_key.key, cache_key.field)
