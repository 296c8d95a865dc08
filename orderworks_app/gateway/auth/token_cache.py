"""Tokens of the database, cached for seconds so that requests need no query.

A revoked token is rejected after `FRESH_SECONDS`. While PostgreSQL is unavailable, cached tokens stay
valid for `MAX_STALE_SECONDS`: none can be revoked meanwhile.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import msgspec

from orderworks.core.errors import Unavailable
from orderworks_app.gateway.auth.scopes import Scope
from orderworks_app.gateway.auth.token_store import ANY_TOKEN_EXISTS, BY_DIGEST, digest
from orderworks_app.gateway.backends.database_pool import DatabasePool

FRESH_SECONDS, MAX_STALE_SECONDS = 5.0, 300.0
"""Seconds after which a cached value is loaded again, and after which it is not used at all."""

REFRESH_TIMEOUT = 1.0
"""Seconds to wait for a new value where an older one can be used."""

MAX_CACHED = 10_000
"""Cached values: more than there are tokens. At worst, invented tokens evict valid ones."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Caller(msgspec.Struct, frozen=True):
    """The client of a request, as its token identifies it.

    Attributes:
        name: the token's; empty for a client on this machine that needs no token.
        scopes: what it may do.
        rate: requests per second that it may make; None for the default.
    """

    name: str
    scopes: frozenset[Scope]
    rate: float | None = None


LOCAL_CALLER = Caller("", frozenset(Scope))
"""A client on this machine, as long as no token exists."""


class Tokens:
    """The tokens of the database, cached."""

    def __init__(self, pool: DatabasePool) -> None:
        self._pool = pool
        self._callers = RefreshingCache[bytes, Caller | None](self._load_caller)
        self._any_exist = RefreshingCache[None, bool](self._load_any_exist)

    async def caller(self, token: str) -> Caller | None:
        """Return the owner of a token; None if the token is not valid.

        Raises:
            Unavailable: PostgreSQL cannot be used, and nothing is cached.
        """
        return await self._callers.get(digest(token))

    async def any_exist(self) -> bool:
        """Return whether a token was ever created; revoked ones count.

        Raises:
            Unavailable: as `caller`.
        """
        return await self._any_exist.get(None)

    async def _load_caller(self, key: bytes) -> Caller | None:
        rows = await self._pool.fetch(BY_DIGEST.text, *BY_DIGEST.arguments({"digest": key}))
        for name, scopes, rate in rows:
            return Caller(name, frozenset(map(Scope, scopes)), rate)
        return None

    async def _load_any_exist(self, _key: None) -> bool:
        ((exists,),) = await self._pool.fetch(ANY_TOKEN_EXISTS.text)
        return bool(exists)


class RefreshingCache(Generic[K, V]):
    """A cache that serves the old value while it loads a new one. It belongs to one event loop."""

    def __init__(self, load: Callable[[K], Awaitable[V]]) -> None:
        self._load = load
        self._cached: dict[K, _CachedValue[V]] = {}

    async def get(self, key: K) -> V:
        """Return the cached value, or load it."""
        cached = self._cached.get(key)
        now = time.monotonic()
        if cached is None or now - cached.loaded_at > MAX_STALE_SECONDS:
            return await self._refresh(key)
        if now < cached.refresh_at:
            return cached.value
        # Other requests use the cached value while this one loads the next.
        cached.refresh_at = now + FRESH_SECONDS
        refresh = asyncio.ensure_future(self._refresh(key))
        refresh.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        # It continues after the timeout: a cancelled query waits until the server confirms that.
        done, _pending = await asyncio.wait([refresh], timeout=REFRESH_TIMEOUT)
        try:
            return refresh.result() if done else cached.value
        except Unavailable:
            return cached.value

    async def _refresh(self, key: K) -> V:
        now = time.monotonic()
        value = await self._load(key)
        if len(self._cached) >= MAX_CACHED:
            self._cached.clear()
        self._cached[key] = _CachedValue(value, now, now + FRESH_SECONDS)
        return value


class _CachedValue(Generic[V]):
    """A value of the database, when its load began, and when it is to be loaded again."""

    __slots__ = ("loaded_at", "refresh_at", "value")

    def __init__(self, value: V, loaded_at: float, refresh_at: float) -> None:
        self.value, self.loaded_at, self.refresh_at = value, loaded_at, refresh_at
