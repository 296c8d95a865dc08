"""Polls of blocking services, each shared by many clients: one at a time, in a thread."""

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
"""Errors of a poll whose server is unavailable or cannot be used."""


class BackgroundPoll(Generic[T]):
    """A poll with a timeout. After it the read continues, and the next call gets its result."""

    def __init__(self, read: Callable[[], T], timeout: float) -> None:
        """`timeout` is in seconds."""
        self._read, self._timeout = read, timeout
        self._thread = CapacityLimiter(1)
        self._running: asyncio.Task[T] | None = None

    async def __call__(self) -> T | None:
        """Return the value; None if the server is unavailable or does not answer in time."""
        if self._running is None:
            read = to_thread.run_sync(self._read, limiter=self._thread)
            self._running = asyncio.ensure_future(read)
            # If there is no next call, nothing else retrieves the exception, which asyncio would log.
            self._running.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        done, _pending = await asyncio.wait([self._running], timeout=self._timeout)
        if not done:
            return None
        ended, self._running = self._running, None
        try:
            return ended.result()
        except OUTAGES:
            return None


class CachedPoll(Generic[T]):
    """A poll whose result is reused for some seconds."""

    def __init__(self, read: Callable[[], T], seconds: float) -> None:
        self._read, self._seconds = read, seconds
        self._lock = asyncio.Lock()
        self._last: tuple[float, T] | None = None

    async def __call__(self) -> tuple[float, T]:
        """Return the result, and its age in seconds. Errors of the read are raised."""
        async with self._lock:
            if self._last is None or time.monotonic() - self._last[0] > self._seconds:
                value = await to_thread.run_sync(self._read)
                self._last = time.monotonic(), value
            at, value = self._last
        return time.monotonic() - at, value
