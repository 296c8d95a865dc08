"""Which tokens the gateway knows, remembered for seconds so that requests ask no database.

A token that is revoked lets nobody in after `FRESH` seconds. While PostgreSQL is away, what was known
goes on being true for `MAX_STALE_SECONDS` seconds: nobody can revoke anything there meanwhile.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import msgspec

from orderworks.core.errors import Unavailable
from orderworks_app.gateway.auth.token_store import ANY_TOKEN_EXISTS, BY_DIGEST, Scope, digest
from orderworks_app.gateway.backends.database_pool import DatabasePool

FRESH_SECONDS, MAX_STALE_SECONDS = 5.0, 300.0
"""Seconds for which an answer of the database is not asked for again, and is at all believed."""

REFRESH_TIMEOUT = 1.0
"""Seconds to wait for an answer where an older one is at hand."""

MAX_CACHED = 10_000
"""Answers that are remembered: more than there are tokens; made-up ones push them out at the worst."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Caller(msgspec.Struct, frozen=True):
    """Who asks.

    Attributes:
        name: the token's; empty for somebody on this machine who needs none.
        rate: requests a second that it may make; None for the default.
    """

    name: str
    scopes: frozenset[Scope]
    rate: float | None = None


LOCAL_CALLER = Caller("", frozenset(Scope))
"""Somebody on this machine, as long as there is no token."""


class Tokens:
    """The tokens of the database."""

    def __init__(self, pool: DatabasePool) -> None:
        self._pool = pool
        self._callers = RefreshingCache[bytes, Caller | None](self._load)
        self._needed = RefreshingCache[None, bool](self._load_needed)

    async def caller(self, token: str) -> Caller | None:
        """Whose token it is; None if it is nobody's.

        Raises:
            Unavailable: PostgreSQL cannot say, and nothing is remembered.
        """
        return await self._callers.get(digest(token))

    async def any_exist(self) -> bool:
        """Whether there is, or was, a token.

        Raises:
            Unavailable: as `caller`.
        """
        return await self._needed.get(None)

    async def _load(self, key: bytes) -> Caller | None:
        rows = await self._pool.fetch(BY_DIGEST.text, *BY_DIGEST.arguments({"digest": key}))
        for name, scopes, rate in rows:
            return Caller(name, frozenset(map(Scope, scopes)), rate)
        return None

    async def _load_needed(self, _key: None) -> bool:
        ((made,),) = await self._pool.fetch(ANY_TOKEN_EXISTS.text)
        return bool(made)


class RefreshingCache(Generic[K, V]):
    """Answers of a server that are remembered. One event loop uses it."""

    def __init__(self, load: Callable[[K], Awaitable[V]]) -> None:
        self._load = load
        self._cached: dict[K, _CachedValue[V]] = {}

    async def get(self, key: K) -> V:
        """The answer: a remembered one, or a new one."""
        known = self._cached.get(key)
        now = time.monotonic()
        if known is None or now - known.loaded_at > MAX_STALE_SECONDS:
            return await self._refresh(key)
        if now < known.refresh_at:
            return known.value
        # Others go on with what is known while this one asks.
        known.refresh_at = now + FRESH_SECONDS
        asking = asyncio.ensure_future(self._refresh(key))
        asking.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        # It goes on after that: a query that is called off waits for the server to say that it is.
        done, _pending = await asyncio.wait([asking], timeout=REFRESH_TIMEOUT)
        try:
            return asking.result() if done else known.value
        except Unavailable:
            return known.value

    async def _refresh(self, key: K) -> V:
        now = time.monotonic()
        value = await self._load(key)
        if len(self._cached) >= MAX_CACHED:
            self._cached.clear()
        self._cached[key] = _CachedValue(value, now, now + FRESH_SECONDS)
        return value


class _CachedValue(Generic[V]):
    """What the server said, when that was asked, and when it is to be asked again."""

    __slots__ = ("loaded_at", "refresh_at", "value")

    def __init__(self, value: V, loaded_at: float, refresh_at: float) -> None:
        self.value, self.loaded_at, self.refresh_at = value, loaded_at, refresh_at
