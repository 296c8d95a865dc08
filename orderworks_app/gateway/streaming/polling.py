"""Looks at what blocks, for many at once: done in a thread of their own, and never two at a time."""

import asyncio
import time
from collections.abc import Callable
from typing import Generic, TypeVar

import redis
import sqlalchemy as sa
from anyio import CapacityLimiter, to_thread

from orderworks.core.errors import Unavailable

T = TypeVar("T")

OUTAGES = (sa.exc.SQLAlchemyError, redis.RedisError, Unavailable)
"""What a look raises when its server is away, or not usable."""


class BackgroundPoll(Generic[T]):
    """A look that nobody waits for longer than it may take. It goes on; the next one finds it done."""

    def __init__(self, read: Callable[[], T], timeout: float) -> None:
        """`patience` is in seconds."""
        self._read, self._timeout = read, timeout
        self._thread = CapacityLimiter(1)
        self._running: asyncio.Task[T] | None = None

    async def __call__(self) -> T | None:
        """What there is to see; None if the server is away, or does not answer in time."""
        if self._running is None:
            seeing = to_thread.run_sync(self._read, limiter=self._thread)
            self._running = asyncio.ensure_future(seeing)
            # If nobody comes again, nobody is told either.
            self._running.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        done, _pending = await asyncio.wait([self._running], timeout=self._timeout)
        if not done:
            return None
        seen, self._running = self._running, None
        try:
            return seen.result()
        except OUTAGES:
            return None


class CachedPoll(Generic[T]):
    """A look whose outcome is good for some seconds, for all who ask."""

    def __init__(self, read: Callable[[], T], seconds: float) -> None:
        self._read, self._seconds = read, seconds
        self._one = asyncio.Lock()
        self._last: tuple[float, T] | None = None

    async def __call__(self) -> tuple[float, T]:
        """What there was to see, and how many seconds ago. What the look raises reaches who asked."""
        async with self._one:
            if self._last is None or time.monotonic() - self._last[0] > self._seconds:
                found = await to_thread.run_sync(self._read)
                self._last = time.monotonic(), found
            at, found = self._last
        return time.monotonic() - at, found
