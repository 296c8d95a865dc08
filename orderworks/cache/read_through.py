"""A cached read from lookup to store, as steps without I/O.

A hit is one HGET. On a miss the reader joins the running computation of this value or starts one. The
computing reader gets the hash's token (setting one if it is missing) and the lease in one server-side
step, computes, and stores the value in another one, only if the hash still has the same token. An
invalidation deletes the token with the hash, so a value read before it is never stored after it. The
lease is a key of its own, so that an invalidation does not allow a second computation to start.
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
"""Seconds after which another process may compute, because the one with the lease must have failed."""

TOKEN_SECONDS = 60.0
"""Seconds that a computation may take and still be stored, if the hash has no other field."""

MAX_WAIT = 60.0
"""Seconds after which a reader stops waiting for readers of its own process, and computes.

Much longer than the lease: within one process a slow function does not mean that its reader failed.
"""

MAX_FIELDS = 500
"""Fields of one hash: calls with cursors and search words would add fields without a limit."""

T = TypeVar("T")

_HEADER = struct.Struct("<dd")
"""Precedes a value: the times until which it is fresh and until which it may be served; Unix time."""

# Returns the token, whether this computation has the lease, and the value cached by now. Keys: hash,
# lease. Arguments: new token, computation, lease in ms, lifetime of a token in ms, field.
_ACQUIRE = Script("""
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

# Keys: hash, lease. Arguments: computation.
_RELEASE = Script(_RELEASE_TEXT)

# Keys: hash, lease. Arguments: computation, token, field, value, lifetime of the value in ms, maximum
# of fields. A full hash is cleared and keeps its token: if new fields were refused instead, it would
# stay full for as long as it is read.
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
    """The lifetimes of one function's values, in seconds.

    Attributes:
        ttl: until a value is computed again.
        stale: after `ttl`, for which readers other than the computing one may get the value.
        negative: until the value None is computed again.
    """

    ttl: float
    stale: float
    negative: float

    def for_value(self, value: object) -> tuple[float, float]:
        """Return the fresh and the stale seconds of this value.

        Fresh ones are shortened at random by up to a fifth, so that not all values expire at once.
        """
        share = random.uniform(0.8, 1)  # noqa: S311 - spreads load only
        return (self.negative * share, 0.0) if value is None else (self.ttl * share, self.stale)


class CacheEntry(NamedTuple, Generic[T]):
    """A cached value that may be served, with its bytes."""

    value: T
    body: bytes
    is_fresh: bool


class LeaseResult(NamedTuple, Generic[T]):
    """The result of asking for the lease.

    Attributes:
        token: the hash's; None if Redis is unavailable.
        leads: the reader has to compute, with the lease or because there is no cache.
        entry: the value that is cached by now.
    """

    token: bytes | None
    leads: bool
    entry: CacheEntry[T] | None


class ReadThrough(Generic[T]):
    """The cached reads of one function. Backend, single flight and stats are those of the process."""

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
        """Return the value of this key, from the cache or computed."""
        entry = yield from self._fetch(cache_key)
        if entry and entry.is_fresh:
            value = self._count_hit(entry)
        else:
            value = yield from self._miss(cache_key, entry)
        if self._stats.is_publish_due():
            yield from self._stats.publish(self._backend)
        return value

    def _fetch(self, cache_key: CacheKey) -> CacheSteps[CacheEntry[T] | None]:
        return self._decode_entry(
            (yield from self._backend.execute("HGET", cache_key.key, cache_key.field))
        )

    def _miss(self, cache_key: CacheKey, stale_entry: CacheEntry[T] | None) -> CacheSteps[T]:
        """Join or start a computation. However this ends, the next computation can start."""
        own = Computation()
        try:
            if stale_entry:
                return (yield from self._refresh_stale(cache_key, stale_entry, own))
            return (yield from self._join_or_compute(cache_key, own))
        finally:
            # An assignment first: a signal may interrupt any call, and then it is finished already.
            own.is_finished = True
            self._single_flight.release(cache_key, own)

    def _refresh_stale(
        self, cache_key: CacheKey, stale_entry: CacheEntry[T], own: Computation
    ) -> CacheSteps[T]:
        """Return the stale value, unless no other reader computes it: then compute it."""
        if self._single_flight.join(cache_key, own).leads:
            return (yield from self._run_computation(cache_key, own))
        return self._count_hit(stale_entry)

    def _join_or_compute(self, cache_key: CacheKey, own: Computation) -> CacheSteps[T]:
        """Return the result of a computation that started after this call, or a cached value.

        A cached value is always right: an invalidation would have deleted an old one.
        """
        if self._single_flight.is_disabled(cache_key):
            return (yield from self._compute_unshared())
        joined, leads, shares = self._single_flight.join(cache_key, own)
        remaining_pauses = pauses(MAX_WAIT)
        while not leads:
            if not (yield from self._keep_waiting(cache_key, joined, remaining_pauses)):
                return (yield from self._compute_unshared())
            if not shares and (entry := (yield from self._fetch(cache_key))):
                return self._count_hit(entry)
            if joined.is_finished:
                if shares and (joined.body is not None or joined.error):
                    return self._shared_result(joined)
                joined, leads, shares = self._single_flight.join_next(cache_key, joined, own)
        return (yield from self._run_computation(cache_key, own))

    def _keep_waiting(
        self, cache_key: CacheKey, computation: Computation, remaining_pauses: Iterator[float]
    ) -> CacheSteps[bool]:
        """Pause once for a computation; return whether to continue waiting for it."""
        pause = next(remaining_pauses, None)
        if pause is None:
            # Its reader may be stuck, or wait for this one in a way that cannot be detected.
            self._single_flight.release(cache_key, computation)
            return False
        could_pause: bool = yield Pause(pause)
        return could_pause and not computation.is_unsharable

    def _compute_unshared(self) -> CacheSteps[T]:
        """Compute for this reader only, without waiting for others."""
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
        """Run the reader's own computation; if it fails, release its lease for other processes."""
        try:
            return (yield from self._compute_or_adopt(cache_key, computation))
        except GeneratorExit:
            # No more steps are performed. The lease expires.
            raise
        except BaseException as error:
            # Waiting readers get the error, unless this reader was interrupted or cancelled.
            computation.error = error if isinstance(error, Exception) else None
            yield from self._release_lease(cache_key, computation)
            raise

    def _compute_or_adopt(self, cache_key: CacheKey, computation: Computation) -> CacheSteps[T]:
        """Compute, or return the value that another process computed meanwhile."""
        # From here on a reply may precede an invalidation that a later reader knows of.
        self._single_flight.mark_started(computation)
        for pause in pauses():
            lease = yield from self._acquire_lease(cache_key, computation)
            if lease.entry and (lease.entry.is_fresh or not lease.leads):
                computation.body = lease.entry.body
                yield from self._release_lease(cache_key, computation)
                return self._count_hit(lease.entry)
            if lease.leads or not (yield Pause(pause)):
                return (yield from self._compute(cache_key, computation, lease.token))
        raise AssertionError("pauses do not end")

    def _acquire_lease(
        self, cache_key: CacheKey, computation: Computation
    ) -> CacheSteps[LeaseResult[T]]:
        lifetimes = (round(LEASE_SECONDS * 1000), round(TOKEN_SECONDS * 1000))
        arguments = (computation.id, computation.id, *lifetimes, cache_key.field)
        # Set before the reply: the reader may be interrupted while it waits for that.
        computation.has_lease = True
        reply = yield from self._backend.run_script(_ACQUIRE, _keys(cache_key), *arguments)
        if reply is None:
            computation.has_lease = False
            return LeaseResult(None, leads=True, entry=None)
        token, leads, stored_bytes = reply
        computation.has_lease = bool(leads)
        return LeaseResult(token, bool(leads), self._decode_entry(stored_bytes))

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
        """Store the computed value unless the token has changed, and release the lease."""
        if computation.body is None:
            self._stats.add("refused")
            yield from self._release_lease(cache_key, computation)
            return
        fresh, stale = self._lifetimes.for_value(value)
        fresh_until = time.time() + fresh
        to_store = _HEADER.pack(fresh_until, fresh_until + stale) + computation.body
        lifetime = round((fresh + stale) * 1000)
        arguments = (computation.id, token, cache_key.field, to_store, lifetime, MAX_FIELDS)
        if (yield from self._backend.force_script(_STORE, _keys(cache_key), *arguments)) == 0:
            self._stats.add("refused")

    def _release_lease(self, cache_key: CacheKey, computation: Computation) -> CacheSteps[None]:
        """Release the lease if the computation has it, so that others need not wait until it expires."""
        if computation.has_lease:
            yield from self._backend.force_script(_RELEASE, _keys(cache_key), computation.id)

    def _decode_entry(self, stored_bytes: bytes | None) -> CacheEntry[T] | None:
        """Return the entry in these bytes; None without any, or if it may not be served."""
        if stored_bytes is None:
            return None
        try:
            fresh_until, stale_until = _HEADER.unpack_from(stored_bytes)
            now = time.time()
            if now >= stale_until:
                return None
            body = stored_bytes[_HEADER.size :]
            return CacheEntry(self._codec.decode(body), body, now < fresh_until)
        except (struct.error, msgspec.MsgspecError):
            # Stored by another release of the application, with another return type.
            return None

    def _count_hit(self, entry: CacheEntry[T]) -> T:
        self._stats.add("hit" if entry.is_fresh else "stale")
        return entry.value


def _keys(cache_key: CacheKey) -> tuple[str, str]:
    return cache_key.key, keys.cache_lease(cache_key.key, cache_key.field)
